"""Whatever batch the trunk produces: no loss is NaN, infinite or negative, nor is any of its gradients.

Split over devices and taken in chunks, class losses are what their formulas say.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geodesic import losses
from tests.losses import cases, plain

# What a row of the batch is made to be; "own" and "other" are prototypes, so that cosines reach +-1.
ROWS = ("random", "zero", "first", "own", "minus own", "other", "minus other", "axis", "huge", "tiny", "underflowing")
LABELS = st.one_of(st.lists(st.integers(0, cases.CLASSES - 1), min_size=8, max_size=8),
                   st.integers(0, cases.CLASSES - 1).map(lambda label: [label] * 8))
BATCHES = st.tuples(st.integers(0, 2**32 - 1), st.lists(st.sampled_from(ROWS), min_size=8, max_size=8), LABELS)


@pytest.fixture(scope="module", params=sorted(losses.LOSSES))
def name(request):
    return request.param


def make(batch):
    """(prototypes f32[C,D], embeddings f32[B,D], labels i32[B])"""
    seed, rows, labels = batch
    rng = np.random.default_rng(seed)
    prototypes = rng.normal(size=(cases.CLASSES, cases.SIZE)).astype(np.float32)
    x = rng.normal(size=(cases.BATCH, cases.SIZE)).astype(np.float32)
    for row, (kind, label) in enumerate(zip(rows, labels, strict=True)):
        x[row] = {"random": x[row], "zero": 0 * x[row], "first": x[0], "own": prototypes[label],
                  "minus own": -prototypes[label], "other": prototypes[label - 1],
                  "minus other": -prototypes[label - 1], "axis": np.eye(cases.SIZE)[label % cases.SIZE],
                  "huge": 1e6 * x[row], "tiny": 1e-6 * x[row], "underflowing": 1e-25 * x[row]}[kind]
    return prototypes, x, np.array(labels, np.int32)


def from_seed(seed):
    """One of BATCHES, without hypothesis's work for every choice."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, cases.CLASSES, 8) if rng.random() < 0.8 else np.full(8, rng.integers(0, cases.CLASSES))
    return seed, list(rng.choice(ROWS, 8)), list(labels)


def with_prototypes(params, prototypes):
    if "prototypes" not in params:
        return params
    shape = params["prototypes"].shape
    spread = prototypes if len(shape) == 2 else jnp.repeat(prototypes[:, None], shape[1], axis=1)
    return {**params, "prototypes": jnp.asarray(spread)}


def check(name, batch):
    prototypes, x, labels = make(batch)
    params, state = cases.init(name)
    (value, (new_state, scalars)), gradients = cases.compiled(name)(
        with_prototypes(params, prototypes), state, x, labels, cases.key(batch[0]))
    assert np.isfinite(value) and value >= 0
    assert cases.all_finite((gradients, new_state, scalars))


@functools.cache
def many(name):
    """jit'ed (prototypes, embeddings, labels, seeds), all [N,...] -> (losses f32[N], whether all is finite bool[N])."""
    params, state = cases.init(name)

    def one(batch):
        prototypes, x, labels, seed = batch

        def value(params, x):
            loss, *state_and_scalars = cases.build(name).apply(params, state, x, labels, jax.random.key(seed))
            return loss, state_and_scalars

        (loss, aux), gradients = jax.value_and_grad(value, argnums=(0, 1), has_aux=True)(
            with_prototypes(params, prototypes), x)
        leaves = jax.tree.leaves((loss, aux, gradients))
        return loss, jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))

    return cases.jit(lambda batches: jax.lax.map(one, batches))


def hypothesis(examples):
    return settings(max_examples=examples, deadline=None, derandomize=True, database=None,
                    suppress_health_check=list(HealthCheck))


@hypothesis(20)
@given(batch=BATCHES)
def test_losses_and_gradients_are_finite(name, batch):
    check(name, batch)


@pytest.mark.parametrize("class_name", sorted(losses.CLASS_LOSSES))
def test_class_losses_split_and_chunked_are_their_plain_formulas(class_name):
    """11 classes, padded to two for each device; away from cosines of +-1, where float32 is another number already."""
    params, state = cases.init(class_name, 8)
    rows = st.lists(st.sampled_from(("random", "first", "huge", "tiny")), min_size=8, max_size=8)

    @hypothesis(20)
    @given(batch=st.tuples(st.integers(0, 2**32 - 1), rows, LABELS))
    def compare(batch):
        rng, (_, x, labels) = np.random.default_rng((batch[0], 1)), make(batch)
        drawn = {name: rng.normal(size=values.shape).astype(np.float32) for name, values in params.items()}
        found = cases.applied(class_name, 8, chunk_size=1)(drawn, state, x, labels, cases.key())[0]
        classes = {name: values[:cases.CLASSES].astype(np.float64) for name, values in drawn.items()}
        expected = getattr(plain, class_name)(x.astype(np.float64), classes, labels, cases.key())
        assert float(found) == pytest.approx(expected, rel=2e-5, abs=1e-5)

    compare()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_losses_and_gradients_are_finite_a_thousand_times(name, dtype):
    """Forty times twenty-five batches."""

    @hypothesis(40)
    @given(seeds=st.lists(st.integers(0, 2**32 - 1), min_size=25, max_size=25))
    def check_many(seeds):
        arrays = zip(*(make(from_seed(seed)) for seed in seeds), strict=True)
        prototypes, x, labels = (np.stack(array) for array in arrays)
        values, finite = many(name)((prototypes, jnp.asarray(x, dtype), labels, np.array(seeds, np.uint32)))
        assert np.all(finite) and np.min(values) >= 0

    check_many()
