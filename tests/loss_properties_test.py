"""Whatever batch the trunk produces: no loss is NaN, infinite or negative, nor is any of its gradients."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import losses
from tests.losses import cases

# What a row of the batch is made to be; "own" and "other" are prototypes, so that cosines reach +-1.
ROWS = ("random", "zero", "first", "own", "minus own", "other", "minus other", "axis", "huge", "tiny", "underflowing")
BATCHES = st.tuples(st.integers(0, 2**32 - 1), st.lists(st.sampled_from(ROWS), min_size=8, max_size=8),
                    st.one_of(st.lists(st.integers(0, cases.CLASSES - 1), min_size=8, max_size=8),
                              st.integers(0, cases.CLASSES - 1).map(lambda label: [label] * 8)))


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


def check(name, batch, dtype):
    prototypes, x, labels = make(batch)
    params, state = cases.init(name)
    if "prototypes" in params:
        shape = params["prototypes"].shape
        spread = prototypes if len(shape) == 2 else np.repeat(prototypes[:, None], shape[1], axis=1)
        params = {**params, "prototypes": jnp.asarray(spread)}
    (value, (new_state, scalars)), gradients = cases.compiled(name)(
        params, state, jnp.asarray(x, dtype), labels, cases.key(batch[0]))
    assert np.isfinite(value) and value >= 0
    assert cases.all_finite((gradients, new_state, scalars))


def hypothesis(examples):
    return settings(max_examples=examples, deadline=None, derandomize=True, database=None,
                    suppress_health_check=list(HealthCheck))


@hypothesis(20)
@given(batch=BATCHES)
def test_losses_and_gradients_are_finite(name, batch):
    check(name, batch, jnp.float32)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_losses_and_gradients_are_finite_a_thousand_times(name, dtype):
    hypothesis(1000)(given(batch=BATCHES)(lambda batch: check(name, batch, dtype)))()
