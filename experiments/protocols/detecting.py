"""How well a run detects: COCO's numbers of its boxes on test images, each with an interval, and what is wrong.

metrics/detection.py has the rules. Boxes are compared in pixels of the pictures, not of what the network is given.
"""

import itertools
from typing import NamedTuple

import jax
import numpy as np
import rich.table

from geodesic import datasets
from geodesic.configs import stored
from geodesic.datasets import identity
from geodesic.errors import UserError
from geodesic.experiments.process import console
from geodesic.experiments.process import progress as bars
from geodesic.experiments.process import workdir as workdirs
from geodesic.experiments.protocols import intervals
from geodesic.experiments.protocols import task as tasks
from geodesic.experiments.trained import detecting
from geodesic.experiments.trained.run import Run
from geodesic.experiments.training import data
from geodesic.metrics import detection, detection_errors, detection_intervals, detection_scores


class Scores(NamedTuple):
    """record: what evaluation.json holds. arrays: what `report` draws from."""

    record: dict
    arrays: dict[str, np.ndarray]


def class_places(trained: list[str], tested: list[str]) -> np.ndarray:
    """i[C], the trained class of each class of the test data, by its name.

    Raises UserError for a class that is not trained on.
    """
    place = {name: label for label, name in enumerate(trained)}
    unknown = [name for name in tested if name not in place]
    if unknown:
        raise UserError(f"{len(unknown)} of the {len(tested)} test classes are not trained on, {unknown[0]!r} for one: "
                        f"a detector finds what it has learnt")
    return np.array([place[name] for name in tested], np.int64)


def truths(source: datasets.Source, places: np.ndarray, chosen) -> list[detection.Truth]:
    """The objects of the images at `chosen`, in pixels of the pictures. places: of `class_places`."""
    found = [source.annotations(int(index)) for index in chosen]
    return [detection.Truth(one["boxes"], places[one["classes"]], one["crowd"], one["areas"]) for one in found]


def check_annotated(source: datasets.Source, options) -> datasets.Source:
    """The source. Raises UserError for one whose images cannot have boxes. options: the section of the data."""
    if not hasattr(source, "annotations"):
        raise UserError(f"a detector takes images with boxes, and those of {options.name} {options.path}".rstrip()
                        + " have none: use a source such as coco, voc or yolo")
    return source


def check_boxes(source: datasets.Source, options) -> None:
    """Raises UserError as `check_annotated` does, and for images without any box that counts."""
    check_annotated(source, options)
    if all(source.annotations(place)["crowd"].all() for place in range(len(source))):
        raise UserError(f"none of the {len(source):,} images of {options.name} {options.path}".rstrip() + " has a box: "
                        "there is nothing to be found")


def matched(found: detecting.Found, source: datasets.Source, places: np.ndarray
            ) -> tuple[list[detection.Detections], list[detection.Truth]]:
    """Of the images that could be read what was found, and what there is."""
    readable = np.flatnonzero(found.readable)
    return [detection.Detections(*found.images[index]) for index in readable], truths(source, places, readable)


def scores(found: detecting.Found, source: datasets.Source, places: np.ndarray) -> dict[str, float]:
    """COCO's numbers of what was found, by name; one of objects of which there are none is left out."""
    summary = detection_scores.summary(detection.match(*matched(found, source, places)))
    return {name: value for name, value in summary.items() if np.isfinite(value)}


def metrics(matches: detection.Matches, seed: int) -> dict[str, dict]:
    """COCO's numbers as records hold them, with intervals over draws of images; as `scores`."""
    found = detection_intervals.intervals(matches, samples=intervals.RESAMPLES, seed=seed, level=intervals.LEVEL)
    return {name: intervals.metric(*interval) for name, interval in found.items() if np.isfinite(interval.estimate)}


def measure(run: Run, test: datasets.Source, *, rule: str = "last step", progress=lambda images: None) -> Scores:
    """Looks for the objects of the test images, and scores what it finds. rule: how the step was chosen.

    Raises UserError for images without boxes, for classes that were not trained, and where nothing is to be found.
    """
    check_boxes(test, run.config.test_data)
    places, names = class_places(run.class_names, test.class_names), run.class_names
    found = run.detect_source(test, progress)
    for problem in found.problems:
        print(f"left out of the evaluation: {problem}")
    detections, there = matched(found, test, places)
    matches, name = detection.match(detections, there), f"trained, step {run.step}"
    with bars.bar("scoring", 1) as advance:
        entries, wrong = metrics(matches, run.config.seed), detection_errors.errors(detections, there)
        advance(1)
    record = {
        "protocol": {
            "source": data.describe(run.config.test_data), "images": len(there), "classes": test.num_classes,
            "boxes": int(sum((~truth.crowd).sum() for truth in there)), "records": identity.identity(test)["records"],
            "classes_trained_on": test.num_classes, "selected_on": rule,
            "detection": "COCO's rules: at most 100 boxes of an image and class, IoU .50, .55 .. .95, 101 recalls"},
        "seed": run.config.seed, "config_hash": stored.hash_of(run.config), "checkpoint_step": run.step,
        "checkpoint_digest": run.digest, "trained": name, "unreadable": found.problems,
        "environment": workdirs.environment(jax.devices()),
        "scores": {name: {metric: entry["value"] for metric, entry in entries.items()}},
        "detection": {"metrics": entries, "classes": _of_classes(matches, there, names),
                      "errors": {"ap50": wrong.ap, "gains": wrong.gains, "counts": wrong.counts},
                      "interval": intervals.describe("images")},
    }
    return Scores(record, _arrays(found, there, test, names))


