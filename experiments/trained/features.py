"""Features of a source by a trained model, computed once and kept on disk under the identity of what made them.

FOLDER/DIGEST/ holds one layer of one source: features.npy, f32[N,...], row i of image i; readable.npy, bool[N]; and
about.json, which is written last: the identity (weights, layer, pooling, preprocessing, flips, the images themselves)
of which DIGEST is made, and a line for each image that cannot be read. Another identity is another folder, so that
nothing is ever taken for what it is not. What was begun goes on where it stopped.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from geodesic import datasets
from geodesic.configs import stored
from geodesic.datasets import identity as identities
from geodesic.errors import UserError
from geodesic.experiments.checkpoints import checkpoint
from geodesic.experiments.process import hosts, lock, mapped, storage
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.process import workdir as workdirs
from geodesic.experiments.trained import embedding
from geodesic.experiments.trained.run import Run

_KEEP_EVERY = 10.0  # seconds of work that a crash may cost
_ARRAYS = ("features.npy", "readable.npy")
_EMBEDDING = "embedding"


class Features(NamedTuple):
    """Row i is image i of the source. Where `readable` is False the row is zero, and `problems` has a line for it."""

    values: np.ndarray      # f32[N,D], or f32[N,h,w,C] of a map; mapped from the disk, not to be written to
    readable: np.ndarray    # bool[N]
    problems: list[str]


def of(run: Run, source: datasets.Source, layers: Iterable[str] = (_EMBEDDING,), *, folder: str = "",
       pooled: bool = True, variables: dict | None = None, progress: Callable[[int], None] = lambda images: None
       ) -> dict[str, Features]:
    """The named layers of every image of a source, read where they are kept and else computed, all in one pass.

    Args:
      run: the model.
      source: the images.
      layers: of `run.layers`; "embedding" is the embedding, not normalised.
      folder: where features are kept; default: "features" in the run's workdir. Many sources and models may share it.
      pooled: averages maps over their places; False keeps them as they are, f32[N,h,w,C].
      variables: in place of the run's own, for the same network with other weights.
      progress: told of images that have been gone through, also of those of an earlier call.

    Raises UserError for a layer that there is not, for a detector, for a folder in a bucket (nothing can be mapped from
    there), and while another process computes the same; OSError where the disk is full, before anything is computed.
    """
    if run.config.task == "detection":
        raise UserError(f"{run.workdir} is a detector, whose pictures are letterboxed: features are kept of an "
                        f"embedder alone, such as the weights that its trunk started from")
    layers, folder = tuple(layers), folder or default_folder(run)
    if storage.is_remote(folder):
        raise UserError(f"{folder}: features are mapped from a disk; name a folder of this machine for them")
    known = run.check_layers(*layers)
    alike = made_by(run, source, _EMBEDDING, pooled=pooled, variables=variables)
    wanted = {layer: alike | {"layer": layer} for layer in layers}
    missing = [layer for layer in wanted if read(folder, wanted[layer]) is None]
    if missing:
        shapes = {layer: known[layer][-1:] if pooled else known[layer] for layer in missing}
        _compute(run, source, {layer: wanted[layer] for layer in missing}, shapes, folder, variables, progress)
    return {layer: read(folder, wanted[layer]) for layer in layers}


def default_folder(run: Run) -> str:
    return os.path.join(run.workdir, "features")


def made_by(run: Run, source: datasets.Source, layer: str, *, pooled: bool = True, variables: dict | None = None
            ) -> dict:
    """The identity of features: all that decides their values, as it comes back from a file."""
    config = stored.as_dict(run.config)
    return json.loads(json.dumps({
        "weights": run.digest if variables is None else checkpoint.digest(variables), "embedder": config["embedder"],
        "layer": layer, "pooled": pooled, "input": config["input"],
        "average_horizontal_flips": run.config.evaluation.average_horizontal_flips,
        "images": len(source), "records": identities.identity(source)["records"], "dtype": "float32"}))


def read(folder: str, identity: dict) -> Features | None:
    """The features of this identity, mapped from the disk; None where they are not there, or not whole.

    Raises UserError where a file has been changed since.
    """
    inside = mapped.place(folder, identity)
    try:
        about = workdirs.read_json(os.path.join(inside, "about.json"))
        if about["identity"] != identity:
            return None
        values, readable = (np.load(os.path.join(inside, name), mmap_mode="r") for name in _ARRAYS)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"the features in {inside} are damaged: {error}. Remove that folder") from error
    if list(values.shape) != about["shape"] or len(readable) != len(values):
        raise UserError(f"the features in {inside} are not those that about.json tells of. Remove that folder")
    return Features(values, np.asarray(readable), about["problems"])


def _compute(run: Run, source: datasets.Source, wanted: dict[str, dict], shapes: dict[str, tuple[int, ...]],
             folder: str, variables: dict | None, progress: Callable[[int], None]) -> None:
    """Writes the features of `wanted`, layer -> identity, each of its shape for an image. The first process writes."""
    names = {layer: mapped.place(folder, identity) for layer, identity in wanted.items()}
    pooled = next(iter(wanted.values()))["pooled"]
    with contextlib.ExitStack() as stack:
        if hosts.is_first():
            for inside in names.values():
                stack.enter_context(lock.held(inside))
        parts = {}
        hosts.first_does(lambda: parts.update({layer: _Part(names[layer], wanted[layer], (len(source), *shapes[layer]))
                                               for layer in wanted}))
        done = hosts.from_first(min((part.done for part in parts.values()), default=0))
        progress(done)
        last = time.monotonic()
        for places, rows, count in _batches(run, source, done, tuple(wanted), pooled, variables):
            done += count
            for layer, part in parts.items():
                part.put(places, rows[layer])
            if time.monotonic() - last > _KEEP_EVERY:
                hosts.first_does(lambda done=done: [part.keep(done) for part in parts.values()])
                last = time.monotonic()
            progress(count)
        hosts.first_does(lambda: [part.finish(source) for part in parts.values()])


def _batches(run: Run, source: datasets.Source, done: int, layers: tuple[str, ...], pooled: bool,
             variables: dict | None):
    """(places in the source, layer -> rows, images gone through) from image `done` on."""
    if done == len(source):
        return
    config = run.config
    step = embedding.make_embed_step(run.embedder, run.mesh, config.input, layer=layers, pooled=pooled,
                                     average_horizontal_flips=config.evaluation.average_horizontal_flips)
    placed = meshes.replicate(run.mesh, run.variables if variables is None else variables)
    size = embedding.even_batch(config.evaluation.batch_size, len(source), run.mesh.size)
    for places, rows, count in embedding.batches_of(
            step, placed, datasets.Records(source, np.arange(done, len(source))), run.mesh, input=config.input,
            loader=config.run, batch_size=size):
        yield places + done, rows, count


class _Part:
    """Features that are not whole yet: files beside the last ones, and begun.json with how many rows are on the disk.

    done: rows that need not be computed again.
    """

    def __init__(self, inside: str, identity: dict, shape: tuple[int, ...]):
        self._inside, self._identity, self._shape = inside, identity, shape
        self.done = self._begun()
        self._values, self._readable = (self._map(name, *kind) for name, kind in zip(
            _ARRAYS, ((np.float32, shape), (np.bool_, shape[:1])), strict=True))

    def put(self, places: np.ndarray, rows: np.ndarray) -> None:
        self._values[places], self._readable[places] = rows, True

    def keep(self, done: int) -> None:
        self._values.flush()
        self._readable.flush()
        workdirs.write_json(self._file("begun.json"), {"identity": self._identity, "rows": done})

    def finish(self, source: datasets.Source) -> None:
        problems = [datasets.problem(source, index) for index in np.flatnonzero(~self._readable)]
        self.keep(self._shape[0])
        for name in _ARRAYS:
            os.replace(self._file(f"{name}.part"), self._file(name))
        workdirs.write_json(self._file("about.json"), {"identity": self._identity, "shape": self._shape,
                                                       "problems": problems})
        storage.remove(self._file("begun.json"))

    def _begun(self) -> int:
        try:
            begun = workdirs.read_json(self._file("begun.json"))
            there = all(os.path.exists(self._file(f"{name}.part")) for name in _ARRAYS)
            return begun["rows"] if there and begun["identity"] == self._identity else 0
        except (FileNotFoundError, ValueError, KeyError):
            return 0

    def _map(self, name: str, dtype, shape: tuple[int, ...]) -> np.memmap:
        path = self._file(f"{name}.part")
        return mapped.begun(path) if self.done else mapped.new(path, dtype, shape)

    def _file(self, name: str) -> str:
        return os.path.join(self._inside, name)
