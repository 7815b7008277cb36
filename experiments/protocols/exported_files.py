"""Exported files of a run, scored by the run's own protocol: whether they are as good as the run, not only as near."""

import os
from collections.abc import Iterable

import numpy as np

from geodesic.errors import UserError
from geodesic.experiments.protocols import detecting
from geodesic.experiments.trained import exported
from geodesic.experiments.trained.exported import Exported, ExportedDetector
from geodesic.experiments.trained.run import Run


def opened(paths: Iterable[str], run: Run) -> dict[str, Exported | ExportedDetector]:
    """Name -> the model of each file; the name is the file's, and of several that have one name the path.

    Raises UserError for a file of another model, and for one that does not give what the run is scored by.
    """
    paths, files = [*paths], {}
    names = [os.path.basename(path) for path in paths]
    kind, given = (ExportedDetector, "detections") if run.config.task == "detection" else (Exported, "embedding")
    for path, name in zip(paths, names, strict=True):
        if not path.endswith(exported.EXTENSIONS):
            raise UserError(f"{path} is no model that can be run: give one that ends in "
                            f"{' or '.join(exported.EXTENSIONS)}")
        file = exported.load(path)
        if not isinstance(file, kind) or file.record["output"]["name"] != given:
            raise UserError(f"{path} gives {file.record['output']['name']}, and {run.workdir} is scored by its "
                            f"{given}: export it with --output={given}")
        if other := [key for key, value in run.identity.items() if file.identity[key] != value]:
            raise UserError(f"{path} was exported from another model than {run.workdir}: it differs in "
                            f"{', '.join(other)}")
        files[name if names.count(name) == 1 else path] = file
    return files


def embeddings(files: dict[str, Exported], test, kept: np.ndarray) -> dict[str, np.ndarray]:
    """Name -> f32[N,D] of the images at `kept`, through each file."""
    return {name: file.embed_source(test).embeddings[kept] for name, file in files.items()}


def detections(files: dict[str, ExportedDetector], test, run: Run) -> dict[str, dict[str, float]]:
    """Name -> COCO's numbers of the test images, through each file."""
    places = detecting.class_places(run.class_names, test.class_names)
    return {name: detecting.scores(file.detect_source(test), test, places) for name, file in files.items()}


def told(record: dict, files: dict) -> dict[str, dict]:
    """Name -> where each file comes from, and by how much each score is above the run's.

    record: of the evaluation, whose "scores" have the run's and the files' by name.
    """
    own = record["scores"][record["trained"]]
    return {name: {"path": file.path, "sha256": file.record["files"][os.path.basename(file.path)]["sha256"],
                   "above": {metric: record["scores"][name][metric] - value for metric, value in own.items()
                             if isinstance(value, float)}} for name, file in files.items()}


def describe(record: dict) -> list[str]:
    """A line for each file."""
    lines = []
    for name, file in record["exported"].items():
        farthest = max(file["above"], key=lambda metric: abs(file["above"][metric]))
        first = next(metric for metric in ("map@r", "ap", farthest) if metric in file["above"])
        most = f"{file['above'][farthest]:+.5f}"
        lines.append(f"{name}: {first} {record['scores'][name][first]:.5f}, {file['above'][first]:+.5f} to "
                     f"{record['trained']}; " + ("no score differs" if float(most) == 0 else
                                                 f"the score that differs most is {farthest}, by {most}"))
    return lines
