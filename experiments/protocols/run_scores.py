"""A run measured on its own test data, beside what the same images score without training; and how that is kept.

evaluation.json in the workdir holds the scores with all that they depend on, evaluation.npz what `report` draws from:
embeddings of the test images, their labels and paths, and the ROC curves.
"""

import contextlib
import io
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax
import numpy as np
import rich.table

from geodesic import datasets
from geodesic.configs import stored
from geodesic.datasets import identity
from geodesic.errors import UserError
from geodesic.experiments.process import console, hosts, storage
from geodesic.experiments.process import progress as bars
from geodesic.experiments.process import workdir as workdirs
from geodesic.experiments.protocols import (
    analyses,
    classifying,
    detecting,
    evaluation,
    exported_files,
    follow,
    robustness,
)
from geodesic.experiments.trained import embedding, temperature
from geodesic.experiments.trained.run import Run
from geodesic.experiments.training import data
from geodesic.metrics import retrieval

# Said of the training images; the other analyses are of the test images.
OUTLIERS = "outliers"
# Of the test images once more, corrupted: the others take embeddings that are there.
ROBUSTNESS = "robustness"
# Of a run that classifies it is told where it is asked for; of others always.
RETRIEVAL = "retrieval"
ALSO = (*analyses.ANALYSES, ROBUSTNESS, OUTLIERS, RETRIEVAL)
# Tasks whose runs are scored by their own classifiers.
_CLASSIFYING = ("classification", "multilabel")
_RETRIEVAL_PROTOCOL = {
    "retrieval": "Every image queries all others by cosine; ties by index; map@r of Musgrave et al. 2020",
    "verification": "All pairs of images by cosine; thresholds exact, not interpolated",
}
# Paths that are printed; the record has all.
_SHOWN = 10


class Scores(NamedTuple):
    """record: what evaluation.json holds. unit f32[N,D], labels i[N]: of the images that could be read."""

    record: dict
    unit: np.ndarray
    labels: np.ndarray
    arrays: dict[str, np.ndarray]
    classified: classifying.Own | None      # of a task that classifies


def measure(run: Run, test: datasets.Source, *, baselines: bool = True, also: tuple[str, ...] = (),
            rule: str = "last step", progress=lambda images: None, files: Mapping = MappingProxyType({})) -> Scores:
    """Embeds the test images, and scores them. also: names of ALSO. rule: how the step was chosen. files: of
    `exported_files.opened`, whose embeddings are scored too.

    A run that classifies is scored by its classifier; by retrieval and verification, and beside baselines, it is only
    where `scores_retrieval` says so.
    """
    embedded = run.embed_source(test, progress)
    for problem in embedded.problems:
        print(f"left out of the evaluation: {problem}")
    kept = embedded.readable.nonzero()[0]
    labels, raw = test.labels[kept], embedded.embeddings[kept]
    unit, name = retrieval.normalized(raw), f"trained, step {run.step}"
    classified = _classified(run, test, embedded) if run.config.task in _CLASSIFYING else None
    trained = {name: raw} | exported_files.embeddings(files, test, kept)
    rows = _embeddings(run, test, trained, baselines) if scores_retrieval(run.config, also) else {}
    with bars.bar("scoring", 2 * len(rows)) if rows else contextlib.nullcontext() as advance:
        scores = {row: _told(evaluation.score(embeddings, labels, run.config), advance)
                  for row, embeddings in rows.items()}
        curves = {row: _told(evaluation.roc(embeddings, labels), advance) for row, embeddings in rows.items()}
    record = {
        "protocol": {
            "source": data.describe(run.config.test_data), "images": len(labels), "classes": len(np.unique(labels)),
            "records": identity.identity(test)["records"], "classes_trained_on": _trained_on(run, test),
            **(_RETRIEVAL_PROTOCOL if rows else {}), "selected_on": rule,
        },
        "seed": run.config.seed, "config_hash": stored.hash_of(run.config), "checkpoint_step": run.step,
        "checkpoint_digest": run.digest, "trained": name, "unreadable": embedded.problems,
        "environment": workdirs.environment(jax.devices()),
        "scores": scores,
    }
    if files:
        record["exported"] = exported_files.told(record, files)
    if also:
        of_test = [name for name in also if name in analyses.ANALYSES]
        record["also"] = analyses.run(of_test, raw, labels, seed=run.config.seed)
    if ROBUSTNESS in also:
        with bars.bar("corrupted", robustness.PASSES) as advance:
            record["also"][ROBUSTNESS] = robustness.measure(run, test, kept, seed=run.config.seed, progress=advance)
    if OUTLIERS in also:
        record["also"][OUTLIERS] = _outliers(run)
    if classified is not None:
        record["classification"] = classified.record
    arrays = {"embeddings": unit, "labels": labels, "index": kept, "class_names": np.asarray(test.class_names),
              "paths": np.asarray([test.paths[index] for index in kept]),
              **{f"far/{row}": curve.far for row, curve in curves.items()},
              **{f"tar/{row}": curve.tar for row, curve in curves.items()},
              **{f"classified/{name}": values for name, values in (classified.arrays if classified else {}).items()}}
    return Scores(record, unit, labels, arrays, classified)


