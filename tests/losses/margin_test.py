import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from geodesic import losses
from geodesic.losses import margin
from tests.losses import cases
from tests.losses.goldens import compare

GRADIENTS = ("full", "fallback", "easy", "detached", "clip")


@pytest.mark.parametrize("golden, name, values", [
    ("normface", "normface", {}), ("peer/normface", "normface", {}),
    ("cosface", "cosface", {}), ("peer/cosface", "cosface", {}),
    *((f"arcface/{gradient}", "arcface", {"gradient": gradient}) for gradient in GRADIENTS),
    ("peer/arcface", "arcface", {}),
    ("sphereface", "sphereface", {}),
    ("combined", "combined", {"margins": (0.9, 0.4, 0.15)}),
    ("filtered", "arcface", {"filter_threshold": 0.4}),
])
def test_value_and_gradients_are_those_of_the_public_definition(golden, name, values):
    compare.check(golden, name, scale=compare.SCALE, **values)


@pytest.mark.parametrize("golden", ["subcenter_arcface", "peer/subcenter_arcface"])
def test_sub_centres_are_those_of_the_public_definition(golden):
    compare.check(golden, "subcenter_arcface", weights="sub", scale=compare.SCALE)


def test_two_examples_of_three_classes_by_hand():
    """Cosines (.6, .8, 0) with label 0 and (0, 1, 0) with label 1, at scale 2 and cosine margin .1."""
    loss = losses.build("cosface", num_classes=3, scale=2.0, margin=0.1)
    params = {"prototypes": jnp.array([[2.0, 0, 0], [0, 1, 0], [0, 0, 5]])}
    embeddings = jnp.array([[3.0, 4, 0], [0, 0.5, 0]])
    value, _, scalars = cases.jit(loss.apply)(params, {}, embeddings, jnp.array([0, 1]), cases.key())
    first = -math.log(math.exp(1.0) / (math.exp(1.0) + math.exp(1.6) + 1))
    second = -math.log(math.exp(1.8) / (math.exp(1.8) + 1 + 1))
    assert value == pytest.approx((first + second) / 2, rel=1e-6)
    assert scalars["accuracy"] == 0.5 and scalars["target_cosine"] == pytest.approx(0.8)


@pytest.mark.parametrize("name, values", [
    ("arcface", {"margin": 0.0}), ("cosface", {"margin": 0.0}), ("combined", {"margins": (1.0, 0.0, 0.0)}),
    ("sphereface", {"m1": 1.0}), ("elasticface", {"mean": 0.0, "std": 0.0}),
    ("elasticface", {"mean": 0.0, "std": 0.0, "kind": "cos", "plus": True}),
])
def test_no_margin_is_normface(name, values):
    embeddings, labels = cases.batch()
    params, state = cases.init("normface")
    plain, margined = (cases.compiled(*pair[:1], **pair[1])(params, state, embeddings, labels, cases.key())
                       for pair in (("normface", {}), (name, values)))
    assert cases.relative_difference((margined[0][0], margined[1]), (plain[0][0], plain[1])) < 3e-6


def derivative(cosine, **values):
    """Of the target, scaled by 1, with respect to the label's cosine."""
    from geodesic.losses.angle import arc_target
    target = lambda c: arc_target(c, values.get("margin", 0.5), values["gradient"])
    return jax.jit(jax.value_and_grad(target))(jnp.float32(cosine))


@pytest.mark.parametrize("cosine, slope", [(0.99, 4.24), (0.5, 1.15), (0.0, 0.88)])
def test_slopes_of_arcface(cosine, slope):
    assert derivative(cosine, gradient="full")[1] == pytest.approx(slope, abs=0.005)
    assert derivative(cosine, gradient="detached")[1] == 1


def test_arcface_past_pi():
    below, above = math.cos(math.pi - 0.5) - 1e-3, math.cos(math.pi - 0.5) + 1e-3
    assert derivative(below, gradient="full")[1] < 0, "the wrong sign"
    value, slope = derivative(below, gradient="fallback")
    assert slope == 1 and value == pytest.approx(-1.117, abs=2e-3)
    assert derivative(above, gradient="fallback")[0] == pytest.approx(-1, abs=1e-3)
    assert derivative(below, gradient="clip") == (pytest.approx(-1, abs=1e-6), 0)
    assert derivative(-0.2, gradient="easy") == (pytest.approx(-0.2), 1)


def test_the_combination_keeps_all_three_margins():
    """arcface_torch drops the angle where there is a cosine margin too; the MXNet code, and this, do not."""
    embeddings, labels = cases.batch()
    params, _ = cases.init("combined")
    value = lambda *margins: float(cases.applied("combined", margins=margins)(
        params, {}, embeddings, labels, cases.key())[0])
    assert value(1.0, 0.3, 0.2) > value(1.0, 0.0, 0.2) + 5
    assert value(1.0, 0.3, 0.2) > value(1.0, 0.3, 0.0) + 5


def test_sphereface_is_monotone():
    cosines = np.linspace(-1, 1, 2001, dtype=np.float32)
    loss = losses.build("sphereface", num_classes=2, scale=1.0, m1=3.7)
    # The other class is at right angles to both, so that only the target changes.
    embeddings = np.stack([cosines, np.sqrt(1 - cosines**2), 0 * cosines], axis=1)
    params = {"prototypes": jnp.array([[1.0, 0, 0], [0, 0, 1]])}
    one = lambda x: loss.apply(params, {}, x[None], jnp.array([0]), cases.key())[0]
    values = np.asarray(cases.jit(jax.vmap(one))(embeddings))
    assert np.all(np.diff(values) < 1e-5) and values[0] - values[-1] > 6  # 2k = 6 on the way


@pytest.mark.parametrize("name, values, added", [
    ("normface", {}, 0.0), ("arcface", {}, 16 * math.sin(0.5)), ("arcface", {"gradient": "easy"}, 8 * math.sin(0.5)),
    ("cosface", {}, 16 * 0.4)])
def test_start_loss(name, values, added):
    """ln C + s^2 / 2D plus what the margin costs at right angles; a loss far from it is wired wrongly."""
    classes, size, scale = 2000, 64, 16.0
    loss = losses.build(name, num_classes=classes, scale=scale, **values)
    params, state = loss.init(jax.random.key(0), size)
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(256, size)).astype(np.float32)
    value = jax.jit(loss.apply)(params, state, embeddings, rng.integers(0, classes, 256), cases.key())[0]
    assert value == pytest.approx(loss.start_loss(size), abs=0.35)
    assert loss.start_loss(size) == pytest.approx(math.log(classes) + scale**2 / (2 * size) + added, rel=1e-9)


def test_start_loss_counts_the_classes_of_one_softmax():
    sampled = losses.build("cosface", num_classes=100, sample_rate=0.5, scale=1.0, margin=0.0)
    assert sampled.start_loss(8) == pytest.approx(math.log(50) + 1 / 16)
    assert losses.build("sphereface", num_classes=100).start_loss is None


def test_refusals():
    with pytest.raises(ValueError, match="unknown gradient 'ful'; known: full, fallback, easy, detached, clip"):
        losses.build("arcface", num_classes=3, gradient="ful")
    with pytest.raises(ValueError, match=r"radians, 0 to pi; got 28\.6"):
        losses.build("arcface", num_classes=3, margin=28.6)
    with pytest.raises(ValueError, match="three margins"):
        losses.build("combined", num_classes=3, margins=(1.0, 0.5))
    with pytest.raises(ValueError, match="at least 1; got 0"):
        losses.build("subcenter_arcface", num_classes=3, k=0)
    assert margin.check_arc("arcface", 0.5) is None
