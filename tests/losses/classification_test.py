import jax
import jax.numpy as jnp
import numpy as np
import pytest

from geodesic import losses
from tests.losses import cases, plain
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


def mixed(seed: int = 1):
    """Mixed labels of a batch; the first two weights are 1 and 0, and one example is mixed with its own class."""
    rng = np.random.default_rng(seed)
    label, weight = cases.batch()[1], rng.random(cases.BATCH).astype(np.float32)
    other = rng.integers(0, cases.CLASSES, cases.BATCH, np.int32)
    weight[:2], other[2] = (1, 0), label[2]
    return losses.Mixed(label, other, weight)


def soft(name: str, smoothing: float, x, params, labels):
    """The loss of soft targets and its accuracy, written plainly in float64."""
    x, w, b = (np.asarray(values, np.float64) for values in (x, params["prototypes"], params["bias"]))
    logits, hot = x @ w.T + b, np.eye(len(w))
    weight = np.asarray(labels.weight, np.float64)
    target = weight[:, None] * hot[labels.label] + (1 - weight[:, None]) * hot[labels.other]
    if name == "softmax":
        target = (1 - smoothing) * target + smoothing / len(w)
        right = hot[logits.argmax(axis=1)]
        accuracy = weight * right[range(len(x)), labels.label] + (1 - weight) * right[range(len(x)), labels.other]
        return np.mean(plain.logsumexp(logits, axis=1) - (target * logits).sum(axis=1)), accuracy.mean()
    right = [np.mean((logits > 0) == (hot[one] > 0), axis=1) for one in (labels.label, labels.other)]
    target = (1 - smoothing) * target + smoothing / 2
    return np.mean(np.logaddexp(0, logits) - target * logits), np.mean(weight * right[0] + (1 - weight) * right[1])


def with_weights(name: str, devices: int = 0):
    """Parameters that matter, of as many rows as there are on so many devices."""
    params, rng = cases.init(name, devices)[0], np.random.default_rng(2)
    made = {"prototypes": rng.normal(size=(16, cases.SIZE)), "bias": rng.normal(size=16)}
    return {key: np.float32(made[key][:len(params[key])]) for key in params}


@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_mixed_targets_are_soft_targets(name, smoothing):
    embeddings, labels, params = cases.batch()[0], mixed(), with_weights(name)
    loss = cases.build(name, label_smoothing=smoothing)
    value, _, scalars = cases.jit(loss.apply)(params, {}, embeddings, labels, cases.key())
    expected, accuracy = soft(name, smoothing, embeddings, params, labels)
    assert float(value) == pytest.approx(expected, rel=1e-6)
    assert float(scalars["accuracy"]) == pytest.approx(accuracy, rel=1e-6)
    alone = lambda labels: cases.jit(loss.apply)(params, {}, embeddings, labels, cases.key())[0]
    assert abs(float(alone(labels.label)) - float(value)) > 0.01
    for weight, one in (1, labels.label), (0, labels.other):
        all_one = labels._replace(weight=np.full(cases.BATCH, weight, np.float32))
        assert float(alone(all_one)) == pytest.approx(float(alone(one)), rel=1e-6)


@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
def test_gradients_of_mixed_targets_are_the_weighted_ones(name):
    embeddings, labels, params = cases.batch()[0], mixed(), with_weights(name)
    labels = labels._replace(weight=np.full(cases.BATCH, 0.3, np.float32))
    ours, first, second = (cases.compiled(name)(params, {}, embeddings, one, cases.key())[1]
                           for one in (labels, labels.label, labels.other))
    assert cases.relative_difference(
        ours, jax.tree.map(lambda a, b: np.float32(0.3) * a + np.float32(0.7) * b, first, second)) < 2e-6


@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
@pytest.mark.parametrize("options", [{}, {"chunk_size": 2}])
@pytest.mark.parametrize("many", [(2, 8), pytest.param((1, 4), marks=pytest.mark.slow)])
def test_mixed_targets_on_many_devices(name, options, many):
    embeddings, labels, results = cases.batch()[0], mixed(), []
    for devices in (0, *many):
        (value, (_, scalars)), (params, x) = cases.compiled(name, devices, **options)(
            with_weights(name, devices), {}, embeddings, labels, cases.key())
        results.append((value, scalars["accuracy"], cases.real_classes(params), x))
    for other in results[1:]:
        assert cases.relative_difference(other, results[0]) < 2e-6


def test_a_sampled_softmax_has_both_labels():
    """32 of 64 classes take part: those of 8 mixed examples are among them."""
    loss = losses.build("softmax", num_classes=64, sample_rate=0.5)
    rng = np.random.default_rng(3)
    params = {"prototypes": np.float32(rng.normal(size=(64, 8))), "bias": np.zeros(64, np.float32)}
    labels = losses.Mixed(np.arange(8, dtype=np.int32), np.arange(50, 58, dtype=np.int32), np.full(8, 0.5, np.float32))
    grads = cases.jit(jax.grad(lambda p: loss.apply(p, {}, rng_embeddings, labels, cases.key())[0]))
    rng_embeddings = np.float32(rng.normal(size=(8, 8)))
    touched = np.abs(np.asarray(grads(params)["bias"])) > 0
    assert touched.sum() == 32 and touched[:8].all() and touched[50:58].all()


def test_who_takes_mixed_targets():
    assert [name for name in losses.LOSSES if losses.build(name, num_classes=4).mixed_targets] == ["sigmoid", "softmax"]
    params, state = cases.init("arcface")
    with pytest.raises(ValueError, match="two of them, with a weight, are for losses that are linear in the target"):
        cases.build("arcface").apply(params, state, cases.batch()[0], mixed(), cases.key())
    params, state = cases.init("softmax")
    with pytest.raises(ValueError, match="labels run from 11 to 11"):
        cases.build("softmax").apply(params, state, cases.batch()[0], mixed()._replace(
            other=np.full(cases.BATCH, 11, np.int32)), cases.key())
