"""What is picked from similarities, against a full stable sort."""

import numpy as np
import pytest

from geodesic.metrics.neighbors import on_host


def similarities(kind, count, width, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((count, width)).astype(np.float32)
    values = np.round(2 * values) if kind == "ties" else values
    values[rng.random(values.shape) < 0.1] = -np.inf
    values[0] = -np.inf  # nothing left
    values[1, 5:] = -np.inf
    return values


def sorted_top(values, k):
    order = np.argsort(-values, axis=1, kind="stable")[:, :k]
    scores = np.take_along_axis(values, order, axis=1)
    return np.where(np.isneginf(scores), -1, order), scores


@pytest.mark.parametrize("kind", ["floats", "ties"])
@pytest.mark.parametrize("k", [1, 7, 31, 33, 200, 1024])
def test_top_is_the_head_of_a_stable_sort(kind, k):
    """1,024 columns: groups of 64, of 16 and of one."""
    values = similarities(kind, 23, 1024)
    indices, scores = on_host.top(values, k)
    expected = sorted_top(values, k)
    assert np.array_equal(indices, expected[0]) and np.array_equal(scores, expected[1])
    assert indices.dtype == np.int32 and scores.dtype == np.float32


@pytest.mark.parametrize("kind", ["floats", "signs"])
@pytest.mark.parametrize("slack", [0.0, 0.05, 0.5, 100.0])
def test_a_screen_that_errs_by_its_slack_loses_nothing(kind, slack):
    """Every coarse score is off by exactly the slack, and the best are taken down and the rest lifted."""
    rng = np.random.default_rng(1)
    queries, rows = (rng.standard_normal((count, 8)).astype(np.float32) for count in (17, 640))
    if kind == "signs":
        queries, rows = np.sign(queries), np.sign(rows)
    exact = np.stack([np.einsum("nd,d->n", rows, query) for query in queries])
    coarse = (exact + np.where(exact > np.median(exact), -slack, slack)).astype(np.float32)
    coarse[:, 600:] = exact[:, 600:] = -np.inf
    indices, scores = on_host.top_screened(coarse, np.full(17, slack + 1e-5, np.float32), queries, rows, 9)
    expected = sorted_top(exact, 9)
    assert np.array_equal(indices, expected[0]) and np.array_equal(scores, expected[1])


@pytest.mark.parametrize("kind", ["floats", "ties"])
def test_ranks_are_places_in_a_stable_sort(kind):
    values = similarities(kind, 23, 320)
    rng = np.random.default_rng(2)
    wanted = np.sort(np.stack([rng.choice(320, 12, replace=False) for _ in values])).astype(np.int32)
    wanted[3:9, 7:] = -1
    wanted[9] = -1
    place = np.argsort(np.argsort(-values, axis=1, kind="stable"), axis=1)
    expected = np.sort(np.where(wanted < 0, 320, np.take_along_axis(place, np.maximum(wanted, 0), axis=1)), axis=1)
    assert np.array_equal(on_host.ranks(values, wanted, 320), expected)
