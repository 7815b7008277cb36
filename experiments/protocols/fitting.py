"""Classifiers of rows of features, each with a strength that is chosen on validation rows, as a probe has them."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from geodesic.errors import UserError
from geodesic.experiments.protocols import intervals
from geodesic.metrics import bootstrap, classification, logistic, ridge

CS = np.logspace(-6, 5, 45)
# Of what is fitted for a choice, and with few labels; and every fourth C, for what is decided before the sweep.
_TOLERANCE, COARSE = 1e-7, CS[::4]
NEIGHBOURS = (1, 3, 5, 10, 20, 50)
ALPHAS = np.logspace(-4, 4, 33)  # of ridge, in units of the mean square along an axis
SHOTS, DRAWS = (1, 2, 5, 10), 10
VALIDATION_SHARE = 0.2

# The answers for test rows -> their accuracy, as records hold a metric.
Tested = Callable[[np.ndarray], dict]


class Rows(NamedTuple):
    """Features of some images, and their classes."""

    values: np.ndarray  # f[N,D]
    labels: np.ndarray  # i[N]


def sweep(train: Rows, validation: Rows, cs=CS) -> tuple[list[dict], logistic.Fit]:
    """The validation accuracy of a logistic regression at each C, ascending, and the best fit; of equals the least C.

    The fits are near enough to their optima for a choice, and not as near as that of the chosen C will be: where many
    rows have few classes, the last digits of the largest C take most of the time.

    Example:
      >>> import numpy as np
      >>> from geodesic.experiments.protocols import fitting
      >>> rows = fitting.Rows(np.eye(2)[[0, 0, 1, 1]], np.array([0, 0, 1, 1]))
      >>> curve, best = fitting.sweep(rows, rows, (0.1, 1.0))
      >>> curve[0]["validation"], best.c
      (1.0, 0.1)
    """
    curve, best = [], None
    for fit in logistic.path(*train, cs, tolerance=_TOLERANCE):
        reached = float((fit.predict(validation.values) == validation.labels).mean())
        if best is None or reached > max(one["validation"] for one in curve):
            best = fit
        curve.append({"c": fit.c, "validation": reached, "loss": fit.loss, "evaluations": fit.evaluations})
    return curve, best


def logistic_regression(train: Rows, validation: Rows, both: Rows, test: Rows, tested: Tested
                        ) -> tuple[dict, np.ndarray]:
    """(what it has chosen and reached, its answers for the test rows). both: training and validation rows together."""
    curve, best = sweep(train, validation)
    # A class of which only images that validate can be read is in no fit of the sweep.
    start = best if np.array_equal(best.classes, np.unique(both.labels)) else None
    answers = logistic.fit(*both, best.c, start=start).predict(test.values)
    place = int(np.searchsorted(CS, best.c * (1 - 1e-9)))
    return {"c": best.c, "validation": curve[place]["validation"], "neighbours": curve[max(place - 1, 0):place + 2],
            "at_edge": place in (0, len(CS) - 1), "test": tested(answers), "curve": curve}, answers


def nearest_neighbours(train: Rows, validation: Rows, both: Rows, test: Rows, tested: Tested) -> dict:
    """By cosine and votes of equal weight."""
    counts = [k for k in NEIGHBOURS if k <= len(train.labels)]
    answers = classification.knn(*train, validation.values, counts)
    curve = [{"k": k, "validation": float((found == validation.labels).mean())}
             for k, found in zip(counts, answers, strict=True)]
    best = max(curve, key=lambda one: one["validation"])
    return {**best, "test": tested(classification.knn(*both, test.values, best["k"])), "curve": curve}


def ridge_regression(train: Rows, validation: Rows, both: Rows, test: Rows, tested: Tested) -> dict:
    unit = lambda rows: float(rows.values.var(axis=0).sum() * len(rows.labels) / min(rows.values.shape))
    curve = [{"alpha": float(alpha), "validation": float((fit.predict(validation.values) == validation.labels).mean())}
             for alpha, fit in zip(ALPHAS, ridge.path(*train, ALPHAS * max(unit(train), 1e-12)), strict=True)]
    best = max(curve, key=lambda one: one["validation"])
    fit = next(ridge.path(*both, [best["alpha"] * max(unit(both), 1e-12)]))
    return {**best, "test": tested(fit.predict(test.values)), "curve": curve}


def few_labels(train: Rows, validation: Rows, test: Rows, seed: int = 0, say=lambda line: None, *,
               shots: tuple[int, ...] = SHOTS, draws: int = DRAWS) -> list[dict]:
    """The test accuracy of a logistic regression on few images of each class, over many draws of them.

    A class with fewer images gives all that it has. The C of a number of labels is the one whose mean accuracy on the
    validation images over the draws is best. The interval is 1.96 standard errors of the mean over the draws.
    """
    rng, found = np.random.default_rng((seed, 1)), []
    most = np.bincount(train.labels).max()
    for shot in [shot for shot in shots if shot <= most]:
        fits = []
        for _ in range(draws):
            order = rng.permutation(len(train.labels))
            kept = np.concatenate([order[train.labels[order] == label][:shot] for label in np.unique(train.labels)])
            fits.append([*logistic.path(train.values[kept], train.labels[kept], COARSE, tolerance=_TOLERANCE)])
        validated = np.mean([[(fit.predict(validation.values) == validation.labels).mean() for fit in draw]
                             for draw in fits], axis=0)
        best = int(validated.argmax())
        each = np.array([(draw[best].predict(test.values) == test.labels).mean() for draw in fits])
        half = 1.96 * each.std(ddof=1) / np.sqrt(draws) if draws > 1 else float("nan")
        found.append({"labels": shot, "c": float(COARSE[best]), "validation": float(validated[best]),
                      "test": intervals.metric(each.mean(), each.mean() - half, each.mean() + half),
                      "draws": each.tolist()})
        say(f"{shot} labels a class: test {each.mean():.4f} +- {half:.4f}, C {COARSE[best]:.2g}")
    return found


def set_aside(labels: np.ndarray, seed: int) -> np.ndarray:
    """bool[N]: a fifth of each class, at least one where it has two. Raises UserError where no class has two."""
    rng, aside = np.random.default_rng(seed), np.zeros(len(labels), bool)
    for label in np.unique(labels):
        places = rng.permutation(np.flatnonzero(labels == label))
        if len(places) > 1:
            aside[places[:max(round(VALIDATION_SHARE * len(places)), 1)]] = True
    if not aside.any():
        raise UserError("no class has two training images, so that none can be set aside to choose C on: give "
                        "validation images")
    return aside


def accuracy(hits: np.ndarray, seed: int) -> dict:
    """Of an accuracy, by the bootstrap over test images: the classes are given, and are no sample of others."""
    return intervals.metric(*bootstrap.mean_interval(hits.astype(float), np.arange(len(hits)), seed=seed))
