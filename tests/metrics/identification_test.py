import numpy as np
import pytest
from sklearn.metrics import roc_curve

from geodesic.metrics import identification, retrieval


def test_open_set_by_hand():
    gallery, probes = np.eye(3), np.array([[1, 0.1, 0], [0, 1, 0.9], [0.8, 0, 0.6], [0.5, 0.5, 0.6]])
    result = identification.open_set(probes, np.array([0, 1, 8, 9]), gallery, np.arange(3), fpir=(0.5, 0.1))
    assert result[0.5].tpir == 1 and result[0.1].tpir == 0.5
    assert identification.closed_set(probes, np.array([0, 1, 8, 9]), gallery, np.arange(3))["rank-1"] == 1


def test_open_set_equals_the_roc_curve_in_which_a_wrong_first_row_is_never_found():
    """scikit-learn's: mated probes are positive, the others negative, and a mate that is not first scores below all."""
    rng = np.random.default_rng(0)
    gallery, labels = rng.normal(size=(40, 5)), np.arange(40) % 20
    probe_labels = rng.integers(0, 30, 120)
    probes = np.where(probe_labels[:, None] < 20, gallery[probe_labels % 20], 0) + rng.normal(size=(120, 5))
    cosines = retrieval.normalized(probes) @ retrieval.normalized(gallery).T
    mated = probe_labels < 20
    found = np.where(mated & (labels[cosines.argmax(axis=1)] != probe_labels), -2, cosines.max(axis=1))
    far, tar, _ = roc_curve(mated, found, drop_intermediate=False)
    result = identification.open_set(probes, probe_labels, gallery, labels, fpir=(0.5, 0.2, 0.1, 0.03))
    for rate, ours in result.items():
        assert ours.reachable and ours.tpir == pytest.approx(tar[(far <= rate)].max())


def test_a_collapsed_gallery_is_not_ranked_and_one_row_has_not_collapsed():
    """Five equal rows hold every mate within rank 5, and the order of the rows says which is first."""
    labels, gallery = np.arange(5), np.ones((5, 3))
    for function in (identification.closed_set, identification.open_set):
        with pytest.raises(ValueError, match="collapsed"):
            function(np.eye(3), np.array([0, 1, 8]), gallery, labels)
    assert identification.closed_set(np.eye(3), np.array([0, 0, 8]), gallery[:1], labels[:1], ranks=(1,))["rank-1"] == 1
