import numpy as np

from metrics import identification


def test_open_set_by_hand():
    gallery, probes = np.eye(3), np.array([[1, 0.1, 0], [0, 1, 0.9], [0.8, 0, 0.6], [0.5, 0.5, 0.6]])
    result = identification.open_set(probes, np.array([0, 1, 8, 9]), gallery, np.arange(3), fpir=(0.5, 0.1))
    assert result[0.5].tpir == 1 and result[0.1].tpir == 0.5
    assert identification.closed_set(probes, np.array([0, 1, 8, 9]), gallery, np.arange(3))["rank-1"] == 1
