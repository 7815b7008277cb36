"""What every registered loss promises. A new loss is tested by being registered."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from geodesic import losses
from geodesic.configs import default
from tests.losses import cases

NAMES = sorted(losses.LOSSES)
CLASS_NAMES = sorted(losses.CLASS_LOSSES)
# These see the embeddings' norms, by design.
NORM_AWARE = {"adaface", "magface", "n_pairs", "sigmoid", "softmax"}
# These draw or choose by an example's place in the batch.
ORDER_AWARE = {"elasticface", "margin_pairs", "n_pairs"}
# These hold something of the batch fixed (a scale, a pace), so that their gradient is not the slope of their value; the
# golden files of tests/losses/goldens have their gradients.
PARTLY_FIXED = {"adacos", "circle"}
# To rounding; these divide it by their temperature of .01. Of smooth_ap, jax 0.10 comes to 1.4e-6, jax 0.12 to 6.2e-6.
TOLERANCE = dict.fromkeys(NAMES, 1e-6) | {
    "recall_at_k": 5e-6, "smooth_ap": 5e-6 if jax.__version_info__ < (0, 12) else 1e-5}
SLOW = pytest.mark.slow


@pytest.fixture(scope="module", params=NAMES)
def name(request):
    """Module scope: the tests of one loss run together, and share what is compiled."""
    return request.param


def batches():
    """(name, embeddings, labels): what a hostile data set could produce."""
    embeddings, labels = cases.batch()
    prototypes = np.asarray(cases.init("arcface")[0]["prototypes"])
    zeros = embeddings.copy()
    zeros[:3] = 0
    yield "ordinary", embeddings, labels
    yield "huge", embeddings * 1e4, labels
    yield "tiny", embeddings * 1e-4, labels
    yield "zero rows", zeros, labels
    yield "all zero", np.zeros_like(embeddings), labels
    yield "duplicate rows", np.tile(embeddings[:2], (4, 1)), labels
    yield "one class", embeddings, np.full_like(labels, 3)
    yield "one class, one point", np.tile(embeddings[:1], (8, 1)), np.full_like(labels, 3)
    yield "all classes once", embeddings, np.arange(8, dtype=np.int32)
    yield "cosine 1", prototypes[labels] * 50, labels
    yield "cosine -1", prototypes[labels] * -50, labels
    yield "cosine 1 to another class", prototypes[(labels + 1) % cases.CLASSES], labels


def test_hostile_batches_have_finite_losses_and_gradients(name):
    params, state = cases.init(name)
    if "prototypes" in params and params["prototypes"].ndim == 2:  # those that the cosines of +-1 are made of
        params = {**params, "prototypes": cases.init("arcface")[0]["prototypes"]}
    step = cases.compiled(name)
    for case, embeddings, labels in batches():
        (value, (new_state, scalars)), gradients = step(params, state, embeddings, labels, cases.key())
        assert cases.all_finite((value, gradients, new_state, scalars)), case
        assert value >= 0, case
        assert jax.tree.structure(new_state) == jax.tree.structure(state), case


def test_an_embedding_of_nan_makes_the_loss_nan(name):
    """A loss that hid it would look perfect."""
    params, state = cases.init(name)
    embeddings, labels = cases.batch()
    for rows in 0, slice(None):
        poisoned = embeddings.copy()
        poisoned[rows] = np.nan
        (value, _), _ = cases.compiled(name)(params, state, poisoned, labels, cases.key())
        assert np.isnan(value), rows


# One of each way through the axes; the others follow the same.
CHUNKED = {"arcface", "curricularface", "multi_similarity", "proxy_anchor", "sigmoid", "subcenter_arcface"}


@pytest.mark.parametrize(("name", "devices", "chunk_size"), [
    pytest.param(name, *split, marks=() if split == (0, 0) or name in CHUNKED else SLOW)
    for name in CLASS_NAMES for split in ((0, 0), (8, 0), (0, 3))])
def test_a_prototype_of_nan_makes_the_loss_nan(name, devices, chunk_size):
    """It is of a class that the batch does not have."""
    params, state = cases.init(name, devices, chunk_size=chunk_size)
    embeddings, labels = cases.batch()
    assert 5 not in labels
    poisoned = {**params, "prototypes": params["prototypes"].at[5].set(jnp.nan)}
    value = cases.applied(name, devices, chunk_size=chunk_size)(poisoned, state, embeddings, labels, cases.key())[0]
    assert np.isnan(value)


def test_a_prototype_of_nan_makes_proxy_nca_over_others_nan():
    loss = losses.build("proxy_nca", num_classes=3, denominator="others")
    params = {"prototypes": jnp.eye(3).at[2].set(jnp.nan)}
    assert jnp.isnan(loss.apply(params, {}, jnp.eye(3)[:2], jnp.array([0, 1]), cases.key())[0])


def test_a_batch_of_one(name):
    params, state = cases.init(name)
    embeddings, labels = cases.batch(count=1)
    (value, (new_state, _)), gradients = cases.compiled(name)(params, state, embeddings, labels, cases.key())
    assert cases.all_finite((value, gradients, new_state))


def gradients_on(name, devices, **options):
    params, state = cases.init(name, devices, **options)
    embeddings, labels = cases.batch()
    (value, (state, _)), (params, embeddings) = cases.compiled(name, devices, **options)(
        params, state, embeddings, labels, cases.key())
    return value, cases.real_classes(params), embeddings, state


def test_eight_devices_do_not_change_loss_or_gradients(name):
    assert cases.relative_difference(gradients_on(name, 8), gradients_on(name, 0)) < TOLERANCE[name]


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2, 4])
def test_devices_do_not_change_loss_or_gradients(name, devices):
    assert cases.relative_difference(gradients_on(name, devices), gradients_on(name, 0)) < TOLERANCE[name]


@pytest.mark.parametrize("name", [name if name in CHUNKED else pytest.param(name, marks=SLOW) for name in NAMES])
@pytest.mark.parametrize("devices, chunk_size", [(0, 3), pytest.param(8, 1, marks=SLOW)])
def test_chunks_do_not_change_loss_or_gradients(name, devices, chunk_size):
    """Of 11 classes: three chunks and a remainder; of 2 per device: two."""
    assert cases.relative_difference(gradients_on(name, devices, chunk_size=chunk_size),
                                     gradients_on(name, 0)) < TOLERANCE[name]


def test_lengths_of_embeddings_do_not_matter(name):
    params, state = cases.init(name)
    embeddings, labels = cases.batch()
    step = cases.compiled(name)
    lengths = np.linspace(0.1, 30, cases.BATCH, dtype=np.float32)[:, None]
    (short, _), _ = step(params, state, embeddings, labels, cases.key())
    (long, _), (_, gradient) = step(params, state, embeddings * lengths, labels, cases.key())
    assert (abs(short - long) <= 1e-5 * abs(short)) == (name not in NORM_AWARE)
    # Then the gradient is at right angles to the embedding.
    along = np.abs(np.sum(gradient * embeddings, axis=-1))
    across = np.linalg.norm(gradient, axis=-1) * np.linalg.norm(embeddings, axis=-1)
    assert np.all(along <= 1e-5 * across + 1e-6) or name in NORM_AWARE


def test_order_of_examples_does_not_matter(name):
    params, state = cases.init(name)
    embeddings, labels = cases.batch()
    order = np.random.default_rng(2).permutation(cases.BATCH)
    step = cases.compiled(name)
    (value, _), (params_gradient, gradient) = step(params, state, embeddings, labels, cases.key())
    (again, _), (params_again, permuted) = step(params, state, embeddings[order], labels[order], cases.key())
    difference = cases.relative_difference((again, params_again, permuted), (value, params_gradient, gradient[order]))
    assert (difference < 2 * TOLERANCE[name]) == (name not in ORDER_AWARE)


def test_gradients_are_slopes(name):
    """Against central differences along a random direction that keeps the embeddings' lengths."""
    rng = np.random.default_rng(3)
    params, state = cases.init(name)
    embeddings, labels = cases.batch()
    params = jax.tree.map(lambda p: rng.normal(size=p.shape).astype(np.float32), params)
    across = rng.normal(size=embeddings.shape)
    across -= embeddings * (np.sum(across * embeddings, axis=1) / np.sum(embeddings**2, axis=1))[:, None]
    direction = jax.tree.map(lambda p: rng.normal(size=p.shape), params), across
    step, small = cases.compiled(name), 2e-3 if TOLERANCE[name] == 1e-6 else 2e-4

    def at(distance):
        moved = jax.tree.map(lambda x, d: np.float32(x + distance * d), (params, embeddings), direction)
        (value, _), gradients = step(moved[0], state, moved[1], labels, cases.key())
        return float(value), gradients

    value, gradients = at(0.0)
    difference = (at(small)[0] - at(-small)[0]) / (2 * small)
    slope = sum(float(np.sum(np.asarray(g) * d))
                for g, d in zip(jax.tree.leaves(gradients), jax.tree.leaves(direction), strict=True))
    allowed = 2e-2 * abs(slope) + 4e-7 * abs(value) / small + 1e-4  # of curvature and of rounding
    assert (abs(difference - slope) <= allowed) == (name not in PARTLY_FIXED), (difference, slope)


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_prototypes_have_a_row_for_every_class(name):
    shape = cases.init(name)[0]["prototypes"].shape
    assert (shape[0], shape[-1]) == (cases.CLASSES, cases.SIZE)
    sharded = np.asarray(cases.init(name, 8)[0]["prototypes"])
    assert sharded.shape == (16, *shape[1:])
    assert len(np.unique(sharded.reshape(16, -1)[:, 0])) == 16, "every shard starts from its own draw"


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_the_best_score_is_what_accuracy_counts(name):
    """Scores are of the classes alone, also where devices have made padding rows."""
    params, state = cases.init(name, 8)
    embeddings, labels = cases.batch(3)
    weights = np.asarray(params["prototypes"]).reshape(16, -1, cases.SIZE)[labels, 0]
    embeddings[:4] = 1e3 * weights[:4]  # these, at least, are near their class
    scores = np.asarray(cases.build(name, 8).scores(params, embeddings))
    assert scores.shape == (cases.BATCH, cases.CLASSES)
    hits = scores.argmax(axis=1) == labels
    assert hits[:4].all() and not hits.all()
    accuracy = cases.applied(name, 8)(params, state, embeddings, labels, cases.key())[2]["accuracy"]
    assert float(accuracy) == pytest.approx(np.mean(hits) if name != "sigmoid" else np.mean(
        (scores > 0) == (labels[:, None] == np.arange(cases.CLASSES))))


