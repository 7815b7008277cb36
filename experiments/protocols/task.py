"""What every task of a protocol is given and gives back, and how it comes to its images and embeddings."""

import os
from typing import NamedTuple

import ml_collections
import numpy as np

from geodesic import datasets
from geodesic.datasets.source import parted
from geodesic.datasets.sources import rotated
from geodesic.errors import UserError
from geodesic.experiments.process import progress
from geodesic.experiments.trained.run import Run
from geodesic.metrics import retrieval


class Measured(NamedTuple):
    """What a protocol gives, for the record and for the report."""

    metrics: dict[str, dict]    # name -> {"value", "low", "high"}
    counts: dict[str, int]      # images, classes, queries ...
    complete: bool              # whether the images are those that the protocol names, as many as it says
    over: str                   # what the intervals resample
    problems: list[str]         # images that could not be read


class Task(NamedTuple):
    """What the task functions are given."""

    protocol: ml_collections.ConfigDict
    runs: list[Run]             # several are concatenated
    seed: int
    quarter_turns: bool = False  # whether embeddings of an image in its four quarter turns are concatenated, too

    @property
    def mesh(self):
        """Of the devices that the runs embed on."""
        return self.runs[0].mesh


def options_of(config, protocol, root: str) -> ml_collections.ConfigDict:
    """The run's configuration with what the protocol fixes: what its embedder is to be loaded with.

    root: the --data folder, "" for the run's own paths.
    """
    changed = config.copy_and_resolve_references()
    changed.test_data.update(locate(protocol.test, config, root))
    changed.input.update(fit=protocol.fit, resize_size=protocol.resize)
    changed.input.image_size = protocol.image_size or config.input.image_size
    changed.evaluation.average_horizontal_flips = protocol.flips
    if protocol.recall_at:
        changed.evaluation.recall_at = protocol.recall_at
    return changed


def locate(wanted, config, root: str) -> dict:
    """A protocol's data section with its real path: below `root`, or where the run's own data of this source are.

    Of listed pairs, root may also be a file: a `.bin`, or a list as of `pairs.load_lfw` with its images.
    Raises UserError where neither says where they lie.
    """
    options = dict(name=wanted.name, path=wanted.path, classes=tuple(wanted.classes), folds=0, part="train",
                   test_share=0.0)
    listed = parted(root)[0]
    if wanted.name == "bin" and os.path.isfile(listed):
        options.update(name="bin" if listed.endswith(".bin") else "lfw", path=root)
    elif root:
        file, mark, split = wanted.path.partition("#")
        options["path"] = (f"{root.rstrip('/')}/{file}" if file else root) + mark + split
    elif wanted.name not in datasets.FIND_THEMSELVES:
        for own in (config.test_data, config.train_data):
            path, _ = datasets.parted(own.path)
            if own.name == wanted.name and path:
                return options | {"path": path + ("#" + wanted.path.partition("#")[2] if "#" in wanted.path else "")}
        raise UserError(f"the images of source {wanted.name!r} are needed: say where they lie with --data=PATH")
    return options


def embed(task: Task, source, unit: bool = True) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """(embeddings f32[N,D] of the readable images, their places, problems). Several models, and the quarter turns of an
    image, are put side by side.

    unit: whether they are L2-normalised; always where there are several.
    """
    parts, problems, readable = [], [], np.ones(len(source), bool)
    views = rotated.Rotated(source) if task.quarter_turns else source
    for run in task.runs:
        with progress.bar("embedding", len(views)) as advance:
            embedded = run.embed_source(views, advance)
        one = len(task.runs) == 1 and not task.quarter_turns
        rows = embedded.embeddings if one else retrieval.normalized(embedded.embeddings)
        parts.append(rows.reshape(len(source), -1))
        readable &= embedded.readable.reshape(len(source), -1).all(axis=1)
        problems = embedded.problems or problems
    places = np.flatnonzero(readable)
    together = np.concatenate(parts, axis=1)[places]
    return retrieval.normalized(together) if unit or len(parts) > 1 else together, places, problems


def source(task: Task, wanted, root: str) -> datasets.Source:
    return datasets.build(**locate(wanted, task.runs[0].config, root))


def complete(task: Task, images: int, classes: int, gallery: int = 0) -> bool:
    given = {"images": images, "classes": classes, "gallery_images": gallery}
    return all(not task.protocol[name] or task.protocol[name] == count for name, count in given.items())
