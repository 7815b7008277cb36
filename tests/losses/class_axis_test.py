import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from geodesic import losses
from geodesic.losses import class_axis, similarity
from tests.losses import cases

CLASSES, SIZE, BATCH, DEVICES = 2**20, 512, 1024, 8
LOGITS = 4 * BATCH * CLASSES // DEVICES  # bytes of one device's float32 logits


def compile_million(name: str, **options):
    """Value and gradients of a loss over 2^20 classes on 8 devices; compiled, never run."""
    mesh = cases.mesh_of(DEVICES)
    loss = losses.build(name, num_classes=CLASSES, mesh=mesh, **options)
    array = lambda shape, dtype, spec: jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, spec))
    params, state = jax.eval_shape(lambda: loss.init(cases.key(), SIZE))
    params = jax.tree.map(lambda leaf: array(leaf.shape, leaf.dtype, P("data")), params)
    state = jax.tree.map(lambda leaf: array(leaf.shape, leaf.dtype, P()), state)
    embeddings, labels = array((BATCH, SIZE), jnp.float32, P("data")), array((BATCH,), jnp.int32, P("data"))

    def value(params, embeddings, state, labels):
        return loss.apply(params, state, embeddings, labels, jax.random.key(0))[0]

    shardings = NamedSharding(mesh, P()), jax.tree.map(lambda leaf: leaf.sharding, (params, embeddings))
    step = jax.jit(jax.value_and_grad(value, argnums=(0, 1)), out_shardings=shardings)
    return step.lower(params, embeddings, state, labels).compile()


def collectives(hlo: str) -> list[tuple[str, int]]:
    """(name, elements of the largest result) of every collective in a compiled program."""
    found = []
    pattern = r"= (.*?) (all-gather|all-reduce|all-to-all|reduce-scatter|collective-permute)(?:-start)?\("
    for shapes, name in re.findall(pattern, hlo):
        dimensions = [[int(n) for n in dims.split(",") if n] for dims in re.findall(r"\[([\d,]*)\]", shapes)]
        found.append((name, max(math.prod(shape) for shape in dimensions)))
    return found


@pytest.mark.parametrize("name, options, copies", [
    ("arcface", {}, 1.3),
    ("arcface", {"chunk_size": 8192}, 0.5),
    ("curricularface", {"chunk_size": 10000}, 0.5),  # needs its threshold first, and the chunk does not divide
    ("softmax", {}, 1.3),
    ("arcface", {"logits_dtype": "bfloat16"}, 0.7),
    pytest.param("softmax", {"logits_dtype": "bfloat16"}, 0.7, marks=pytest.mark.slow),
    pytest.param("adaface", {}, 1.3, marks=pytest.mark.slow),
    pytest.param("curricularface", {}, 1.3, marks=pytest.mark.slow),
    pytest.param("adacos", {"chunk_size": 8192}, 0.5, marks=pytest.mark.slow),
    pytest.param("arcface", {"sample_rate": 0.1}, 0.5, marks=pytest.mark.slow),
])
def test_memory_and_traffic_at_a_million_classes(name, options, copies):
    program = compile_million(name, **options)
    temporaries = program.memory_analysis().temp_size_in_bytes
    assert temporaries <= copies * LOGITS, f"{temporaries / LOGITS:.3f} copies of the logits per device"
    moved = collectives(program.as_text())
    assert {kind for kind, _ in moved} >= {"all-gather", "all-reduce", "reduce-scatter"}, "the pattern finds them"
    assert not [kind for kind, _ in moved if kind == "all-to-all"]
    # Embeddings [B, D] and scalars per row; neither logits [B, C] nor prototypes [C, D], nor a [C] of them.
    assert max(size for _, size in moved) <= BATCH * SIZE


# The losses whose class axis the field is for, and Partial FC of one.
STORED = [("softmax", {}), ("normface", {"scale": 64.0}), ("cosface", {"scale": 64.0}), ("arcface", {"scale": 64.0}),
          ("combined", {"scale": 64.0}), ("arcface", {"scale": 64.0, "sample_rate": 0.8, "devices": 0})]


@pytest.mark.parametrize("name, options", STORED)
def test_stored_in_bfloat16_the_loss_is_the_same_and_the_gradient_near(name, options):
    """A logit of other classes is off by scale * |cos| / 2^9 at most, d, so a probability by a factor of e^d at most:
    the gradient of a row's cosines, which is scale / B times the probabilities, by (e^d - 1) * scale / B."""
    options = {"devices": 8} | options
    embeddings, labels = cases.batch()
    given = *cases.init(name, **options), embeddings, labels, cases.key()
    (value, (_, scalars)), (classes, rows) = cases.compiled(name, **options)(*given)
    (again, (_, told)), (near_classes, near_rows) = cases.compiled(name, **options, logits_dtype="bfloat16")(*given)
    assert value == again and scalars == told
    scale = options.get("scale", 1.0)
    logit = np.abs(similarity.products(embeddings, given[0])).max() if name == "softmax" else scale
    # The length of what a row's gradient is the sum of: prototypes of softmax, unit vectors over the row's length.
    length = (np.linalg.norm(given[0]["prototypes"], axis=1).max() if name == "softmax" else
              1 / np.linalg.norm(embeddings, axis=1))
    error = np.linalg.norm(near_rows - rows, axis=1)
    assert np.all(error <= np.expm1(logit / 2**9) * scale / len(labels) * length)
    assert error.max() > 0
    for field, gradient in classes.items():
        off = np.linalg.norm(near_classes[field] - gradient) / np.linalg.norm(gradient)
        assert off < (0.05 if scale == 64 else 0.001), (field, off)  # in 8 dimensions cosines are large