def test_pair_losses_have_no_scores_and_no_labels_but_one():
    for name in losses.PAIR_LOSSES:
        loss = cases.build(name)
        assert loss.scores is None and loss.start_loss is None and not loss.multi_hot
    assert [name for name in CLASS_NAMES if cases.build(name).multi_hot] == ["sigmoid"]


def test_configuration_has_every_hyper_parameter_with_its_default(name):
    assert dict(default.get_config().loss[name]) == losses.hyper_parameters(name)


def test_functions_are_described_and_take_an_axis(name):
    function = losses.LOSSES[name]
    assert function.__doc__ and next(iter(inspect.signature(function).parameters)) == "axis"


def test_unknown_names_and_values_are_refused():
    with pytest.raises(ValueError, match=r"unknown loss 'arcfac'; known: .*arcface"):
        losses.build("arcfac", num_classes=3)
    with pytest.raises(ValueError, match=r"arcface has no hyper-parameter 'margn'; it takes scale, margin"):
        losses.build("arcface", num_classes=3, margn=1)
    with pytest.raises(ValueError, match="at least one class"):
        losses.build("arcface", num_classes=0)
    with pytest.raises(ValueError, match="chunk_size"):
        losses.build("arcface", num_classes=3, chunk_size=-1)


def test_bfloat16_embeddings_count_as_their_float32_values():
    params, state = cases.init("arcface")
    embeddings, labels = cases.batch()
    half = jnp.asarray(embeddings, jnp.bfloat16)
    loss = jax.jit(lambda x: cases.build("arcface").apply(params, state, x, labels, cases.key())[0])
    value, gradient = jax.value_and_grad(loss)(half)
    assert value.dtype == jnp.float32 and gradient.dtype == jnp.bfloat16
    assert float(value) == pytest.approx(float(loss(half.astype(jnp.float32))), rel=1e-6)


@pytest.mark.parametrize(("name", "without_margin"), [
    ("softmax", {}), ("normface", {"scale": 7.0}), ("arcface", {"margin": 0.0}), ("cosface", {"margin": 0.0}),
    ("subcenter_arcface", {"margin": 0.0}), ("adacos", {"dynamic": False}), ("proxy_nca", {"scale": 3.0}),
    ("soft_triple", {"margin": 0.0, "tau": 0.0}), ("magface", {"lower_margin": 0.0, "upper_margin": 0.0,
                                                               "lambda_g": 0.0}),
])
def test_scores_times_the_scale_are_the_logits_of_the_loss_without_its_margin(name, without_margin):
    params, state = cases.init(name)
    embeddings, labels = cases.batch()
    loss = cases.build(name, **without_margin)
    logits = loss.scale * loss.scores(params, embeddings)
    expected = -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(cases.BATCH), labels])
    found = loss.apply(params, state, embeddings, labels, cases.key())[0]
    assert float(found) == pytest.approx(float(expected), rel=1e-4)
