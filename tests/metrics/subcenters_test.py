import numpy as np
import pytest

from geodesic.metrics import subcenters


def test_outliers_are_far_from_where_their_class_gathers():
    """Class 0 gathers at its second prototype with three of four, class 1 has no sample."""
    prototypes = np.array([[[1.0, 0, 0], [0, 1, 0]], [[0, 0, 1], [0, 0, 1]]])
    embeddings = np.array([[0, 2.0, 0], [0.1, 1, 0], [1, 3.8, 0], [1, 0.2, 0]])
    found, dominant = subcenters.outliers(embeddings, np.zeros(4, int), prototypes)
    np.testing.assert_array_equal(found, [False, False, False, True])
    assert dominant.tolist() == [1, 0]
    assert not subcenters.outliers(embeddings, np.zeros(4, int), prototypes, degrees=89)[0].any()


def test_rows_past_a_block_are_judged_by_their_own_class():
    prototypes = np.eye(4)[:, None]
    labels = np.arange(8) % 4
    embeddings = np.eye(4)[labels]
    embeddings[6] = [1, 0, 0, 0]
    assert np.flatnonzero(subcenters.outliers(embeddings, labels, prototypes, block=3)[0]).tolist() == [6]


def test_single_prototypes_are_refused():
    with pytest.raises(ValueError, match=r"prototypes \[C,k,D\] of subcenter_arcface"):
        subcenters.outliers(np.ones((2, 3)), np.zeros(2, int), np.ones((4, 3)))
