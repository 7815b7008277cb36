import numpy as np

from geodesic.metrics import templates


def test_mean_of_frames_then_sum_of_media():
    rows = np.array([[2.0, 0], [4, 0], [0, 1], [0, 5]])
    built = templates.templates(rows, [7, 7, 7, 9], [1, 1, 2, 1], keep_norm=True)
    np.testing.assert_allclose(built.features, [np.array([3, 1]) / np.sqrt(10), [0, 1]], rtol=1e-6)
    np.testing.assert_allclose(templates.pair_scores(built, [7], [9]), [1 / np.sqrt(10)], rtol=1e-6)
