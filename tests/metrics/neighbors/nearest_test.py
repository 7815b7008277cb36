"""The gallery on one device and on several: the same answers, bit for bit."""

import jax
import numpy as np
import pytest

from geodesic.experiments.process import mesh as meshes
from geodesic.metrics import identification, retrieval
from geodesic.metrics.neighbors import nearest


def rows_of(kind, count, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, 3 if kind == "signs" else 19))
    rows = np.sign(rows) if kind == "signs" else rows  # eight directions: nearly all scores are shared
    rows[1::7] = rows[0]  # duplicates, far apart
    return retrieval.normalized(rows)


def equal(first, second):
    return all(np.array_equal(one, other, equal_nan=True) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("kind", ["signs", "floats"])
@pytest.mark.parametrize("way", ["count", "sort"])
def test_ranks_on_eight_devices_equal_one(kind, way):
    """61 rows leave three of eight devices, and 331 one of five tiles, with nothing but padding."""
    mesh = meshes.make()
    for count in (61, 331):
        rows, labels = rows_of(kind, count), np.random.default_rng(1).integers(0, 6, count)
        gallery = nearest.Gallery(rows, mesh, count_at_most=512 if way == "count" else 0)
        one, many = (retrieval.rank(rows, labels, where, labels, exclude=np.arange(count)) for where in (rows, gallery))
        assert equal(one, many)


def test_query_and_gallery_and_several_labels_on_eight_devices_equal_one():
    rng, mesh = np.random.default_rng(2), meshes.make()
    queries, gallery = rows_of("signs", 37, 3), rows_of("signs", 203)
    several = [rng.random((len(rows), 9)) < 0.15 for rows in (queries, gallery)]
    one, many = (retrieval.rank(queries, several[0], gallery, several[1], mesh=where) for where in (None, mesh))
    assert equal(one, many) and one.matches.min() == 0 < one.matches.max()
    labels = [rng.integers(0, 5, len(rows)) for rows in (queries, gallery)]
    cameras = [rng.integers(0, 3, len(rows)) for rows in (queries, gallery)]
    exclude = retrieval.same_source(labels[0], cameras[0], labels[1], cameras[1])
    one, many = (retrieval.rank(queries, labels[0], gallery, labels[1], exclude=exclude, mesh=where)
                 for where in (None, mesh))
    assert equal(one, many)
    one, many = (identification.closed_set(queries, labels[0], gallery, labels[1], mesh=where)
                 for where in (None, mesh))
    assert one == many


@pytest.mark.parametrize("devices", [8, *(pytest.param(number, marks=pytest.mark.slow) for number in (2, 4))])
def test_neighbors_on_several_devices_equal_one(devices):
    mesh = meshes.make(jax.devices()[:devices])
    for kind in ("signs", "floats"):
        rows = rows_of(kind, 61)
        for k in (1, 9, 60):  # 60: more than a device holds of 61 rows
            exclude = np.arange(61)
            assert equal(retrieval.neighbors(rows, rows, k, exclude=exclude),
                         retrieval.neighbors(rows, rows, k, exclude=exclude, mesh=mesh))


def test_a_score_does_not_depend_on_where_its_row_lies():
    rows = rows_of("floats", 700)
    rows[[13, 64, 333, 699]] = rows[5]
    found, scores = retrieval.neighbors(rows[:50], rows, 700)
    for query in range(50):
        place = np.argsort(found[query])
        assert len({*scores[query, place[[5, 13, 64, 333, 699]]].tolist()}) == 1
    assert (retrieval.neighbors(rows[5:6], rows, 5)[0] == [[5, 13, 64, 333, 699]]).all()


@pytest.mark.parametrize("kind", ["signs", "floats"])
def test_the_first_of_a_whole_ranking(kind):
    """Few neighbours are looked for in a few tiles, all of them in whole rows."""
    rows = rows_of(kind, 1000)
    left = [3, 640, 641, 999]
    exclude = np.tile(np.setdiff1d(np.arange(1000), left), (20, 1))
    gallery = nearest.Gallery(rows)
    for excluded in (np.arange(20), exclude):
        indices, scores = gallery.top(rows[:20], 1000, excluded)
        for k in (1, 2, 7):
            found = gallery.top(rows[:20], k, excluded)
            assert equal(found, (indices[:, :k], scores[:, :k]))
    assert {*found[0][0].tolist()} == {*left, -1}


def test_minus_zero_ties_with_zero():
    gallery = np.array([[0.0], [-0.0], [0.0], [-1.0], [1.0]], np.float32)
    found, _ = retrieval.neighbors(np.array([[1.0], [-1.0]], np.float32), gallery, 5)
    assert found.tolist() == [[4, 0, 1, 2, 3], [3, 0, 1, 2, 4]]
