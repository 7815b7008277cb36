"""One checkpoint judged on everything: each figure beside the same of a reference, the untrained network and pixels.

The test images are embedded once by each contestant, and every task (scorecard_tasks.py) scores these embeddings;
robustness alone embeds them again, corrupted.
"""

import contextlib
import os
import statistics
import time
import types
from collections.abc import Callable, Mapping

import jax
import numpy as np

from geodesic import datasets
from geodesic.configs import stored
from geodesic.datasets import corruptions, identity
from geodesic.errors import UserError
from geodesic.experiments.process import workdir as workdirs
from geodesic.experiments.protocols import evaluation, grouping, intervals, record, robustness, scorecard_detectors
from geodesic.experiments.protocols import scorecard_files as files
from geodesic.experiments.protocols import scorecard_tasks as tasks
from geodesic.experiments.trained import embedding, network
from geodesic.experiments.trained.run import Run
from geodesic.experiments.training import data, summary
from geodesic.metrics import retrieval

RUN, REFERENCE, UNTRAINED, PIXELS = "run", "reference", "untrained network", "raw pixels"
# Images that are embedded at a time where speed is measured, and how often.
BATCH, ROUNDS = 32, 5
DETECTION, ROBUSTNESS, SIZE = "detection", "robustness", "size"
_OTHERS = {
    DETECTION: "Boxes by detectors that learnt on the frozen trunks, by COCO's rules.",
    ROBUSTNESS: "map@r where corrupted images search clean ones: the mean over five strengths, and over all kinds.",
    SIZE: f"GFLOP of one view of one image, two for each multiply-add; images a second, {BATCH} at a time, without "
          f"reading them: the median of {ROUNDS} times, in turns.",
}
# (what, how many, their unit) -> a function that is told of them as they are done.
Progress = Callable[[str, int, str], Callable[[int], None]]


def measure(run: Run, test: datasets.Source, reference: Run | None = None, *, robust: bool = True, seed: int = 0,
            detectors: Mapping[str, str] = types.MappingProxyType({}),
            say: Callable[[str], None] = lambda line: None,
            progress: Progress = lambda what, total, unit: lambda done: None) -> dict:
    """Judges a run on test images, and gives the record that scorecard.json holds.

    Args:
      run: the model.
      test: images of classes, each of one.
      reference: another model, which sees the images at its own size.
      robust: whether corrupted images are embedded too, `robustness.PASSES` times by each contestant.
      seed: of clusters, episodes, halves, corruptions and intervals.
      detectors: contestant -> workdir of a detector on its frozen trunk, as scorecard_detectors.read takes them.
      say: is told what is being done, in lines.
      progress: (what, how many, their unit) -> a function that is told of them as they are done.

    What the data do not allow (episodes of 20 classes where there are 10) is listed in "left_out", with the reason.
    Raises UserError for a model that has no such embeddings, and where no task can be scored.
    """
    models = _models(run, reference)
    boxes = scorecard_detectors.read(detectors, models, UNTRAINED)
    embedded, kept, problems = _embed(models, test, progress)
    for problem in problems:
        say(f"left out: {problem}")
    labels, found = test.labels[kept], _Found()
    _score(embedded, labels, run.config, seed, found, say, progress)
    if not {task for task, _ in found.scores} - {"health"}:
        raise UserError(f"no task can be scored on {data.describe(run.config.test_data)}: {found.left_out[0]['why']}")
    for name, metrics in boxes["of"].items():
        found.add(DETECTION, name, lambda metrics=metrics: metrics)
    if robust:
        _corrupt(models, test, kept, seed, found, progress)
    for name, values in embedded.items():
        found.add(SIZE, name, lambda name=name, values=values: _size(models.get(name), values.shape[1]))
    rates = _rates({name: model for name, model in models.items() if name != UNTRAINED}, progress)
    for name, values in rates.items():
        found.add(SIZE, name, lambda values=values: {"images a second": intervals.metric(statistics.median(values))})
    speed = {"batch": _batch(run), "load": round(os.getloadavg()[0], 2), "rates": rates}
    record = _record(run, test, models, labels, found, seed) | {
        "unreadable": problems, "curves": found.curves, "speed": speed}
    if boxes["of"]:
        record["intervals"][DETECTION] = boxes["interval"]
        record["detection"] = {name: boxes[name] for name in ("source", "detectors")}
    return record


