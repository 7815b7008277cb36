"""What a scorecard scores embeddings by: each task takes the rows of one contestant, and gives its metrics."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from geodesic.errors import UserError
from geodesic.experiments.protocols import (
    analyses,
    episodes,
    fitting,
    grouping,
    intervals,
    ranking,
    robustness,
)
from geodesic.metrics import clustering, clustering_intervals, retrieval

EPISODES = 600


class Rows(NamedTuple):
    """The test images as one contestant embeds them. far: false accept rates."""

    raw: np.ndarray     # f32[N,D]
    unit: np.ndarray    # f32[N,D], L2-normalised
    labels: np.ndarray  # i[N]
    far: tuple[float, ...]
    seed: int


class Task(NamedTuple):
    """measure: Rows -> name -> metric as records hold it. over: what the intervals draw, "" where there are none."""

    name: str
    what: str
    over: str
    measure: Callable[[Rows], dict[str, dict]]


def _retrieval(rows: Rows) -> dict[str, dict]:
    retrieval.check_spread(rows.unit)
    rankings = retrieval.rank_self(rows.unit, rows.labels)
    kept = rankings.matches > 0
    terms = {name: values[kept] for name, values in rankings.terms((1,)).items()}
    return intervals.of_means({name: terms[name] for name in ("map@r", "recall@1")}, rows.labels[kept], rows.seed)


def _verification(rows: Rows) -> dict[str, dict]:
    retrieval.check_spread(rows.unit)
    found = ranking.pair_rates(rows.unit, rows.labels, rows.far, rows.seed)
    return {"eer": found.pop("eer"), **found}


def _clustering(rows: Rows) -> dict[str, dict]:
    retrieval.check_spread(rows.unit)
    groups = clustering.kmeans(rows.unit, len(np.unique(rows.labels)), seed=rows.seed).assignment
    found = clustering_intervals.intervals(rows.labels, groups, samples=grouping.RESAMPLES, seed=rows.seed)
    return {name: intervals.metric(*found[name]) for name in ("nmi", "ami", "bcubed_f")}


def _few_shot(way: int, shot: int, rows: Rows) -> dict[str, dict]:
    retrieval.check_spread(rows.unit)
    trials = episodes.classify(rows.unit, rows.labels, way, shot, EPISODES, rows.seed)
    return intervals.of_means({f"{way}way_{shot}shot": trials.right}, trials.classes, rows.seed)


def _probe(rows: Rows) -> dict[str, dict]:
    """Of each class's images half are learnt from, and of these a fifth chooses C and k."""
    retrieval.check_spread(rows.unit)
    chosen = robustness.chosen(rows.labels, rows.seed)
    unit, labels = rows.unit[chosen], rows.labels[chosen]
    if (np.unique(labels, return_counts=True)[1] > 1).sum() < 2:
        raise UserError("a probe needs two classes of two images or more")
    learnt, tested = analyses.halves(labels, np.random.default_rng(rows.seed))
    aside = fitting.set_aside(labels[learnt], rows.seed)
    train, validation, both, test = (fitting.Rows(unit[places], labels[places]) for places in (
        learnt[~aside], learnt[aside], learnt, tested))
    given = train, validation, both, test, lambda answers: fitting.accuracy(answers == test.labels, rows.seed)
    logistic, _ = fitting.logistic_regression(*given)
    return {"linear probe": logistic["test"], "nearest neighbours": fitting.nearest_neighbours(*given)["test"]}


def _health(rows: Rows) -> dict[str, dict]:
    """Counts of rows are told where something is wrong."""
    found = analyses.health(rows.raw, rows.labels, rows.seed)["scores"]
    return {name: intervals.metric(value) for name, value in found.items()
            if name not in ("rows", "rows_sampled") and (value or "rows" not in name)}


TASKS = (
    Task("retrieval", "Every image queries all others by cosine.", "classes", _retrieval),
    Task("verification", "All pairs of images by cosine; the EER of more than 1,500 images has no interval.", "classes",
         _verification),
    Task("clustering", "k-means with as many clusters as classes; the intervals keep the clusters as they are.",
         "classes", _clustering),
    *(Task("few-shot", f"{EPISODES} episodes, 5 queries of each class, answered by the nearest prototype.", "classes",
           functools.partial(_few_shot, way, shot)) for way, shot in ((5, 1), (5, 5), (20, 1))),
    Task("classification", f"Half of each class's images are learnt, the others test, of up to {robustness.MOST:,} "
         f"images by whole classes; a fifth of the first half chooses C of the logistic regression and k.",
         "test images", _probe),
    Task("health", "Of the embeddings of all images; none is better by itself.", "", _health),
)


def better(task: str, metric: str) -> str:
    """Which of two figures is the better: the "higher", the "lower", or "" where neither is by itself."""
    return "" if task in ("health", "size") else "lower" if metric == "eer" else "higher"
