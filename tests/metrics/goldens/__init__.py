"""What public implementations make of a few rankings, pairs and templates: by make.py, for metric_goldens*_test.py."""

import pathlib

import numpy as np

FOLDER = pathlib.Path(__file__).parent


def load(name: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / f"{name}.npz") as file:
        return dict(file)
