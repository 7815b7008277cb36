"""What is fitted to rows of features, and what is chosen on which of them."""

import numpy as np
import pytest
import sklearn.linear_model

from geodesic.experiments.protocols import fitting
from geodesic.metrics import logistic


def rows(seed, classes=4, each=12, size=10):
    """Overlapping classes, the same ones for each seed."""
    rng, centres = np.random.default_rng(seed), np.random.default_rng(99).normal(size=(classes, size))
    labels = np.repeat(np.arange(classes), each)
    return fitting.Rows(centres[labels] + 1.5 * rng.normal(size=(len(labels), size)), labels)


def test_a_sweep_is_scikit_learns_and_the_least_of_the_best_is_taken():
    fits, validates = rows(0), rows(1)
    curve, best = fitting.sweep(fits, validates, (1e-3, 0.1, 1.0, 100.0))
    for one in curve:
        peer = sklearn.linear_model.LogisticRegression(C=one["c"], max_iter=10_000, tol=1e-8).fit(*fits)
        assert one["validation"] == pytest.approx(peer.score(*validates))
    values = [one["validation"] for one in curve]
    assert len({*values}) > 1 and best.c == curve[int(np.argmax(values))]["c"]
    assert len(fitting.CS) == 45 and fitting.CS[0] == pytest.approx(1e-6) and fitting.CS[-1] == pytest.approx(1e5)


def test_few_labels_are_so_many_of_each_class(monkeypatch):
    seen, path = [], logistic.path
    monkeypatch.setattr(logistic, "path", lambda values, labels, cs, **options: seen.append(np.bincount(labels))
                        or path(values, labels, cs, **options))
    fits = rows(0)
    kept = np.r_[0:1, 12:48]  # one image alone of the first class
    found = fitting.few_labels(fitting.Rows(fits.values[kept], fits.labels[kept]), rows(1), rows(2), shots=(1, 5, 20),
                               draws=4)
    assert [one["labels"] for one in found] == [1, 5]  # no class has twenty
    assert [counts.tolist() for counts in seen] == 4 * [[1, 1, 1, 1]] + 4 * [[1, 5, 5, 5]]
    for one in found:
        each, test = np.array(one["draws"]), one["test"]
        assert len(each) == 4 and each.std() > 0 and test["value"] == pytest.approx(each.mean())
        assert test["high"] - test["low"] == pytest.approx(2 * 1.96 * each.std(ddof=1) / 2)
    assert found[1]["test"]["value"] > found[0]["test"]["value"]
    again = fitting.few_labels(fits, rows(1), rows(2), seed=3, shots=(1,), draws=2)
    assert again == fitting.few_labels(fits, rows(1), rows(2), seed=3, shots=(1,), draws=2)
    assert again != fitting.few_labels(fits, rows(1), rows(2), seed=4, shots=(1,), draws=2)


def test_a_fifth_of_each_class_is_set_aside():
    labels = np.array([0] * 10 + [1] * 3 + [2])
    aside = fitting.set_aside(labels, 0)
    assert np.bincount(labels[aside], minlength=3).tolist() == [2, 1, 0]
    np.testing.assert_array_equal(aside, fitting.set_aside(labels, 0))
    assert any((aside != fitting.set_aside(labels, seed)).any() for seed in range(1, 4))
