"""What `make_goldens` has written, and our parameters from PyTorch's."""

import pathlib

import numpy as np

FILE = np.load(pathlib.Path(__file__).parent / "goldens" / "torch.npz")
LAYERS = {"stage4": FILE["maps"].astype(np.float32)}


def of(head: str) -> dict[str, np.ndarray]:
    """PyTorch's weights and "features" of a head."""
    return {name.removeprefix(f"{head}/"): FILE[name].astype(np.float32)
            for name in FILE if name.startswith(f"{head}/")}


def dense(given: dict, name: str) -> dict:
    """PyTorch's weight [out,in] and bias."""
    return {"kernel": given[f"{name}.weight"].T, "bias": given[f"{name}.bias"]}