class _Found:
    """What has been measured so far. scores: (task, metric) -> contestant -> metric as records hold it."""

    def __init__(self):
        self.scores: dict[tuple[str, str], dict[str, dict]] = {}
        self.left_out: list[dict[str, str]] = []
        self.curves: dict[str, dict[str, list[float]]] = {}  # contestant -> kind -> clean, and at each strength

    def add(self, task: str, name: str, work: Callable[[], dict[str, dict]]) -> str:
        """Says in words what `work` gives, or why it gives nothing."""
        try:
            metrics = work()
        except UserError as error:
            self.left_out.append({"task": task, "contestant": name, "why": str(error)})
            return f"left out: {error}"
        for metric, values in metrics.items():
            self.scores.setdefault((task, metric), {})[name] = values
        return ", ".join(f"{metric} {files.number(values['value'])}" for metric, values in metrics.items())

    def ordered(self) -> list[dict]:
        """Rows of the table: tasks in their order, and of each the metrics as they came."""
        order = dict.fromkeys([*(task.name for task in tasks.TASKS), *_OTHERS])
        return [{"task": task, "metric": metric, "better": tasks.better(task, metric), "of": of}
                for wanted in order for (task, metric), of in self.scores.items() if task == wanted]


def check(run: Run) -> None:
    """Raises UserError for a model whose embeddings are nothing for a scorecard."""
    if run.config.task in ("detection", "multilabel"):
        raise UserError(f"{run.workdir} is of --config.task={run.config.task}, and a scorecard is of embeddings of "
                        f"images of one class each: geodesic evaluate scores it")


def _models(run: Run, reference: Run | None) -> dict[str, Run]:
    """Those that embed, in the order of the columns. Raises UserError as `check` does."""
    for model in filter(None, (run, reference)):
        check(model)
    start = Run(run.workdir, run.config, run.mesh, run.embedder, network.untrained(run.embedder, run.config), 0)
    return {RUN: run, **({} if reference is None else {REFERENCE: reference}), UNTRAINED: start}


def _embed(models: Mapping[str, Run], test: datasets.Source, progress: Progress
           ) -> tuple[dict[str, np.ndarray], np.ndarray, list[str]]:
    """(name -> f32[N,D], places of the images that all could read i[N], a line for each of the others)."""
    found = {name: model.embed_source(test, progress(f"embedding, {name}", len(test), "img"))
             for name, model in models.items()}
    readable = np.logical_and.reduce([one.readable for one in found.values()])
    if not readable.any():
        raise UserError("none of the test images can be read")
    pixels = evaluation.pixels(test, models[RUN].config, "reading the pixels")[readable[found[RUN].readable]]
    problems = dict.fromkeys(line for one in found.values() for line in one.problems)
    return ({name: one.embeddings[readable] for name, one in found.items()} | {PIXELS: pixels},
            np.flatnonzero(readable), [*problems])


def _score(embedded: Mapping[str, np.ndarray], labels: np.ndarray, config, seed: int, found: _Found, say,
           progress: Progress) -> None:
    advance = progress("scores", len(tasks.TASKS) * len(embedded), "score")
    for name, raw in embedded.items():
        rows = tasks.Rows(raw, retrieval.normalized(raw), labels, tuple(config.evaluation.far), seed)
        for task in tasks.TASKS:
            say(f"{name}: {task.name}: {found.add(task.name, name, lambda task=task, rows=rows: task.measure(rows))}")
            advance(1)


