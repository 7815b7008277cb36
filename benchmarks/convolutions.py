"""The forms of a convolution and of a max-pool on this machine: milliseconds for the value and all gradients.

    python -m benchmarks.convolutions [--torch] [--native]

Writes benchmarks/results/convolutions.md. Forms take turns, and the least of the rounds counts, so that a busy machine
slows all of them alike. --torch adds the peer (requirements-peers.txt), channels last; --native adds XLA's own
grouped convolution, seconds each on a CPU. "auto" is what the trunks take there: of the value and of each gradient its
own form.
"""

import datetime
import functools
import pathlib
import platform
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from geodesic.embedders.cpu import convolution, pools
from geodesic.experiments.process import runtime

# batch, side, channels in and out, kernel, strides, groups
GROUPED = [(8, 56, 128, 128, 3, 1, 32), (8, 56, 256, 256, 3, 2, 32), (8, 28, 256, 256, 3, 1, 32),
           (8, 14, 512, 512, 3, 1, 32), (8, 7, 1024, 1024, 3, 1, 32), (8, 28, 512, 512, 3, 1, 64)]
DENSE = [(8, 56, 64, 64, 3, 1, 1), (8, 28, 128, 128, 3, 1, 1), (8, 14, 512, 512, 3, 2, 1), (8, 224, 3, 64, 7, 2, 1),
         (32, 1, 512, 512, 3, 1, 1), (32, 2, 512, 512, 3, 1, 1), (32, 3, 512, 512, 3, 1, 1), (32, 4, 512, 512, 3, 1, 1),
         (32, 7, 512, 512, 3, 1, 1), (32, 14, 256, 256, 3, 1, 1),
         (8, 56, 64, 256, 1, 1, 1), (8, 14, 1024, 256, 1, 1, 1), (8, 28, 512, 1024, 1, 2, 1)]
POOLS = [(8, 112, 64), (32, 56, 64)]
ROUNDS = 5


def main() -> None:
    runtime.start()  # as the programs do
    rows = []
    for shape in GROUPED:
        fields = {"strides": shape[5], "groups": shape[6]}
        forms = {f"merged {width}": functools.partial(convolution._merged, width=width, **fields)
                 for width in (16, 32, 64, 128)}
        forms["taps"] = functools.partial(convolution._taps, **fields)
        if "--native" in sys.argv:
            forms["native"] = functools.partial(convolution._native, **fields)
        rows.append(("grouped", shape, measure(forms, *arrays(shape), peer=torch_conv(shape))))
    for shape in DENSE:
        forms = {name: functools.partial(form, strides=shape[5]) for name, form in (
            ("native", convolution._native), ("product", convolution._product), ("rows", convolution._rows),
            ("auto", convolution._dense))}
        rows.append(("dense", shape, measure(forms, *arrays(shape), peer=torch_conv(shape))))
    for shape in POOLS:
        batch, side, channels = shape
        x = jnp.asarray(np.random.default_rng(0).standard_normal((batch, side, side, channels), np.float32))
        forms = {form: functools.partial(pools.max_pool, strides=2, padding=((1, 1), (1, 1)), form=form)
                 for form in ("native", "auto")}
        rows.append(("max-pool", shape, measure(forms, x, peer=torch_pool(shape))))
    write(rows)


def arrays(shape) -> tuple[jax.Array, jax.Array]:
    batch, side, inputs, outputs, kernel, _, groups = shape
    rng = np.random.default_rng(0)
    return (jnp.asarray(rng.standard_normal((batch, side, side, inputs), np.float32)),
            jnp.asarray(rng.standard_normal((kernel, kernel, inputs // groups, outputs), np.float32)))


def measure(forms: dict, *values, peer=None) -> dict[str, float]:
    """Form -> milliseconds for the value and the gradients by all of `values`."""
    runs = {}
    for name, form in forms.items():
        def both(*values, form=form):
            out, pull = jax.vjp(form, *values)
            return out, pull(out)
        run = jax.jit(both)
        jax.block_until_ready(run(*values))
        runs[name] = lambda run=run: jax.block_until_ready(run(*values))
    if peer is not None:
        peer()
        runs["torch"] = peer
    least = dict.fromkeys(runs, float("inf"))
    for _ in range(ROUNDS):
        for name, run in runs.items():
            if least[name] > 2000 and least[name] != float("inf"):
                continue  # once is enough to know
            started = time.perf_counter()
            run()
            least[name] = min(least[name], 1000 * (time.perf_counter() - started))
    return least


def torch_conv(shape):
    if "--torch" not in sys.argv:
        return None
    import torch

    batch, side, inputs, outputs, kernel, strides, groups = shape
    x = torch.randn(batch, inputs, side, side).contiguous(memory_format=torch.channels_last).requires_grad_()
    conv = torch.nn.Conv2d(inputs, outputs, kernel, strides, (kernel - 1) // 2, groups=groups, bias=False)
    conv = conv.to(memory_format=torch.channels_last)

    def run():
        x.grad = conv.weight.grad = None
        out = conv(x)
        out.backward(out.detach())

    return run


def torch_pool(shape):
    if "--torch" not in sys.argv:
        return None
    import torch

    batch, side, channels = shape
    x = torch.randn(batch, channels, side, side).contiguous(memory_format=torch.channels_last).requires_grad_()

    def run():
        x.grad = None
        out = torch.nn.functional.max_pool2d(x, 3, 2, 1)
        out.backward(out.detach())

    return run


def write(rows) -> None:
    device = jax.devices()[0]
    command = " ".join(["python -m benchmarks.convolutions", *sys.argv[1:]])
    lines = ["# Forms of a convolution", "", f"`{command}`", "",
             f"{device.device_kind} ({device.platform}), {platform.machine()}, jax {jax.__version__}, seed 0, "
             f"{datetime.date.today()}. Milliseconds for the value and all gradients, least of {ROUNDS} rounds.", ""]
    convolutions = "batch, side, in, out, kernel, strides, groups"
    for kind, title in (("grouped", convolutions), ("dense", convolutions), ("max-pool", "batch, side, channels")):
        chosen = [(shape, times) for row, shape, times in rows if row == kind]
        names = list(chosen[0][1])
        lines += [f"## {kind}", "", f"| {title} | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
        lines += [f"| {', '.join(map(str, shape))} | {' | '.join(f'{times[name]:.1f}' for name in names)} |"
                  for shape, times in chosen]
        lines.append("")
    text = "\n".join(lines)
    print(text)
    (pathlib.Path(__file__).parent / "results" / "convolutions.md").write_text(text)


if __name__ == "__main__":
    main()
