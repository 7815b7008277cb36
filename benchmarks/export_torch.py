"""Whether torchvision's own model computes, from exported public weights, what the run computes: torch alone, no jax.

    geodesic export --workdir=weights/imgsim --formats=onnx,safetensors --out=exported
    python benchmarks/export_torch.py exported

The picture is the golden one of model.json, which everybody can make. Prints the cosine of torch's embedding to the
golden one, and exits with status 1 below 1 - 1e-6. For an environment that has torch and torchvision
(requirements-peers.txt) and none of this code.
"""

import json
import pathlib
import sys

import numpy as np
import torch
import torchvision


def read_safetensors(path: pathlib.Path) -> dict[str, torch.Tensor]:
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8:8 + length])
    place = lambda entry: slice(*(8 + length + offset for offset in entry["data_offsets"]))
    return {name: torch.from_numpy(np.frombuffer(content[place(entry)], "<f4").reshape(entry["shape"]).copy())
            for name, entry in header.items() if name != "__metadata__"}


def golden(record: dict) -> torch.Tensor:
    """The golden picture as torchvision's models take it: f32[1,3,S,S]."""
    size = record["input"]["shape"][1]
    y, x, c = np.ogrid[:size, :size, :3]
    pixels = ((7 * y + 13 * x + 101 * c + x * y) % 256).astype(np.float32)
    normalised = (pixels - np.float32(record["input"]["mean"])) / np.float32(record["input"]["std"])
    return torch.from_numpy(normalised.transpose(2, 0, 1)[None])


def main(folder: str) -> None:
    record = json.loads(pathlib.Path(folder, "model.json").read_text())
    facts, name = record["files"]["model.safetensors"], record["model"]["embedder"]
    if facts["layout"] != "torchvision":
        sys.exit(f"error: {folder} has weights in the layout of {facts['layout']}, and this compares torchvision's")
    tensors = read_safetensors(pathlib.Path(folder, "model.safetensors"))
    size = len(tensors["fc.bias"]) if "fc.bias" in tensors else 0
    model = getattr(torchvision.models, name)(weights=None, num_classes=size or 1000)
    if not size:
        model.fc = torch.nn.Identity()
    model.load_state_dict(tensors, strict=True)
    with torch.inference_mode():
        found = torch.nn.functional.normalize(model.eval()(golden(record)))[0].double().numpy()
    wanted = np.array(record["golden"]["output"])
    cosine = float(found @ wanted / np.linalg.norm(found) / np.linalg.norm(wanted))
    print(f"torchvision's {name}: {len(tensors)} tensors, cosine {cosine:.9f}, greatest difference "
          f"{np.abs(found - wanted).max():.1e} (torch {torch.__version__}, torchvision {torchvision.__version__})")
    sys.exit(int(cosine < 1 - 1e-6))


if __name__ == "__main__":
    main(*sys.argv[1:])