def _corrupt(models: Mapping[str, Run], test: datasets.Source, kept: np.ndarray, seed: int, found: _Found,
             progress: Progress) -> None:
    run = models[RUN]
    flat = lambda views, batch: embedding.normalize(views, run.config.input).reshape(len(views), -1)
    pixels = types.SimpleNamespace(config=run.config, mesh=run.mesh, embed_views=flat)
    for name, model in {**models, PIXELS: pixels}.items():
        advance = progress(f"corrupted, {name}", robustness.PASSES, "pass")

        def work(name=name, model=model, advance=advance):
            scores = robustness.measure(model, test, kept, seed=seed, progress=advance)["scores"]
            curves = {kind: [scores["clean"], *(scores[f"{kind} {strength}"] for strength in corruptions.STRENGTHS)]
                      for kind in corruptions.AMOUNTS}
            found.curves[name] = curves
            means = {kind: np.mean(curve[1:]) for kind, curve in curves.items()}
            told = {"clean": scores["clean"], **means, "mean": scores["mean"]}
            return {metric: intervals.metric(value) for metric, value in told.items()}

        found.add(ROBUSTNESS, name, work)


def _size(model: Run | None, numbers: int) -> dict[str, dict]:
    """What an embedding costs. model: None of raw pixels."""
    found = {"numbers of an embedding": numbers, "bytes of an embedding": 4 * numbers}
    if model is not None:
        parameters = sum(leaf.size for leaf in jax.tree.leaves(model.variables["params"]))
        side = network.image_size(model.config)
        flops = summary.forward_flops(types.SimpleNamespace(embedder=model.embedder, variables=model.variables,
                                                            image_size=(side, side)))
        found = {"parameters": parameters, **found, **({} if flops is None else {"GFLOP of an image": flops / 1e9})}
    return {name: intervals.metric(value) for name, value in found.items()}


def _rates(models: Mapping[str, Run], progress: Progress) -> dict[str, list[float]]:
    """Images a second of each model, ROUNDS times, in turns: what else the machine does slows all of them."""
    rng, rates = np.random.default_rng(0), {name: [] for name in models}
    views = {name: rng.integers(0, 256, (_batch(model), *2 * [network.image_size(model.config)], 3), np.uint8)
             for name, model in models.items()}
    advance = progress("timing", ROUNDS + 1, "round")
    for turn in range(ROUNDS + 1):
        for name, model in models.items():
            started = time.perf_counter()
            model.embed_views(views[name], len(views[name]))
            if turn:  # the first is compiled
                rates[name].append(len(views[name]) / (time.perf_counter() - started))
        advance(1)
    return rates


def _batch(model: Run) -> int:
    return embedding.even_batch(BATCH, BATCH, model.mesh.size)


def _record(run: Run, test: datasets.Source, models: Mapping[str, Run], labels, found: _Found, seed: int) -> dict:
    rows = found.ordered()
    present = {row["task"] for row in rows}
    what = {task.name: task.what for task in tasks.TASKS} | _OTHERS
    contestants = {name: _who(model, test, name) for name, model in models.items()}
    return {
        "schema": files.SCHEMA, "version": files.VERSION, "workdir": run.workdir,
        "protocol": {"source": data.describe(run.config.test_data), "records": identity.identity(test)["records"],
                     "images": len(labels), "classes": len(np.unique(labels)),
                     "classes_trained_on": contestants[RUN]["classes_trained_on"]},
        "contestants": contestants | {PIXELS: {"name": f"{run.config.input.image_size} px"}},
        "scores": rows, "what": {task: text for task, text in what.items() if task in present},
        "intervals": {task.name: intervals.describe(task.over) | (
            {"resamples": grouping.RESAMPLES} if task.name == "clustering" else {})
            for task in tasks.TASKS if task.over and task.name in present},
        "left_out": found.left_out, "seed": seed, "environment": workdirs.environment(jax.devices()),
        "command": record.command(),
    }


def _who(model: Run, test: datasets.Source, name: str) -> dict:
    """classes_trained_on: of the test classes, by name, as far as the workdir knows; None where it does not."""
    config, seen = model.config, None
    with contextlib.suppress(UserError):
        seen = 0 if name == UNTRAINED else len({*model.class_places} & {*test.class_names})
    return {"name": f"{config.embedder.name}, step {model.step}" if model.step else config.embedder.name,
            "workdir": model.workdir, "embedder": config.embedder.name, "step": model.step, "digest": model.digest,
            "config_hash": stored.hash_of(config), "image_size": config.input.image_size,
            "classes_trained_on": seen, "layer": config.evaluation.layer,
            "average_horizontal_flips": config.evaluation.average_horizontal_flips}
