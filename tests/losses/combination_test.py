import jax
import numpy as np
import pytest

from geodesic import losses
from geodesic.configs import default
from geodesic.experiments.training import model
from tests.losses import cases

WEIGHTS = {"arcface": 1.0, "multi_similarity": 0.5, "triplet": 0.0}


def test_a_combination_is_the_weighted_sum():
    embeddings, labels = cases.batch()
    loss = losses.combine(WEIGHTS, num_classes=cases.CLASSES, hyper_parameters={"arcface": {"scale": 8.0}},
                          options={"multi_similarity": {"memory_size": 8}})
    params, state = loss.init(cases.key(), cases.SIZE)
    assert set(params) == {"arcface", "multi_similarity"} and "memory" in state["multi_similarity"]
    value, state, scalars = cases.jit(loss.apply)(params, state, embeddings, labels, cases.key())
    single = lambda name, **values: cases.jit(cases.build(name, **values).apply)(
        params[name], {}, embeddings, labels, cases.key())[0]
    expected = single("arcface", scale=8.0) + 0.5 * single("multi_similarity")
    assert float(value) == pytest.approx(float(expected), rel=1e-6)
    assert {"arcface/loss", "arcface/accuracy", "multi_similarity/loss"} <= set(scalars)
    assert int(state["multi_similarity"]["memory"]["step"]) == 1


def test_a_configuration_can_name_one():
    config = default.get_config()
    config.loss.name = "combine"
    config.loss.combine.arcface, config.loss.combine.contrastive = 1.0, 0.25
    config.loss.memory_size = 16
    loss = model.make_loss(config, cases.CLASSES, cases.mesh_of(2))
    params, state = jax.eval_shape(lambda: loss.init(cases.key(), cases.SIZE))
    assert params["arcface"]["prototypes"].shape == (12, cases.SIZE)
    assert state["contrastive"]["memory"]["labels"].shape == (16,)
    # Every loss of one label per example can be part of one.
    assert set(config.loss.combine) == set(losses.LOSSES) - {"sigmoid"}
    assert not np.any([weight for name, weight in default.get_config().loss.combine.items()])


def test_refusals():
    with pytest.raises(ValueError, match="at least one loss with a weight"):
        losses.combine({"arcface": 0.0}, num_classes=3)
    with pytest.raises(ValueError, match="unknown loss 'arcfac'"):
        losses.combine({"arcfac": 1.0}, num_classes=3)
