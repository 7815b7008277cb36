"""torch's own exporters beside ours, of torchvision's ResNet-50 with the same weights: nodes, seconds, differences, and
how long ONNX Runtime works on each file, on one core.

    geodesic export --workdir=weights/imgsim --formats=onnx,int8,safetensors --out=exported
    python -m benchmarks.export_torch_onnx --exported=exported [--rounds=9]

Every file takes uint8 pixels with the channels last and gives embeddings of length 1: for torch the model is wrapped in
what our file does itself. The reference is torch's model, not exported. For an environment that has torch, torchvision,
onnx, onnxscript and onnxruntime (requirements-peers.txt) and none of this code.
"""

import datetime
import functools
import json
import os
import pathlib
import tempfile
import time
import warnings

import numpy as np
import onnx
import onnxruntime
import torch
import torchvision

from benchmarks import export_torch, turns

OUT = pathlib.Path(__file__).parent / "results"
BATCHES = (1, 8)
OPSET = 18  # the lowest that torch's new exporter writes


class Whole(torch.nn.Module):
    """torchvision's model with what our file has around it: pixels in, embeddings of length 1 out."""

    def __init__(self, folder: pathlib.Path, record: dict):
        super().__init__()
        tensors = export_torch.read_safetensors(folder / "model.safetensors")
        self.model = getattr(torchvision.models, record["model"]["embedder"])(weights=None)
        self.model.fc = torch.nn.Identity()
        self.model.load_state_dict(tensors, strict=True)
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(record["input"][name]))

    def forward(self, images):
        images = (images.float() - self.mean) / self.std
        return torch.nn.functional.normalize(self.model(images.permute(0, 3, 1, 2)))


def exported(name: str, model: Whole, pixels: np.ndarray, path: str) -> float:
    """Seconds that one of torch's exporters took."""
    images, begun = (torch.from_numpy(pixels[:2]),), time.perf_counter()
    names = {"input_names": ["images"], "output_names": ["embedding"], "opset_version": OPSET, "verbose": False}
    if name == "torch.export":
        dynamic = {"images": {0: torch.export.Dim("batch")}}
        torch.onnx.export(model, images, path, dynamo=True, dynamic_shapes=dynamic, external_data=False, **names)
    else:
        axes = {"images": {0: "batch"}, "embedding": {0: "batch"}}
        torch.onnx.export(model, images, path, dynamo=False, dynamic_axes=axes, **names)
    return time.perf_counter() - begun


def row(path: str, seconds: float, wanted: np.ndarray, pixels: np.ndarray) -> dict:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    found, made = session.run(None, {"images": pixels})[0], onnx.load(path)
    return {"nodes": len(made.graph.node), "opset": made.opset_import[0].version, "bytes": os.path.getsize(path),
            "seconds": seconds, "difference": float(np.abs(found - wanted).max() / np.abs(wanted).max()),
            "run": lambda count: session.run(None, {"images": pixels[:count]})}


def main() -> None:
    asked = turns.options(__doc__, exported="exported", rounds=9, out=str(OUT))
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    folder = pathlib.Path(asked.exported)
    record, load = json.loads((folder / "model.json").read_text()), os.getloadavg()[0]
    model, size = Whole(folder, record).eval(), record["input"]["shape"][1]
    pixels = np.random.default_rng(0).integers(0, 256, (BATCHES[-1], size, size, 3), np.uint8)
    rows, seconds = {}, {}
    with torch.inference_mode(), tempfile.TemporaryDirectory() as temporary:
        wanted = model(torch.from_numpy(pixels)).numpy()
        for name, file in {"geodesic export": "model.onnx", "geodesic export, int8": "model.int8.onnx"}.items():
            if file in record["files"]:
                rows[name] = row(str(folder / file), record["files"][file]["seconds"], wanted, pixels)
        for name in ("torch.export", "TorchScript"):
            path = f"{temporary}/{name}.onnx"
            taken = exported(name, model, pixels, path)
            rows[f"torch.onnx.export, {name}"] = row(path, taken, wanted, pixels)
        for name, found in rows.items():
            print(name, {key: value for key, value in found.items() if key != "run"}, flush=True)
        runs = {name: found.pop("run") for name, found in rows.items()}
        runs["torch itself"] = lambda count: model(torch.from_numpy(pixels[:count]))
        for batch in BATCHES:
            _, seconds[str(batch)] = turns.measure({name: functools.partial(run, batch) for name, run in runs.items()},
                                                   asked.rounds)
    result = {"embedder": record["model"]["embedder"], "image_size": size, "rows": rows, "seconds": seconds,
              "load": [load, os.getloadavg()[0]], "date": datetime.datetime.now(datetime.UTC).isoformat("T", "seconds"),
              "versions": {"torch": torch.__version__, "torchvision": torchvision.__version__,
                           "onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__},
              "machine": record["made"]["machine"], "commit": record["made"]["commit"]}
    out = pathlib.Path(asked.out)
    (out / "export_torch.json").write_text(json.dumps(result, indent=1) + "\n")
    (out / "export_torch.md").write_text(described(result))


def described(result: dict) -> str:
    """The page."""
    lines = ["# Beside torch's own exporters", "", f"`python -m benchmarks.export_torch_onnx`: torchvision's "
             f"{result['embedder']} at {result['image_size']} px with the same weights, uint8 pixels in, embeddings of "
             f"length 1 out; {BATCHES[-1]} seeded random pictures. Differences are to torch's model, not exported.", "",
             "| exporter | opset | nodes | MiB | seconds to write | greatest relative difference |",
             "|---|---|---|---|---|---|"]
    lines += [f"| {name} | {found['opset']} | {found['nodes']} | {found['bytes'] / 2**20:.1f} | "
              f"{found['seconds']:.1f} | {found['difference']:.1e} |" for name, found in result["rows"].items()]
    first = next(iter(result["seconds"].values()))
    names, rounds = [*first], len(next(iter(first.values())))
    lines += ["", f"Seconds of processor of ONNX Runtime for each file, and of torch itself, one thread each, median "
              f"(least to most) of {rounds} rounds in turns:", "",
              f"| pictures | {' | '.join(names)} |", "|---" * (1 + len(names)) + "|"]
    lines += [f"| {batch} | {' | '.join(turns.show(times[name]) for name in names)} |"
              for batch, times in result["seconds"].items()]
    before, after = result["load"]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return "\n".join([*lines, "", f"{result['machine']}; {versions}; load average {before:.1f} before and {after:.1f} "
                      f"after: above the number of cores, other work shared the machine, and the seconds to write, "
                      f"which were not taken in turns, are too long. {result['date']}, the exported run's commit "
                      f"{result['commit']}.", ""])


if __name__ == "__main__":
    main()