def test_stored_in_bfloat16_the_gradient_is_that_of_rounded_products():
    embeddings, labels = cases.batch(count=16)
    params = {"prototypes": cases.init("arcface")[0]["prototypes"]}
    own, scale = np.eye(cases.CLASSES, dtype=bool)[labels], 64.0

    def plain(params, embeddings):
        x, w = similarity.unit(embeddings), params["prototypes"]
        exact, inverse = x @ w.T, similarity.inverse_norm(w)[:, 0]
        rounded = exact + jax.lax.stop_gradient(exact.astype(jnp.bfloat16).astype(jnp.float32) - exact)
        others = jax.lax.stop_gradient(jax.nn.logsumexp(jnp.where(own, -jnp.inf, scale * exact * inverse), axis=1))
        shares = jax.lax.stop_gradient(jnp.where(own, 0.0, jnp.exp(scale * rounded * inverse - others[:, None])))
        linear = jnp.sum(shares * scale * rounded * inverse, axis=1)
        others += linear - jax.lax.stop_gradient(linear)
        target = jnp.sum(jnp.where(own, rounded * inverse, 0.0), axis=1)
        target += jax.lax.stop_gradient(jnp.sum(jnp.where(own, exact * inverse, 0.0), axis=1) - target)
        return jnp.mean(jax.nn.softplus(others - scale * jnp.cos(jnp.arccos(target) + 0.5)))

    expected = jax.jit(jax.grad(plain, argnums=(0, 1)))(params, embeddings)
    exact = cases.compiled("arcface", gradient="full")(params, {}, embeddings, labels, cases.key())[1]
    for devices in (0, 8):
        shown = {"prototypes": cases.init("arcface", devices)[0]["prototypes"]}
        step = cases.compiled("arcface", devices, gradient="full", logits_dtype="bfloat16")
        _, (classes, rows) = step(shown, {}, embeddings, labels, cases.key())
        np.testing.assert_allclose(rows, expected[1], atol=2e-5)
        np.testing.assert_allclose(classes["prototypes"][:cases.CLASSES], expected[0]["prototypes"], atol=2e-3)
    assert np.abs(exact[1] - expected[1]).max() > 2e-4  # rounding is seen


def test_nothing_is_stored_in_bfloat16_where_nothing_is_stored():
    for name, options, message in (
            ("arcface", {"logits_dtype": "float16"}, "unknown logits_dtype 'float16'; known: float32, bfloat16"),
            ("arcface", {"logits_dtype": "bfloat16", "chunk_size": 4}, "with chunk_size 4 none are"),
            ("triplet", {"logits_dtype": "bfloat16"}, "triplet has none: use 'float32'")):
        with pytest.raises(losses.UserError, match=message):
            losses.build(name, num_classes=3, **options)


def test_collectives_are_found():
    mesh = cases.mesh_of(8)
    split, whole = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
    gather = jax.jit(lambda x: x + 1, in_shardings=split, out_shardings=whole)
    assert collectives(gather.lower(jnp.zeros((16, 3))).compile().as_text()) == [("all-gather", 48)]


def test_padding_rows_have_no_part():
    """11 classes on 8 devices are 16 rows: the last five change nothing and learn nothing."""
    embeddings, labels = cases.batch()
    params, state = cases.init("arcface", 8)
    changed = {"prototypes": params["prototypes"].at[cases.CLASSES:].set(100.0)}
    step = cases.compiled("arcface", 8)
    (value, _), (gradients, _) = step(params, state, embeddings, labels, cases.key())
    (again, _), _ = step(changed, state, embeddings, labels, cases.key())
    assert value == again
    assert np.all(np.asarray(gradients["prototypes"])[cases.CLASSES:] == 0)
    assert np.any(np.asarray(gradients["prototypes"])[cases.CLASSES - 1] != 0)


def test_target_cosines():
    embeddings, labels = cases.batch()
    params, _ = cases.init("arcface")
    w = np.asarray(params["prototypes"], np.float64)[labels]
    expected = np.sum(embeddings * w, -1) / np.linalg.norm(embeddings, axis=-1) / np.linalg.norm(w, axis=-1)
    for devices in 0, 8:
        axis = class_axis.ClassAxis(cases.CLASSES, cases.mesh_of(devices))
        sharded, _ = cases.init("arcface", devices)
        found = jax.jit(class_axis.target_cosines, static_argnums=0)(axis, similarity.unit(embeddings), sharded, labels)
        np.testing.assert_allclose(found, expected, atol=1e-6)
