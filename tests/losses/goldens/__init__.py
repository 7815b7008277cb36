"""Values and gradients of public definitions in float64, made by the scripts here with requirements-peers.txt."""

import pathlib

import numpy as np

FOLDER = pathlib.Path(__file__).parent


def load(name: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / f"{name}.npz") as file:
        return dict(file)


def assert_close(found, expected, relative: float = 1e-5) -> None:
    """Relative to the largest number of the array."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape
    difference, largest = np.max(np.abs(found - expected)), np.max(np.abs(expected))
    assert difference <= relative * largest, f"{difference / largest:.2e} of the largest, {largest:.6g}"
