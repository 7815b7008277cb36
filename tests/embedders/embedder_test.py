"""The fields that all families have, on networks of one block per stage."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from geodesic import embedders
from geodesic.embedders import gradients
from tests.embedders import seeded

TINY = {
    "resnet18": {"stage_sizes": (1, 1), "layer": "stage2", "width": 8},
    "resnet50": {"stage_sizes": (1, 1), "layer": "stage2", "width": 8},
    "resnext50_32x4d": {"stage_sizes": (1,), "layer": "stage1"},
    "iresnet18": {"stage_sizes": (1, 1), "layer": "stage2", "width": 8, "embedding_size": 16},
}
IMAGES = seeded.images(4, 32)


@functools.cache
def run(name: str, train: bool = False, **fields):
    """(variables, named layers) of the tiny network with these fields."""
    embedder = embedders.build(name, **{**TINY[name], **fields})

    def apply(variables, images):
        named, _ = embedder.apply(variables, images, train, method="features", mutable=["batch_stats"],
                                  rngs={"dropout": jax.random.key(1)})
        return named

    variables = filled(embedder)
    return variables, jax.jit(apply)(variables, IMAGES)


STARTS = {"scale": 1.0, "var": 1.0, "bias": 0.0, "mean": 0.0, "slope": 0.25, "p": 3.0}


def filled(embedder) -> dict:
    """Variables as `init` would draw them, without compiling it."""
    rng = np.random.default_rng(0)

    def leaf(path, value):
        if path[-1].key != "kernel":
            return np.full(value.shape, STARTS[path[-1].key], np.float32)
        return rng.standard_normal(value.shape, np.float32) * np.float32(np.sqrt(2 / np.prod(value.shape[:-1])))

    return jax.tree_util.tree_map_with_path(leaf, jax.eval_shape(embedder.init, jax.random.key(0), IMAGES))


@pytest.mark.parametrize("name", TINY)
def test_named_layers_and_a_float32_embedding(name):
    _, named = run(name)
    stages = [f"stage{stage + 1}" for stage in range(len(TINY[name]["stage_sizes"]))]
    assert set(named) == {"stem", *stages, "pool", "embedding"}
    assert named["embedding"].dtype == jnp.float32 and named["embedding"].ndim == 2


@pytest.mark.parametrize("name", ("resnet50", "iresnet18"))
def test_a_bfloat16_trunk_points_the_same_way(name):
    _, full = run(name)
    _, half = run(name, dtype="bfloat16")
    assert half["stage1"].dtype == jnp.bfloat16 and half["embedding"].dtype == jnp.float32
    a, b = (np.asarray(named["embedding"], np.float64) for named in (full, half))
    assert ((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min() > 0.999


@pytest.mark.parametrize(("pooling", "expected"), (
    ("average", lambda x: x.mean((1, 2))), ("max", lambda x: x.max((1, 2))),
    ("average_max", lambda x: x.mean((1, 2)) + x.max((1, 2))), ("flatten", lambda x: x.reshape(len(x), -1)),
    ("generalised_mean", lambda x: (np.maximum(x, 1e-6) ** 3).mean((1, 2)) ** (1 / 3))))
def test_pooling(pooling, expected):
    _, named = run("resnet18", pooling=pooling, embedding_size=0)
    np.testing.assert_allclose(named["embedding"], expected(np.asarray(named["stage2"])), rtol=2e-5, atol=1e-6)


def test_another_layer():
    _, named = run("resnet18", layer="stage1", embedding_size=0)
    np.testing.assert_allclose(named["embedding"], named["stage1"].mean((1, 2)), rtol=1e-5)
    with pytest.raises(ValueError, match="no layer 'stage9'; this embedder has stem, stage1, stage2"):
        run("resnet18", layer="stage9")


@pytest.mark.parametrize("neck", ("linear", "bn_fc_bn", "layer_norm"))
def test_necks(neck):
    variables, named = run("resnet18", neck=neck, embedding_size=5)
    params, stats = variables["params"]["neck"], variables["batch_stats"].get("neck", {})
    pooled = np.asarray(named["pool"], np.float64)
    if neck == "layer_norm":
        pooled = (pooled - pooled.mean(1, keepdims=True)) / np.sqrt(pooled.var(1, keepdims=True) + 1e-6)
    # Running statistics are 0 and 1 at the start, so the BatchNorms only divide by sqrt(1 + 1e-5).
    expected = (pooled @ np.asarray(params["fc"]["kernel"])) / (np.sqrt(1 + 1e-5) if neck == "bn_fc_bn" else 1)
    np.testing.assert_allclose(named["embedding"], expected, rtol=1e-4, atol=1e-5)
    assert set(stats) == ({"bn_in", "bn_out"} if neck == "bn_fc_bn" else set())
    if neck == "bn_fc_bn":
        assert set(params["bn_out"]) == {"bias"}  # its scale is fixed at 1


def test_a_neck_that_would_change_nothing_refuses_a_size():
    with pytest.raises(ValueError, match="neck 'none' leaves 16 features; embedding_size 7 needs another neck"):
        run("resnet18", neck="none", embedding_size=7)


@pytest.mark.parametrize("name", ("resnet50", "iresnet18"))
@pytest.mark.parametrize("zero", (False, True))
def test_the_last_scale_of_a_branch_starts_at_zero_on_request(name, zero):
    embedder = embedders.build(name, **TINY[name], zero_init_last_scale=zero)
    scale = lambda rng: embedder.init(rng, IMAGES)["params"]["stage1_block1"]["bn3"]["scale"]
    assert float(jax.jit(scale)(jax.random.key(0)).max()) == (0 if zero else 1)


def test_drop_path_drops_in_training_only():
    _, plain = run("resnet18", train=True)
    _, dropped = run("resnet18", train=True, drop_path=0.5)
    np.testing.assert_allclose(dropped["stage1"], plain["stage1"], rtol=1e-5)  # the first block is never dropped
    assert not np.allclose(dropped["stage2"], plain["stage2"])
    np.testing.assert_array_equal(run("resnet18", drop_path=0.5)[1]["stage2"], run("resnet18")[1]["stage2"])


def test_dropout_in_training_only():
    fields = {"embedding_size": 8, "dropout": 0.5}
    same = {"embedding_size": 8}
    assert not np.allclose(run("resnet18", train=True, **fields)[1]["embedding"],
                           run("resnet18", train=True, **same)[1]["embedding"])
    np.testing.assert_array_equal(run("resnet18", **fields)[1]["embedding"], run("resnet18", **same)[1]["embedding"])


def test_space_to_depth_computes_the_plain_stem():
    _, plain = run("resnet18")
    _, squares = run("resnet18", stem="space_to_depth")
    np.testing.assert_allclose(squares["stage2"], plain["stage2"], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("stem", "side"), (("deep", 8), ("half", 16), ("small", 32)))
def test_stems(stem, side):
    assert run("resnet18", stem=stem)[1]["stem"].shape == (4, side, side, 8)


def test_version_1_has_its_stride_on_the_first_convolution():
    shapes = {}
    for version in ("v1", "v1.5"):
        embedder = embedders.build("resnet50", **TINY["resnet50"], version=version)
        variables = jax.eval_shape(embedder.init, jax.random.key(0), IMAGES)
        _, kept = jax.eval_shape(functools.partial(embedder.apply, capture_intermediates=True), variables, IMAGES)
        shapes[version] = kept["intermediates"]["stage2_block1"]["conv1"]["__call__"][0].shape
    assert shapes == {"v1": (4, 4, 4, 16), "v1.5": (4, 8, 8, 16)}


def test_rematerialisation_changes_no_gradient():
    def gradient(**fields):
        embedder = embedders.build("resnet18", **TINY["resnet18"], **fields)
        variables = filled(embedder)

        def loss(params, images):
            out, _ = embedder.apply({**variables, "params": params}, images, True, mutable=["batch_stats"])
            return jnp.sum(jnp.sin(out))

        gradient = jax.grad(loss)
        text = str(jax.make_jaxpr(gradient)(variables["params"], IMAGES))
        return jax.jit(gradient)(variables["params"], IMAGES), text

    (plain, text), (again, text_again) = gradient(), gradient(remat=(1, 2))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), again, plain)
    assert "remat" in text_again and "remat" not in text


def test_inception_takes_every_size_of_the_template():
    embedder = embedders.build("inception_bn")
    for size in (32, 144):
        image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
        init = functools.partial(embedder.init_with_output, method="features")
        named, _ = jax.eval_shape(init, jax.random.key(0), image)
        assert named["embedding"].shape == (1, 1024)
        assert named["inception_5b/concat"].shape[1] == -(-size // 32)
    assert [name for name in named if name.startswith("inception")] == [
        f"inception_{module}/concat" for module in ("3a", "3b", "3c", "4a", "4b", "4c", "4d", "4e", "5a", "5b")]


@pytest.mark.parametrize(("fields", "message"), (
    ({"name": "resnet51"}, "unknown embedder 'resnet51'; known: resnet8"),
    ({"groups": 3}, "resnet18 has no field 'groups'; it has"),
    ({"neck": "mlp"}, "neck is one of none, linear, bn_fc_bn, layer_norm; got 'mlp'"),
    ({"dropout": 1.0}, "dropout is a share, 0 <= dropout < 1; got 1.0"),
    ({"convolution": "im2col"}, "convolution is one of auto, native, taps, merged; got 'im2col'"),
))
def test_what_cannot_be_built(fields, message):
    with pytest.raises(ValueError, match=message):
        embedders.build(**{"name": "resnet18", **fields})


@pytest.mark.parametrize("name", ("resnet18", "iresnet18", "inception_bn", "resnext50_32x4d"))
def test_a_neck_needs_a_size(name):
    for kind in ("linear", "bn_fc_bn", "layer_norm"):
        with pytest.raises(ValueError, match=f"{name}: neck {kind!r} makes an embedding of a size, and"):
            embedders.build(name, neck=kind, embedding_size=0)
        assert embedders.build(name, neck=kind, embedding_size=8).neck == kind
    for size in (None, 0):
        embedders.build(name, embedding_size=size)
        embedders.build(name, embedding_size=size, neck="none")
    if name != "iresnet18":  # which has a size of its own
        with pytest.raises(ValueError, match="makes an embedding of a size, and embedding_size is None"):
            embedders.build(name, neck="linear")


FAMILIES = TINY | {"resnet8": {}, "inception_bn": {}}


@pytest.mark.parametrize(("name", "fields"), [
    ("resnext50_32x4d", {}), ("iresnet18", {}), ("resnet18", {"pooling": "generalised_mean"}),
    ("resnet18", {"neck": "bn_fc_bn", "embedding_size": 8}), *(pytest.param(name, fields, marks=pytest.mark.slow)
    for name, fields in (("inception_bn", {}), ("resnet8", {}), ("resnet18", {}), ("resnet50", {}),
                         ("resnet50", {"stem": "deep"}), ("resnet18", {"remat": (1,)}),
                         ("resnet18", {"dtype": "bfloat16"})))])
def test_an_embedder_has_a_forward_derivative(name, fields):
    """jax.jvp of an evaluation is its gradient's slope."""
    embedder = embedders.build(name, **{**FAMILIES[name], **fields})
    variables, along = filled(embedder), seeded.images(4, 32)[::-1] * 0.01
    apply = lambda images: embedder.apply(variables, images)
    value, slope = jax.jit(lambda x, t: jax.jvp(apply, (x,), (t,)))(IMAGES, along)
    np.testing.assert_array_equal(value, jax.jit(apply)(IMAGES))
    assert np.isfinite(slope).all() and np.any(slope)
    weights = np.random.default_rng(1).standard_normal(value.shape, np.float32)
    back = jax.jit(jax.grad(lambda x: jnp.sum(apply(x) * weights)))(IMAGES)
    allowed = 1e-3 if embedder.dtype == "float32" else 0.05  # of what is summed
    assert abs(float(np.sum(back * along) - np.sum(slope * weights))) <= allowed * float(np.sum(abs(slope * weights)))


@pytest.mark.parametrize("name", ("resnet18", "iresnet18"))
def test_a_training_pass_has_a_forward_derivative_on_request(name):
    embedder = embedders.build(name, **TINY[name])
    variables, along = filled(embedder), seeded.images(4, 32)[::-1] * 0.01
    apply = lambda images: embedder.apply(variables, images, train=True, mutable=["batch_stats"])[0]
    back = jax.jit(jax.grad(lambda x: jnp.sum(jnp.sin(apply(x)))))(IMAGES)
    with gradients.by_autodiff():
        _, slope = jax.jit(lambda x, t: jax.jvp(lambda x: jnp.sum(jnp.sin(apply(x))), (x,), (t,)))(IMAGES, along)
    assert float(slope) == pytest.approx(float(np.sum(back * along)), rel=1e-3)
