import jax
import jax.numpy as jnp
import numpy as np
import pytest

from geodesic import losses
from tests.losses import cases
from tests.losses.goldens import compare


@pytest.mark.parametrize("golden, name, values, labels", [
    ("softmax", "softmax", {}, "labels"), ("softmax/smooth", "softmax", {"label_smoothing": 0.1}, "labels"),
    ("sigmoid", "sigmoid", {}, "labels"), ("sigmoid/multi_hot", "sigmoid", {"label_smoothing": 0.1}, "multi_hot"),
])
def test_value_and_gradients_are_those_of_torch(golden, name, values, labels):
    compare.check(golden, name, labels=labels, length=0.1, **values)


@pytest.mark.parametrize("options", [{}, {"chunk_size": 1}])
def test_multi_hot_labels_are_split_by_class(options):
    embeddings, _ = cases.batch()
    labels = (np.random.default_rng(0).random((cases.BATCH, cases.CLASSES)) < 0.3).astype(np.int32)
    results = []
    for devices in 0, 8:
        params, _ = cases.init("sigmoid", devices)
        loss = cases.build("sigmoid", devices, **options)
        step = cases.jit(jax.value_and_grad(
            lambda p, x, loss=loss: loss.apply(p, {}, x, labels, cases.key())[0], argnums=(0, 1)))
        value, (params, x) = step(params, embeddings)
        results.append((value, cases.real_classes(params), x))
    assert cases.relative_difference(*results) < 1e-6


def test_one_label_is_one_hot():
    embeddings, labels = cases.batch()
    params, _ = cases.init("sigmoid")
    value = lambda labels: float(cases.applied("sigmoid")(params, {}, embeddings, labels, cases.key())[0])
    assert value(labels) == pytest.approx(value(np.eye(cases.CLASSES, dtype=np.int32)[labels]), rel=1e-6)


def test_accuracy():
    params = {"prototypes": jnp.eye(3), "bias": jnp.zeros(3)}
    embeddings, labels = jnp.array([[2.0, 1, -1], [2, 1, -1]]), jnp.array([0, 1])
    for name, expected in ("softmax", 1 / 2), ("sigmoid", (2 + 2) / 6):
        loss = losses.build(name, num_classes=3)
        scalars = cases.jit(loss.apply)(params, {}, embeddings, labels, cases.key())[2]
        assert scalars["accuracy"] == pytest.approx(expected)


def test_refusals():
    with pytest.raises(ValueError, match=r"label_smoothing is a share of the target, in \[0, 1\); got 1.0"):
        losses.build("softmax", num_classes=3, label_smoothing=1.0)
