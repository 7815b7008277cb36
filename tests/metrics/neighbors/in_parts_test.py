import numpy as np
import pytest

from geodesic.errors import UserError
from geodesic.metrics import retrieval
from geodesic.metrics.neighbors import in_parts


def rows(count=600, size=16, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((count // 6, size))
    return retrieval.normalized(centres.repeat(6, axis=0) + 0.3 * rng.standard_normal((count, size))).astype(np.float32)


def test_in_all_parts_it_is_exact():
    given = rows()
    exact, cosines = retrieval.neighbors(given, given, 7, exclude=np.arange(len(given)))
    found, scores = in_parts.top(given, 7, probes=30, parts=30)
    np.testing.assert_array_equal(found, exact)
    np.testing.assert_allclose(scores, cosines, atol=1e-6)


def test_the_nearest_parts_hold_most_neighbours_and_a_floor_leaves_the_others_out():
    given = rows()
    exact, cosines = retrieval.neighbors(given, given, 5, exclude=np.arange(len(given)))
    found, scores = in_parts.top(given, 5, probes=4)
    share = np.mean([np.isin(one, other).mean() for one, other in zip(exact, found, strict=True)])
    assert 0.8 < share < 1  # four parts of 48
    np.testing.assert_allclose(scores[found >= 0], np.einsum("nkd,nd->nk", given[found], given)[found >= 0], atol=1e-5)
    high, reached = in_parts.top(given, 5, probes=48, at_least=0.8)
    np.testing.assert_array_equal(high >= 0, cosines >= 0.8)
    np.testing.assert_array_equal(high[high >= 0], exact[cosines >= 0.8])
    assert (reached[high < 0] == -np.inf).all()


def test_of_equal_rows_the_first_come_first_however_often_what_waits_is_sorted(monkeypatch):
    given = np.eye(4, dtype=np.float32)[np.arange(40) % 4]
    found, scores = in_parts.top(given, 3, probes=4, parts=4)
    expected = [[other for other in range(row % 4, 40, 4) if other != row][:3] for row in range(40)]
    assert found.tolist() == expected and (scores == 1).all()
    monkeypatch.setattr(in_parts.os, "sched_getaffinity", lambda _: {0})
    many = rows()
    np.testing.assert_array_equal(in_parts.top(many, 1, probes=40, parts=40)[0],
                                  retrieval.neighbors(many, many, 1, exclude=np.arange(len(many)))[0])


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match="k=3 neighbours asked of 2 candidates"):
        in_parts.top(np.eye(3), 3)
    with pytest.raises(UserError, match="NaN or infinite"):
        in_parts.top(np.full((3, 2), np.nan), 1)
