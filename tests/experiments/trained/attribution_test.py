"""Maps sum to the cosine and to the score, of every kind of run."""


import jax
import numpy as np
import pytest

import geodesic
from geodesic.errors import UserError
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.trained import attribution, network
from geodesic.experiments.trained import run as runs
from tests.experiments import tiny


def loaded(tmp_path, **changes):
    """A run that nothing was trained of: its weights are where it started."""
    config = tiny.config(tmp_path, **changes)
    embedder = network.make_embedder(config.embedder, config.head)
    variables = network.init_embedder(embedder, config.input.image_size, 0)
    return runs.Run(str(tmp_path), config, meshes.make(jax.devices()[:1]), embedder, variables, 0)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)


@pytest.mark.parametrize("changes", [
    {}, {"evaluation__average_horizontal_flips": True}, {"evaluation__layer": "stage1"},
    {"embedder__neck": "bn_fc_bn", "embedder__pooling": "flatten"},
    {"embedder__neck": "layer_norm", "embedder__pooling": "max"},
    {"embedder__neck": "none", "embedder__pooling": "generalised_mean", "embedder__embedding_size": 0},
], ids=lambda changes: "-".join(map(str, changes.values())) or "plain")
def test_maps_and_links_sum_to_the_runs_cosine(tmp_path, images, changes):
    run = loaded(tmp_path, **changes)
    found = attribution.pair(run, *images)
    assert found.exact and found.error < 1e-6
    assert found.cosine == pytest.approx(run.cosine(*images), abs=1e-6)
    for map_ in found.maps:
        assert map_.sum() == pytest.approx(found.cosine, abs=1e-6)
    assert found.links.sum() == pytest.approx(found.cosine, abs=1e-6)
    np.testing.assert_allclose(found.links.sum(axis=(2, 3)), found.maps[0], atol=1e-6)
    np.testing.assert_allclose(found.links.sum(axis=(0, 1)), found.maps[1], atol=1e-6)
    assert found.channels.sum() == pytest.approx(found.cosine, abs=1e-6)
    assert all((map_ >= 0).all() and map_.shape == found.maps[0].shape for map_ in found.gradients)


def test_where_average_and_dense_have_no_constant_the_map_is_gradient_times_value(tmp_path, images):
    """Another way to the same numbers."""
    run = loaded(tmp_path, embedder__neck="none", embedder__embedding_size=0)
    found = attribution.pair(run, *images)
    maps = run.features(images, "stage2")
    unit = run.embed(images)
    wanted = np.einsum("hwc,c->hw", maps[0], unit[1]) / maps[0].shape[0] ** 2 / np.linalg.norm(maps[0].mean((0, 1)))
    np.testing.assert_allclose(found.maps[0], wanted, atol=1e-6)


@pytest.mark.parametrize("name, exact_sum", [("linear", True), ("attention_pool", False)])
def test_of_a_head_the_maps_say_what_their_sum_lacks(tmp_path, images, name, exact_sum):
    run = loaded(tmp_path, head__name=name, embedder__embedding_size=0)
    found = attribution.pair(run, *images)
    assert not found.exact and found.links is None
    assert found.error == pytest.approx(max(abs(map_.sum() - found.cosine) for map_ in found.maps))
    assert (found.error < 1e-6) == exact_sum


def test_mirrored_maps_are_turned_back(tmp_path, images):
    run = loaded(tmp_path, evaluation__average_horizontal_flips=True)
    found = attribution.pair(run, images[0], images[1])
    mirrored = attribution.pair(run, images[0][:, ::-1], images[1])
    np.testing.assert_allclose(found.maps[0][:, ::-1], mirrored.maps[0], atol=1e-6)


def test_what_cannot_be_explained_is_said(tmp_path, images):
    run = loaded(tmp_path, evaluation__layer="pool")
    with pytest.raises(UserError, match="layer 'pool' is no map"):
        attribution.pair(run, *images)
    with pytest.raises(UserError, match="cannot read the image"):
        attribution.pair(run, b"no picture", images[1])
    detector = loaded(tmp_path)
    detector.config.task = "detection"
    for asks in (lambda: attribution.pair(detector, *images), lambda: detector.classifier):
        with pytest.raises(UserError, match="is a detector, which gives boxes and no embeddings"):
            asks()


@pytest.mark.parametrize("loss", ["softmax", pytest.param("arcface", marks=pytest.mark.slow)])
def test_maps_of_a_class_sum_to_its_score(tmp_path, loss):
    config = tiny.config(tiny.faces(tmp_path / "faces", 3, 4), loss__name=loss, total_steps=1)
    run, picture = geodesic.train(config, tmp_path / "run"), str(tmp_path / "faces" / "class1" / "0.jpg")
    scores = run.classifier.scores(run.embed(picture, normalized=False))[0]
    best, named = attribution.scored(run, picture), attribution.scored(run, picture, "class2")
    assert best.name == run.class_names[scores.argmax()] and best.exact
    assert best.kind == {"softmax": "logit", "arcface": "cosine to its prototype"}[loss]
    assert best.map.sum() == pytest.approx(scores.max(), abs=2e-6)
    assert named.name == "class2" and named.map.sum() == pytest.approx(scores[2], abs=2e-6) and named.error < 2e-6
    with pytest.raises(UserError, match="no class 'class9'; the 3 classes are class0, class1, class2"):
        attribution.scored(run, picture, "class9")


def test_many_pairs_of_a_run_are_compiled_once(tmp_path, images):
    run = loaded(tmp_path)
    first = attribution.pair(run, *images)
    compiled = attribution._features._cache_size()
    again = attribution.pair(run, *images[::-1])
    assert attribution._features._cache_size() == compiled > 0
    assert again.cosine == pytest.approx(first.cosine, abs=1e-6)
    np.testing.assert_allclose(again.maps[1], first.maps[0], atol=1e-6)
