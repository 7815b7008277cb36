"""A detector's best box is the one that detection gives, and its map is of its score."""

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from geodesic.errors import UserError
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.trained import box_attribution, detector, network
from geodesic.experiments.trained import run as runs
from tests.experiments import drawn


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A detector that nothing was trained of, and that reports whatever it finds."""
    config = drawn.config("nowhere", detection__smallest_score=0.0)
    made = detector.make(config, len(drawn.NAMES))
    found = runs.Run(str(tmp_path_factory.mktemp("boxed")), config, meshes.make(jax.devices()[:1]), made,
                     network.untrained(made, config), 0)
    found.known_data = {"train": {"class_names": [*drawn.NAMES]}}
    return found


@pytest.fixture(scope="module")
def picture():
    """Higher than wide, so that it is letterboxed at its sides."""
    return np.random.default_rng(5).integers(0, 256, (96, 40, 3), np.uint8)


@pytest.mark.parametrize("name", ["", *drawn.NAMES])
def test_the_box_is_the_best_that_is_detected(run, picture, name):
    found, = run.detect([picture])
    best = 0 if not name else int(np.flatnonzero(found.classes == run.class_names.index(name))[0])
    boxed = box_attribution.boxed(run, picture, name)
    assert boxed.name == run.class_names[found.classes[best]] == (name or boxed.name)
    assert boxed.score == pytest.approx(float(found.scores[best]), abs=1e-6)
    np.testing.assert_allclose(boxed.box, found.boxes[best], atol=1e-3)
    assert boxed.logit == pytest.approx(np.log(boxed.score / (1 - boxed.score)), abs=1e-4)
    assert boxed.view.shape == (48, 64, 3) and boxed.map.shape == (24, 32)
    assert box_attribution.scores_of(run, boxed.view[None], boxed.output) == pytest.approx([boxed.score], abs=1e-6)
    # The letterbox: 96 x 40 pixels into 48 x 64 are half as large, 22 from the left.
    np.testing.assert_allclose(np.clip((boxed.shown - [22, 0, 22, 0]) * 2, 0, [40, 96, 40, 96]), boxed.box, atol=1e-3)


def test_the_map_is_gradient_times_value_of_all_levels(run, picture):
    """By the whole network's slope along its maps: the derivative of the logit as all of them grow together."""
    boxed = box_attribution.boxed(run, picture)
    maps = box_attribution._maps(run, boxed.view)
    assert [*maps] == ["stage1", "stage2"]
    grown = lambda by: box_attribution._logit(
        box_attribution._outputs(run, jax.tree.map(lambda one: one * by, maps)), *boxed.output)
    slope, constant = jax.grad(grown)(jnp.float32(1)), grown(jnp.float32(0))
    assert boxed.map.sum() == pytest.approx(float(slope + constant), abs=1e-4)
    assert boxed.error == pytest.approx(abs(boxed.map.sum() - boxed.logit)) and boxed.error > 0
    assert boxed.gradient.min() >= 0 and boxed.gradient.shape in ((24, 32), (12, 16))


def test_a_coarse_map_shares_its_numbers_out():
    shared = box_attribution._shared_out(jnp.array([[[4.0, 8.0]]]), (2, 4))
    np.testing.assert_array_equal(shared, [[1, 1, 2, 2], [1, 1, 2, 2]])


def test_the_logit_of_a_score():
    outputs = {"logits": [jnp.array([[[1.0, -2.0]]]), jnp.array([[[0.5, 3.0]]])]}
    assert box_attribution._logit(outputs, 1, 1) == 3
    sigmoid = lambda x: 1 / (1 + np.exp(-x))
    centred = outputs | {"centerness": [jnp.array([[0.3]]), jnp.array([[-0.7]])]}
    score = np.sqrt(sigmoid(3) * sigmoid(-0.7))
    assert box_attribution._logit(centred, 1, 1) == pytest.approx(np.log(score / (1 - score)), abs=1e-5)


def test_what_cannot_be_explained_is_one_line(run, picture, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no class 'blue'; the 2 classes are green, red"):
        box_attribution.boxed(run, picture, "blue")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(UserError, match=r"broken\.png"):
        box_attribution.boxed(run, str(tmp_path / "broken.png"))
    PIL.Image.fromarray(picture).save(tmp_path / "noise.png")
    monkeypatch.setitem(run.config.detection, "smallest_score", 0.99)
    with pytest.raises(UserError, match=r"no red is found in .*noise\.png: the best score is 0\.\d+, and "
                                        r"detection\.smallest_score is 0\.99"):
        box_attribution.boxed(run, str(tmp_path / "noise.png"), "red")
