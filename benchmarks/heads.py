"""The heads on the same frozen features, seed by seed: does more than a linear classifier pay?

    geodesic import_weights --weights=... --embedder=resnet50 --out=weights/resnet50
    python -m benchmarks.heads --weights=weights/resnet50 --train=grocery/train --test=grocery/test

    geodesic train --config=omniglot --workdir=runs/omniglot     # a trunk of background characters
    python -m benchmarks.heads --weights=runs/omniglot --source=omniglot --train=omniglot.npz --test_share=0.25 \\
        --first=964 --classes=200 --layer=stage3 --image_size=28 --steps=2000

With --test_share in place of --test, that share of each class's images is set aside for testing. The features are
computed once (experiments/trained/features.py) and kept in the workdir of the weights. A seed draws the parameters and
the order of the batches, which is the same for all heads; differences to `linear` are paired. All heads learn with the
fields that configs/default.py has, under one recipe: softmax, AdamW, a cosine schedule.
"""

import functools
import json
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

import geodesic
from benchmarks import turns
from geodesic import datasets, heads, losses
from geodesic.configs import default
from geodesic.experiments.process import workdir
from geodesic.experiments.sweeping import statistics
from geodesic.experiments.trained import features, network

# Options that decide the result: classes is how many from the first on, 0 for all.
USUAL = {"source": "image_folder", "first": 0, "classes": 0, "test_share": 0.0, "layer": "stage4", "image_size": 96,
         "steps": 150, "batch": 32, "rate": 1e-3, "decay": 0.05, "seeds": 3}


def make_head(name: str):
    """The head with the fields of configs/default.py."""
    options = default.get_config().head
    options.name = name
    return network.make_head(options)


def trained(head, loss, given: dict, labels: np.ndarray, seed: int, options) -> tuple[dict, float]:
    """(parameters after all steps, seconds from the second step on) of the maps `given`, layer -> f32[N,H,W,C]."""
    rule = optax.adamw(optax.cosine_decay_schedule(options.rate, options.steps), weight_decay=options.decay)

    def start(rng):
        head_rng, loss_rng = jax.random.split(rng)
        out, variables = head.init_with_output(head_rng, jax.tree.map(lambda maps: maps[:2], given))
        params = {"head": variables.get("params", {}), "loss": loss.init(loss_rng, out.shape[-1])[0]}
        return params, rule.init(params)

    def value(params, batch, labels):
        return loss.apply(params["loss"], {}, head.apply({"params": params["head"]}, batch), labels, None)[0]

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state, batch, labels):
        updates, state = rule.update(jax.grad(value)(params, batch, labels), state, params)
        return optax.apply_updates(params, updates), state

    (params, state), order = jax.jit(start)(jax.random.key(seed)), np.random.default_rng(seed)
    begun = 0.0
    for index in range(options.steps):
        places = np.sort(order.choice(len(labels), options.batch, replace=False))
        params, state = step(params, state, {layer: maps[places] for layer, maps in given.items()}, labels[places])
        if not index:
            jax.block_until_ready(params)
            begun = time.perf_counter()
    jax.block_until_ready(params)
    return params, time.perf_counter() - begun


def top1(head, loss, params: dict, given: dict, labels: np.ndarray) -> float:
    """The share of images whose class has the largest score."""
    scores = jax.jit(lambda params, batch: loss.scores(params["loss"], head.apply({"params": params["head"]}, batch)))
    found = [np.asarray(scores(params, {layer: maps[at:at + 128] for layer, maps in given.items()})).argmax(1)
             for at in range(0, len(labels), 128)]
    return float(np.mean(np.concatenate(found) == labels))


def described(rows: dict, record: dict) -> str:
    """The table in Markdown."""
    lines = ["# Heads on frozen features", "",
             "| head | parameters | top-1 in % | to `linear`, paired [95 % interval] | seconds |", "|---" * 5 + "|"]
    for name, row in rows.items():
        mean, low, high = statistics.paired(*(dict(enumerate(rows[one]["top1"])) for one in (name, "linear"))).interval
        versus = "" if name == "linear" else f"{100 * mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
        each = ", ".join(f"{100 * value:.1f}" for value in row["top1"])
        lines.append(f"| {name} | {row['parameters']:,} | **{100 * np.mean(row['top1']):.1f}** ({each}) | {versus} | "
                     f"{np.mean(row['seconds']):.1f} |")
    environment, options = record["environment"], record["options"]
    given = "".join(f" --{key}={value}" for key, value in options.items() if value != USUAL[key])
    lines += ["", f"{record['images']} images of {record['classes']} classes, tested on {record['tested']} others; "
                  f"layer {options['layer']} of {record['embedder']} at {options['image_size']} px, frozen; "
                  f"{options['steps']} steps of {options['batch']}, AdamW {options['rate']:g}, decay "
                  f"{options['decay']:g}; seeds 0 to {options['seeds'] - 1}. {environment['devices']}, "
                  f"{environment['machine']}, jax {environment['packages']['jax']}, {environment['date'][:10]}, commit "
                  f"{environment['commit']}, `python -m benchmarks.heads{given}`. Intervals are over the seeds, and "
                  f"not over other images to test on."]
    return "\n".join(lines) + "\n"


def both(options) -> list[datasets.Source]:
    """The images to train and to test on."""
    classes = (options.first, options.classes and options.first + options.classes)
    if options.test:
        return [datasets.build(options.source, path=path, classes=classes) for path in (options.train, options.test)]
    return [datasets.build(options.source, path=options.train, classes=classes, test_share=options.test_share,
                           part=part) for part in ("train", "test")]


def main() -> None:
    options = turns.options(__doc__, weights="", train="", test="", features="", out="", **USUAL)
    run = geodesic.load(options.weights, overrides={"input.image_size": options.image_size})
    sources = both(options)
    if sources[0].class_names != sources[1].class_names:
        raise SystemExit(f"error: {options.train} and {options.test} have other classes")
    kept = [features.of(run, source, (options.layer,), pooled=False, folder=options.features) for source in sources]
    if problems := [line for part in kept for line in part[options.layer].problems]:
        raise SystemExit(f"error: {problems[0]}")
    train, test = ({layer: jnp.asarray(found.values) for layer, found in part.items()} for part in kept)
    loss, rows = losses.build("softmax", num_classes=sources[0].num_classes), {}
    for seed in range(options.seeds):
        for name in heads.HEADS:
            head = make_head(name)
            params, seconds = trained(head, loss, train, sources[0].labels, seed, options)
            row = rows.setdefault(name, {"parameters": sum(leaf.size for leaf in jax.tree.leaves(params)), "top1": [],
                                         "seconds": []})
            row["top1"].append(top1(head, loss, params, test, sources[1].labels))
            row["seconds"].append(seconds)
            print(f"seed {seed}  {name:<15} top-1 {row['top1'][-1]:.3f}  {seconds:.1f} s", flush=True)
    record = {"environment": workdir.environment(jax.devices()), "options": {key: vars(options)[key] for key in USUAL},
              "images": len(sources[0]), "tested": len(sources[1]), "classes": sources[0].num_classes,
              "embedder": run.config.embedder.name, "heads": rows}
    print(described(rows, record))
    if options.out:
        out = pathlib.Path(options.out)
        out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
        out.with_suffix(".md").write_text(described(rows, record))


if __name__ == "__main__":
    main()
