import numpy as np
import pytest

from geodesic.experiments import search
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.protocols import evaluation
from geodesic.experiments.trained.embedding_file import Embeddings
from tests.experiments import tiny


def test_baselines_and_scores(tmp_path):
    config = tiny.config(tiny.faces(tmp_path, 4, 4))
    rows = evaluation.baselines(config, meshes.make())
    assert list(rows) == ["raw pixels", "PCA-16", "untrained network"]
    assert rows["raw pixels"].shape == (16, 16 * 16 * 3) and rows["PCA-16"].shape == (16, 16)
    assert np.abs(rows["raw pixels"]).max() <= 1
    labels = np.repeat(np.arange(4), 4)
    scores = evaluation.score(rows["raw pixels"], labels, config)
    assert scores["map@r"] == pytest.approx(1) and scores["eer"] == 0  # classes of nearly equal pictures
    curve = evaluation.roc(rows["raw pixels"], labels)
    assert curve.tar[-1] == curve.far[-1] == 1


def test_a_long_curve_is_thinned_to_exact_points(monkeypatch):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(20), 5)
    rows = rng.normal(size=(20, 8))[labels] + rng.normal(size=(100, 8))
    whole = evaluation.roc(rows, labels)
    monkeypatch.setattr(evaluation, "_POINTS", 50)
    thin = evaluation.roc(rows, labels)
    assert len(thin.far) <= 100 < len(whole.far)
    points = {*zip(*whole, strict=True)}
    assert all(point in points for point in zip(*thin, strict=True))
    assert (thin.far[0], thin.far[-1], thin.tar[-1]) == (0, 1, 1)
    assert np.diff(np.log10(thin.far[thin.far > 0])).max() < 0.5  # rare errors keep their share of a log axis


def test_find_leaves_the_query_itself_out(tmp_path):
    gallery = Embeddings([str(tmp_path / name) for name in "abc"], np.array([[1, 0], [1, 0], [0, 1]], np.float32), {})
    ((query, found),) = search.find(np.array([[1, 0]], np.float32), [str(tmp_path / "a")], gallery, 5)
    assert query == str(tmp_path / "a")
    assert found == [(str(tmp_path / "b"), 1.0), (str(tmp_path / "c"), 0.0)]