def scores_retrieval(config, also: tuple[str, ...] = ()) -> bool:
    """Whether an evaluation scores retrieval and verification: of a classifier where --also or `evaluators` ask it."""
    watched = (name for name, _ in config.evaluation.evaluators)
    return config.task not in _CLASSIFYING or RETRIEVAL in also or "test" in watched


def _embeddings(run: Run, test: datasets.Source, trained: dict, baselines: bool) -> dict[str, np.ndarray]:
    """Name -> embeddings f[N,D] of the test images: the trained ones, after those without training."""
    return (evaluation.baselines(run, test) if baselines else {}) | trained


def _classified(run: Run, test: datasets.Source, embedded: embedding.Embedded) -> classifying.Own:
    """By the embedding that the classifier was trained on, also where another layer is evaluated."""
    if run.config.evaluation.layer:
        embedded = run.embed_source(test, layer="")
    return classifying.of_run(run, test, embedded.embeddings[embedded.readable], np.flatnonzero(embedded.readable))


def _told(result, advance):
    advance(1)
    return result


def check_also(names) -> None:
    """Raises UserError for a name that `measure` does not know."""
    unknown = [name for name in names if name not in ALSO]
    if unknown:
        raise UserError(f"no analysis {unknown[0]!r}; known: {', '.join(ALSO)}")


def _outliers(run: Run) -> dict:
    """The training images that lie far from the dominant sub-centre of their class: noise, perhaps."""
    source = data.train_source(run.config)
    embedded, prototypes = run.embed_source(source), run.classifier.params["prototypes"]
    kept = embedded.readable.nonzero()[0]
    places = kept[analyses.outliers(embedded.embeddings[kept], source.labels[kept], prototypes)]
    return {"what": f"Of the {len(kept):,} training images, those far from the dominant sub-centre of their class",
            "scores": {"outliers": float(len(places))}, "paths": [source.paths[place] for place in places]}


def _trained_on(run: Run, test: datasets.Source) -> int | None:
    """How many of the test classes have the names of classes that were trained on; None where these are not known."""
    with contextlib.suppress(UserError):
        return len({*run.class_places} & {*test.class_names})
    try:  # a run of an older version, or imported weights without a classifier
        return len({*data.train_source(run.config).class_names} & {*test.class_names})
    except OSError:
        return None


def check_replaceable(workdir: str, test: datasets.Source) -> None:
    """Raises UserError where the workdir holds an evaluation on other images, which would be lost."""
    try:
        there = read(workdir)["protocol"]
    except FileNotFoundError:
        return
    if there.get("records") not in (None, identity.identity(test)["records"]):
        raise UserError(f"{workdirs.evaluation_path(workdir)} is of other test data ({there['source']}): give "
                        f"--overwrite to replace it")