def _of_classes(matches: detection.Matches, there: list[detection.Truth], names: list[str]) -> dict[str, dict]:
    """The numbers of each class that has objects or was found, by name, with its objects and how many images have it.
    """
    by_class = detection_scores.by_class(matches)
    count = lambda label: [int(((truth.classes == label) & ~truth.crowd).sum()) for truth in there]
    return {names[label]: {"boxes": sum(count(label)), "images": sum(number > 0 for number in count(label)),
                           **{name: value for name, value in found.items() if np.isfinite(value)}}
            for label, found in by_class.items()}


def _arrays(found: detecting.Found, there: list[detection.Truth], test, names: list[str]) -> dict[str, np.ndarray]:
    """Boxes one after the other, those of image i at starts[i] .. starts[i+1]-1."""
    readable = np.flatnonzero(found.readable)
    own = [found.images[index] for index in readable]
    starts = lambda rows: np.concatenate([[0], np.cumsum([len(row.boxes) for row in rows])]).astype(np.int64)
    joined = lambda rows, name, like: np.concatenate([like, *(getattr(row, name) for row in rows)])
    boxes, none = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    return {
        "index": readable, "paths": np.asarray([test.paths[index] for index in readable]),
        "class_names": np.asarray(names),
        "found/starts": starts(own), "found/boxes": joined(own, "boxes", boxes),
        "found/scores": joined(own, "scores", np.zeros(0, np.float32)), "found/classes": joined(own, "classes", none),
        "true/starts": starts(there), "true/boxes": joined(there, "boxes", boxes),
        "true/classes": joined(there, "classes", none), "true/crowd": joined(there, "crowd", np.zeros(0, bool)),
        "true/area": joined(there, "area", np.zeros(0, np.float32)),
    }


def print_scores(record: dict) -> None:
    """COCO's numbers with their intervals, those of the classes, and the errors by their kinds."""
    protocol, found = record["protocol"], record["detection"]
    shown_on = console.plain()
    shown_on.print(_table(
        f"{protocol['images']:,} images with {protocol['boxes']:,} objects of {protocol['classes']:,} classes",
        ("", "value", f"{found['interval']['level']:.0%} interval over images"),
        [(name, f"{entry['value']:.4f}", span(entry)) for name, entry in found["metrics"].items()]))
    shown = ("boxes", "images", "ap", "ap50", "ar@100")
    shown_on.print(_table("", ("class", *shown), [
        (name, *(f"{one[key]:,}" if isinstance(one.get(key), int) else f"{one[key]:.3f}" if key in one else ""
                 for key in shown)) for name, one in found["classes"].items()]))
    wrong = found["errors"]
    shown_on.print(_table("", ("error", "detections", "AP50 it costs"), [
        (name, f"{wrong['counts'][name]:,}", f"{gain:.4f}") for name, gain in wrong["gains"].items()]))


def span(metric: dict) -> str:
    """The interval of a metric as records hold it; "" for none."""
    return "" if metric["low"] is None else f"{metric['low']:.4f} to {metric['high']:.4f}"


def _table(title: str, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> rich.table.Table:
    table = rich.table.Table(title=title or None)
    for place, name in enumerate(head):
        table.add_column(name, justify="right" if place else "left")
    for row in rows:
        table.add_row(*row)
    return table


def from_arrays(arrays: dict[str, np.ndarray]) -> tuple[list[detection.Detections], list[detection.Truth]]:
    """What was found and what there is, image by image, of the arrays that `measure` gives."""
    def rows(kind: str, names: tuple[str, ...]):
        starts = arrays[f"{kind}/starts"]
        return [[arrays[f"{kind}/{name}"][start:stop] for name in names]
                for start, stop in itertools.pairwise(starts)]

    return ([detection.Detections(*row) for row in rows("found", ("boxes", "scores", "classes"))],
            [detection.Truth(*row) for row in rows("true", ("boxes", "classes", "crowd", "area"))])


def follow(task: tasks.Task, root: str) -> tasks.Measured:
    """Measures a run's detections by a protocol. Raises UserError as `measure` does, and for several runs."""
    if len(task.runs) > 1:
        raise UserError("detectors are not put side by side: leave out --concatenate")
    run, source = task.runs[0], tasks.source(task, task.protocol.test, root)
    check_boxes(source, task.protocol.test)
    places = class_places(run.class_names, source.class_names)
    with bars.bar("detecting", len(source)) as advance:
        found = run.detect_source(source, advance)
    detections, there = matched(found, source, places)
    counts = {"images": len(there), "classes": source.num_classes,
              "boxes": int(sum((~truth.crowd).sum() for truth in there))}
    return tasks.Measured(metrics(detection.match(detections, there), task.seed), counts,
                          tasks.complete(task, len(there), source.num_classes), "images", found.problems)
