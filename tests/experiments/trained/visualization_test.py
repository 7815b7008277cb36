"""Pictures that are made make their neurons high, and are the same whichever others are asked for."""

import jax
import numpy as np
import pytest

from geodesic.errors import UserError
from geodesic.experiments.trained import visualization
from tests.experiments.trained import attribution_test


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return attribution_test.loaded(tmp_path_factory.mktemp("visualized"))


def test_each_is_higher_for_its_picture_than_for_any_of_many(run):
    stepped = []
    pictures, values = visualization.visualize(run, "stage2", [3, 1], steps=32, progress=stepped.append)
    assert pictures.shape == (2, 16, 16, 3) and pictures.dtype == np.uint8 and sum(stepped) == 32
    noise = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3), np.uint8)
    grey = np.full((1, 16, 16, 3), 128, np.uint8)
    real = run.embed_source(run.source(np.concatenate([noise, grey])), layer="stage2").embeddings
    assert (values > real[:, [1, 3]].max(axis=0)).all()
    np.testing.assert_allclose(values, run.features(pictures, "stage2").mean(axis=(1, 2))[[0, 1], [1, 3]], rtol=1e-5)


def test_a_picture_does_not_depend_on_the_others(run):
    both, _ = visualization.visualize(run, "embedding", [0, 5], steps=4, seed=1)
    again, _ = visualization.visualize(run, "embedding", [5, 0, 5], steps=4, seed=1)
    other, _ = visualization.visualize(run, "embedding", [0, 5], steps=4, seed=2)
    np.testing.assert_array_equal(both, again)
    assert (both != other).any()


def test_fine_patterns_cost_more():
    scale = visualization._frequencies(8)
    assert scale.shape == (8, 5) and scale[0, 0] == scale.max() == 8 and scale[4, 4] == scale.min()


@pytest.mark.parametrize("layer, neurons, line", [
    ("stage9", [0], "tiny has no layer 'stage9'; it has stem, stage1"),
    ("stage1", [0, 8], "layer 'stage1' has no neuron 8; they are 0 to 7"),
    ("embedding", [-1], "layer 'embedding' has no neuron -1; they are 0 to 15"),
    ("stage2", [], "1 to 16 neurons can be visualised at once; got 0"),
])
def test_what_cannot_be_visualised_is_one_line(run, layer, neurons, line):
    with pytest.raises(UserError, match=line):
        visualization.visualize(run, layer, neurons)


def test_a_neuron_that_is_silent_for_every_start_is_woken(run):
    """Its bias is so low that grey, and noise, leave it at 0, where a ReLU has no slope."""
    lowered = jax.tree.map(lambda leaf: leaf, run.variables)
    norm = lowered["params"]["stage2_block1"]["bn2"]
    norm["bias"] = norm["bias"].at[3].add(-1.0)
    silent = type(run)(run.workdir, run.config, run.mesh, run.embedder, lowered, 0)
    start = silent.embed_source(silent.source(np.full((1, 16, 16, 3), 128, np.uint8)), layer="stage2").embeddings
    assert start[0, 3] == 0
    _, values = visualization.visualize(silent, "stage2", [3], steps=64)
    assert values[0] > 0.1