def write(run: Run, scores: Scores) -> str:
    """Where the record lies now. Whole or not at all. The temperature of a classifier is kept for `predict`."""
    workdir = run.workdir
    path = write_files(workdir, scores.record, scores.arrays)
    if scores.classified and scores.classified.temperature is not None:
        origin = {name: scores.record["protocol"][name] for name in ("source", "images", "classes", "records")}
        hosts.first_does(lambda: temperature.save(workdir, run.classifier_identity, scores.classified.temperature,
                                                  origin))
    return path


def write_files(workdir: str, record: dict, arrays: dict[str, np.ndarray]) -> str:
    """Where the record lies now; beside it lies what `report` draws from."""
    buffer, path = io.BytesIO(), workdirs.evaluation_path(workdir)
    np.savez(buffer, **arrays)
    hosts.first_does(lambda: workdirs.write_atomically(workdirs.evaluation_arrays_path(workdir), buffer.getvalue()))
    hosts.first_does(lambda: workdirs.write_json(path, record))
    return path


def read(workdir: str) -> dict:
    """The record that `evaluate` wrote into a workdir. Raises FileNotFoundError before there is one."""
    try:
        return workdirs.read_json(workdirs.evaluation_path(workdir))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{workdir!r} has not been evaluated: run geodesic evaluate on it") from error


def read_arrays(workdir: str) -> dict[str, np.ndarray]:
    """What `write` has put beside the record."""
    path = workdirs.evaluation_arrays_path(workdir)
    with storage.opened(path) as opened, np.load(opened, allow_pickle=False) as file:
        return dict(file)


def print_table(record: dict) -> None:
    """Boxes of a detector; else retrieval, where it was scored, and what the classifier and the analyses have given."""
    if "detection" in record:
        detecting.print_scores(record)
        _print_files(record)
        return
    if record["scores"]:
        console.plain().print(_scores_table(record))
        _print_files(record)
    else:
        print(what_was_tested(record))
    if "classification" in record:
        print_classification(record["classification"])
    for name, found in record.get("also", {}).items():
        print(f"{name}: {found['what']}")
        for metric, value in found["scores"].items():
            print(f"  {metric:<28}{value:.4f}")
        for path in found.get("paths", [])[:_SHOWN]:
            print(f"    {path}")


def _print_files(record: dict) -> None:
    for line in exported_files.describe(record) if "exported" in record else ():
        print(line)


def _scores_table(record: dict) -> rich.table.Table:
    """A column for each way to embed, a row for each metric: narrow enough for any terminal. Of exported files there
    are lines."""
    scores = {name: found for name, found in record["scores"].items() if name not in record.get("exported", {})}
    table = rich.table.Table(title=what_was_tested(record))
    table.add_column("")
    for name in scores:
        table.add_column(name, justify="right", style="bold" if name == record["trained"] else None)
    for metric, value in scores[record["trained"]].items():
        if isinstance(value, float):
            table.add_row(metric, *(f"{scores[name][metric]:.3f}" for name in scores))
    return table


def print_classification(found: dict) -> None:
    """A row for each metric, with its interval, and what the fitted temperature makes of it."""
    table = rich.table.Table(title="classification")
    for name in ("", "value", "95% interval over classes", *(["calibrated"] if "calibrated" in found else [])):
        table.add_column(name, justify="right" if name else "left")
    for name, metric in found["metrics"].items():
        after = found.get("calibrated", {}).get(name, {}).get("value")
        table.add_row(name, f"{metric['value']:.4f}", follow.span(metric), *([] if after is None else [f"{after:.4f}"]))
    console.plain().print(table)
    print(f"probabilities: {found['what']}; " + (
        f"calibrated: each half of the images at the temperature fitted on the other, {found['temperature']:.3g} on all"
        if "temperature" in found else f"no temperature: {found['problem']}"))


def what_was_tested(record: dict) -> str:
    """How many images of how many classes, and whether the run has seen classes of these names."""
    protocol = record["protocol"]
    seen = protocol["classes_trained_on"]
    which = (", and which classes were trained on is not known" if seen is None else
             f", {seen:,} of them also trained on" if seen else " never trained on")
    return f"{protocol['images']:,} images of {protocol['classes']:,} classes{which}"
