import jax
import numpy as np
import pytest

from geodesic.experiments import search
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.protocols import evaluation
from geodesic.experiments.trained import network
from geodesic.experiments.trained.embedding_file import Embeddings
from geodesic.experiments.trained.run import Run
from geodesic.experiments.training import data
from tests.experiments import tiny


def untrained(config):
    embedder = network.make_embedder(config.embedder)
    start = jax.jit(lambda: network.init_embedder(embedder, config.input.image_size, config.seed))()  # as training does
    return Run("nowhere", config, meshes.make(), embedder, start, 0)


def test_baselines_and_scores(tmp_path):
    config = tiny.config(tiny.faces(tmp_path, 4, 4))
    run, test = untrained(config), data.test_source(config)
    rows = evaluation.baselines(run, test)
    assert list(rows) == ["raw pixels", "PCA-16", "untrained network"]
    assert rows["raw pixels"].shape == (16, 16 * 16 * 3) and rows["PCA-16"].shape == (16, 16)
    assert np.abs(rows["raw pixels"]).max() <= 1
    np.testing.assert_array_equal(rows["untrained network"], run.embed_source(test).embeddings)
    labels = np.repeat(np.arange(4), 4)
    scores = evaluation.score(rows["raw pixels"], labels, config)
    assert scores["map@r"] == pytest.approx(1) and scores["eer"] == 0  # classes of nearly equal pictures
    curve = evaluation.roc(rows["raw pixels"], labels)
    assert curve.tar[-1] == curve.far[-1] == 1


def test_without_training_images_there_is_no_pca(tmp_path, capsys):
    config = tiny.config(tiny.faces(tmp_path, 4, 4), train_data__path=str(tmp_path / "gone"))
    assert list(evaluation.baselines(untrained(config), data.test_source(config))) == ["raw pixels",
                                                                                      "untrained network"]
    assert "PCA is left out" in capsys.readouterr().out


def test_a_long_curve_is_thinned_to_exact_points():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(20), 5)
    rows = rng.normal(size=(20, 8))[labels] + rng.normal(size=(100, 8))
    whole = evaluation.roc(rows, labels)
    thin = evaluation.roc(rows, labels, most=50)
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
