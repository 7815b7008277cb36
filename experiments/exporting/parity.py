"""Whether an exported file gives what it should: it is run in a fresh process, which imports none of this code."""

import os
import subprocess
import sys
import tempfile
from typing import NamedTuple

import numpy as np

from geodesic.errors import UserError
from geodesic.experiments.exporting import fresh

# Of a file that is kept, at most; and the least by which pictures differ, as a share of the largest number.
RELATIVE, COSINE, SPREAD = 1e-4, 1e-6, 1e-3
# Pictures that are looked at, and the other sizes of a batch.
PICTURES, ODD = 32, (1, 3)
_SECONDS = 1800


class Parity(NamedTuple):
    """What a file gives, beside what it should, of every picture and every size of a batch.

    relative: the greatest difference, as a share of the largest number of the picture's output. one_minus_cosine: the
    greatest. spread: how far the pictures' outputs lie from their mean at most, as a share of the largest number.
    """

    runtime: str
    pictures: int
    batches: list[int]
    relative: float
    one_minus_cosine: float
    spread: float


def measure(path: str, images: np.ndarray, expected: np.ndarray) -> Parity:
    """Runs a file on images as it takes them, of which it should give `expected`, f32[N,...].

    Raises UserError where the file does not run, or gives another shape, or numbers that are not finite.
    """
    batches = [len(images), *(size for size in ODD if size < len(images))]
    runtime, given = _run(path, images, batches)
    name, relative, cosines = os.path.basename(path), 0.0, 0.0
    for batch in batches:
        found, wanted = given[batch], expected[:batch]
        if found.shape != wanted.shape:
            raise UserError(f"{name} gives {list(found.shape)} for {batch} picture(s), and should give "
                            f"{list(wanted.shape)}: it is not kept")
        if not np.isfinite(found).all():
            raise UserError(f"{name} gives numbers that are not finite: it is not kept")
        found, wanted = (np.asarray(rows, np.float64).reshape(batch, -1) for rows in (found, wanted))
        size = np.abs(wanted).max(1)
        relative = max(relative, float((np.abs(found - wanted).max(1) / np.where(size > 0, size, 1)).max()))
        lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
        cosines = max(cosines, float((1 - (found * wanted).sum(1) / np.where(lengths > 0, lengths, 1)).max()))
    rows = np.asarray(given[batches[0]], np.float64).reshape(len(images), -1)
    spread = float(np.abs(rows - rows.mean(0)).max() / (np.abs(rows).max() or 1))
    return Parity(runtime, len(images), batches, relative, cosines, spread)


def check(found: Parity, name: str) -> None:
    """Raises UserError for a file that must not be kept."""
    if found.spread < SPREAD:
        raise UserError(f"{name} gives nearly the same for all {found.pictures} pictures (they differ by "
                        f"{found.spread:.1e} of the largest number, at least {SPREAD:g} is expected): the network, or "
                        f"its graph, is dead, and nothing is kept")
    if found.relative > RELATIVE or found.one_minus_cosine > COSINE:
        raise UserError(f"{name} does not give what the model gives: the greatest relative difference over "
                        f"{found.pictures} pictures is {found.relative:.1e} ({RELATIVE:g} allowed), 1 - cosine "
                        f"{found.one_minus_cosine:.1e} ({COSINE:g} allowed): nothing is kept")


def _run(path: str, images: np.ndarray, batches: list[int]) -> tuple[str, dict[int, np.ndarray]]:
    """(the runtime, batch -> what the file gives) in a process of its own, on the CPU."""
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
            return str(file["runtime"]), {batch: file[str(batch)] for batch in batches}
