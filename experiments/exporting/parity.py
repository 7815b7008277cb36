"""Whether an exported file gives what it should: it is run in a fresh process, which imports none of this code."""

import os
import subprocess
import sys
import tempfile
from typing import NamedTuple

import numpy as np
from scipy import optimize

from geodesic.errors import UserError
from geodesic.experiments.exporting import fresh

# The least by which pictures differ, as a share of the largest number, in a file that is kept.
SPREAD = 1e-3
# Pictures that are looked at, and the other sizes of a batch.
PICTURES, ODD = 32, (1, 3)
_SECONDS = 1800


class Allowed(NamedTuple):
    """Of a file that is kept, at most; relative: None is any."""

    relative: float | None
    one_minus_cosine: float


# Of files that compute in the run's own dtype, and in whole numbers of eight bits.
EXACT, INT8 = Allowed(1e-4, 1e-6), Allowed(None, 1e-2)


class Parity(NamedTuple):
    """What a file gives, beside what it should, of every picture, every array and every size of a batch.

    relative: the greatest difference, as a share of the largest number of the picture's array. one_minus_cosine: the
    greatest. spread: how far the pictures' arrays lie from their mean at most, as a share of the largest number; of the
    array where that is least.
    """

    runtime: str
    pictures: int
    batches: list[int]
    relative: float
    one_minus_cosine: float
    spread: float


def measure(path: str, images: np.ndarray, expected: dict[str, np.ndarray]) -> Parity:
    """Runs a file on images as it takes them, of which it should give `expected`, its arrays [N,...] by name, in their
    order. Boxes, scores and classes of what was found are compared in whatever order they come.

    Raises UserError where the file does not run, or gives another shape, or numbers that are not finite.
    """
    batches = [len(images), *(size for size in ODD if size < len(images))]
    runtime, given = _run(path, images, batches)
    name, relative, cosines, spreads = os.path.basename(path), 0.0, 0.0, []
    for batch in batches:
        found, wanted = given[batch], [array[:batch] for array in expected.values()]
        shapes = [[list(array.shape) for array in arrays] for arrays in (found, wanted)]
        if shapes[0] != shapes[1]:
            given_, should = (", ".join(map(str, shape)) for shape in shapes)
            raise UserError(f"{name} gives {given_} for {batch} picture(s), and should give {should}: it is not kept")
        if not all(np.isfinite(array).all() for array in found):
            raise UserError(f"{name} gives numbers that are not finite: it is not kept")
        found = _in_order(found, wanted) if "classes" in expected else found
        for one, other in zip(found, wanted, strict=True):
            exact = np.issubdtype(other.dtype, np.integer)
            one, other = (np.asarray(rows, np.float64).reshape(batch, -1) for rows in (one, other))
            size = np.abs(other).max(1)
            relative = max(relative, float((np.abs(one - other).max(1) / np.where(size > 0, size, 1)).max()))
            if exact:
                continue
            cosines = max(cosines, float((1 - _cosines(one, other)).max()))
            if batch == len(images):
                spreads.append(float(np.abs(one - one.mean(0)).max() / (np.abs(one).max() or 1)))
    return Parity(runtime, len(images), batches, relative, cosines, min(spreads))


def check(found: Parity, name: str, allowed: Allowed = EXACT) -> None:
    """Raises UserError for a file that must not be kept."""
    if found.spread < SPREAD:
        raise UserError(f"{name} gives nearly the same for all {found.pictures} pictures (they differ by "
                        f"{found.spread:.1e} of the largest number, at least {SPREAD:g} is expected): the network, or "
                        f"its graph, is dead, and nothing is kept")
    far = allowed.relative is not None and found.relative > allowed.relative
    if far or found.one_minus_cosine > allowed.one_minus_cosine:
        anything = "anything" if allowed.relative is None else f"{allowed.relative:g}"
        raise UserError(f"{name} does not give what the model gives: the greatest relative difference over "
                        f"{found.pictures} pictures is {found.relative:.1e} ({anything} allowed), 1 - cosine "
                        f"{found.one_minus_cosine:.1e} ({allowed.one_minus_cosine:g} allowed): nothing is kept")


def _cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Of the rows; of two that are zero it is 1."""
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    both = ~one.any(1) & ~other.any(1)
    return np.where(both, 1.0, (one * other).sum(1) / np.where(lengths > 0, lengths, 1))


def _in_order(found: list[np.ndarray], wanted: list[np.ndarray]) -> list[np.ndarray]:
    """What was found in each picture (boxes [B,K,4], scores [B,K], classes [B,K]) in the order of what is most like it:
    rounding puts two scores that are nearly the same in either order.
    """
    size, ordered = float(np.abs(wanted[0]).max()) or 1.0, [array.copy() for array in found]
    for row in range(len(found[0])):
        apart = lambda place, row=row: np.abs(wanted[place][row][:, None].astype(np.float64) - found[place][row][None])
        _, order = optimize.linear_sum_assignment(apart(0).max(-1) / size + apart(1) + (apart(2) > 0))
        for array, given in zip(ordered, found, strict=True):
            array[row] = given[row][order]
    return ordered


def _run(path: str, images: np.ndarray, batches: list[int]) -> tuple[str, dict[int, list[np.ndarray]]]:
    """(the runtime, batch -> the arrays that the file gives) in a process of its own, on the CPU."""
    with tempfile.TemporaryDirectory() as folder:
        pixels, out = os.path.join(folder, "images.npy"), os.path.join(folder, "out.npz")
        np.save(pixels, images)
        done = subprocess.run([sys.executable, "-I", fresh.__file__, path, pixels, out, *map(str, batches)], cwd=folder,
                              env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}, capture_output=True,
                              text=True, timeout=_SECONDS, check=False)
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or ["no word of why"]
            raise UserError(f"{os.path.basename(path)} does not run in a process of its own, and is not kept: "
                            f"{last[0][:300]}")
        with np.load(out) as file:
            arrays = sum(name.startswith(f"{batches[0]}/") for name in file.files)
            return str(file["runtime"]), {batch: [file[f"{batch}/{place}"] for place in range(arrays)]
                                          for batch in batches}
