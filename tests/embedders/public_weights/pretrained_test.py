"""Ours against public implementations, from seeded weights: every named layer, the running statistics, the gradient;
and what conversion refuses.

The goldens are float64 results of torch (make_goldens.py); ours is computed in float32. A relative error is
|ours - golden| / |golden| over 64 sampled entries, their mean and their standard deviation. It stays below 1e-5, or,
where batch statistics of few pixels magnify rounding, below twice what PyTorch's own float32 is away from its float64.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from geodesic import embedders
from geodesic.embedders import normalization
from geodesic.embedders.public_weights import layouts, pretrained
from tests.embedders import goldens, seeded

TOLERANCE = 1e-5
# One size of each family in the fast suite, even in evaluation and odd in training; all in the slow one.
FAST = ("resnet18_tiny", "resnet50_tiny", "resnext50_32x4d_tiny", "iresnet18_tiny")
EVALUATED, TRAINED = ({*FAST, "inception_bn"}, 0), ({*FAST} - {"resnext50_32x4d_tiny"}, 1)


def cases(names: set[str], fast_size: int) -> list:
    return [pytest.param(name, which, marks=() if name in names and which == fast_size else pytest.mark.slow)
            for name in goldens.CASES for which in (0, 1)]



@functools.cache
def golden(name: str) -> dict[str, np.ndarray]:
    with np.load(goldens.FOLDER / f"{name}.npz") as file:
        return dict(file)


def torch_shapes(name: str, size: int) -> dict[str, tuple[int, ...]]:
    arrays = golden(name)
    return {key: tuple(map(int, filter(None, shape.split(","))))
            for key, shape in zip(arrays["names"].tolist(), arrays[f"{size}/shapes"].tolist(), strict=True)}


@functools.cache
def embedder_and_variables(name: str, size: int):
    case = goldens.CASES[name]
    fields = {"stage_sizes": case.stage_sizes} if case.stage_sizes else {}
    conversion = pretrained.inspect(seeded.state_dict(torch_shapes(name, size)), case.embedder, fields=fields)
    pretrained.check(conversion, case.embedder)
    return embedders.build(case.embedder, **conversion.fields), conversion.variables


def relative_error(ours: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(np.asarray(ours, np.float64) - expected) / np.linalg.norm(expected))


def summary(values) -> np.ndarray:
    values = np.asarray(values, np.float64)
    return np.concatenate([seeded.samples(values), [values.mean(), values.std()]])


def check_layers(named: dict, name: str, prefix: str) -> None:
    others = ("statistics", "gradients", "gradient_names", "float32_error", "float32_gradient_error")
    expected = {key.removeprefix(prefix): value for key, value in golden(name).items() if key.startswith(prefix)}
    expected = {layer: value for layer, value in expected.items() if layer not in others}
    assert set(expected) == set(named) - ({"embedding"} - set(expected))
    errors = {layer: relative_error(summary(named[layer]), value) for layer, value in expected.items()}
    assert max(errors.values()) < tolerance(name, prefix), errors


def tolerance(name: str, prefix: str) -> float:
    arrays = golden(name)
    return max(TOLERANCE, 2 * float(arrays[f"{prefix}float32_error"])) if "train" in prefix else TOLERANCE


@pytest.mark.parametrize(("name", "which"), cases(*EVALUATED))
def test_evaluation(name, which):
    size = goldens.CASES[name].sizes[which]
    embedder, variables = embedder_and_variables(name, size)
    named = jax.jit(functools.partial(embedder.apply, method="features"))(variables, seeded.images(goldens.BATCH, size))
    check_layers(named, name, f"{size}/eval/")


@pytest.mark.parametrize(("name", "which"), cases(*TRAINED))
def test_training(name, which):
    """Batch statistics in every layer, the updated running statistics, and, where the golden has it, the gradient."""
    case = goldens.CASES[name]
    size = case.sizes[which]
    embedder, variables = embedder_and_variables(name, size)
    images = seeded.images(goldens.BATCH, size)
    output = "embedding" if case.source == "own" else "pool"

    def forward(params):
        named, updated = embedder.apply({**variables, "params": params}, images, train=True, method="features",
                                        mutable=["batch_stats"])
        value = jnp.sum(named[output] * seeded.cotangent(*named[output].shape))
        return value, (named, updated["batch_stats"])

    if case.gradient:
        # Through statistics of four images, how the machine code rounds shows: it is to be that of a training.
        options = {"xla_backend_optimization_level": 3}
        gradients, (named, statistics) = jax.jit(jax.grad(forward, has_aux=True), compiler_options=options)(
            variables["params"])
    else:
        _, (named, statistics) = jax.jit(forward)(variables["params"])
    check_layers(named, name, f"{size}/train/")
    statistics = {"batch_stats": unbiased(statistics, embedder, variables, images)}
    running = [key for key in torch_shapes(name, size) if "running" in key]
    check_products(statistics, running, golden(name)[f"{size}/train/statistics"], name, size,
                   tolerance(name, f"{size}/train/"))
    if case.gradient:
        names = golden(name)[f"{size}/train/gradient_names"].tolist()
        allowed = max(1e-3, 2 * float(golden(name)[f"{size}/train/float32_gradient_error"]))
        check_products({"params": gradients}, names, golden(name)[f"{size}/train/gradients"], name, size, allowed)


def unbiased(updated: dict, embedder, variables: dict, images: np.ndarray) -> dict:
    """PyTorch's running variance takes in the unbiased variance of a batch, Flax's the biased one: n / (n - 1)."""
    counts = {}

    def count(call, args, kwargs, context):
        if isinstance(context.module, normalization.BatchNorm):
            counts["/".join(context.module.path)] = args[0].size // args[0].shape[-1]
        return call(*args, **kwargs)

    with nn.intercept_methods(count):
        jax.eval_shape(functools.partial(embedder.apply, train=True, mutable=["batch_stats"]), variables, images)

    def correct(path, new, old):
        *module, leaf = (key.key for key in path)
        n, kept = counts["/".join(module)], embedder.bn_momentum * old
        return kept + (new - kept) * n / (n - 1) if leaf == "var" else new

    return jax.tree_util.tree_map_with_path(correct, updated, variables["batch_stats"])


def check_products(ours: dict, names: list[str], expected: np.ndarray, name: str, size: int, tolerance: float) -> None:
    """The norm of each array, and its product with a seeded direction, which goes through the same conversion."""
    case, shapes = goldens.CASES[name], torch_shapes(name, size)
    fields = {"stage_sizes": case.stage_sizes} if case.stage_sizes else {}
    conversion = pretrained.inspect(seeded.state_dict(shapes, seed=3), case.embedder, fields=fields)
    floor = 1e-2 * np.median(expected[:, 0])  # a bias before BatchNorm has no gradient but rounding
    errors = {}
    for key, (norm, product) in zip(names, expected, strict=True):
        if key not in conversion.matched:
            assert key == "features.weight"  # fixed at 1 here
            continue
        value, direction = (np.asarray(leaf(tree, conversion.matched[key]), np.float64)
                            for tree in (ours, conversion.variables))
        scale = max(norm, floor)
        errors[key] = max(abs(np.linalg.norm(value) - norm) / scale,
                          abs(np.vdot(value, direction) - product) / scale / np.linalg.norm(direction))
    assert max(errors.values()) < tolerance, sorted(errors.items(), key=lambda item: -item[1])[:5]


def leaf(tree: dict, path: str):
    return functools.reduce(lambda node, key: node[key], path.split("/"), tree)


TINY = {"stage_sizes": (1, 1, 1, 1)}


def tiny_state(name: str = "resnet50_tiny") -> dict[str, np.ndarray]:
    return seeded.state_dict(torch_shapes(name, 64))


def test_a_prefix_and_a_head_are_found():
    state = tiny_state()
    plain = pretrained.inspect(state, "resnet50", fields=TINY)
    prefixed = {f"module.backbone.{key}": value for key, value in state.items()}
    prefixed = pretrained.inspect(prefixed, "resnet50", fields=TINY)
    assert not prefixed.missing and not prefixed.unexpected
    jax.tree.map(np.testing.assert_array_equal, prefixed.variables, plain.variables)
    np.testing.assert_array_equal(plain.head["kernel"], state["fc.weight"].T)
    np.testing.assert_array_equal(plain.head["bias"], state["fc.bias"])


def test_a_tensor_that_is_missing_or_left_over_is_named():
    state = tiny_state()
    del state["layer2.0.bn2.running_var"]
    state["projector.weight"] = np.zeros((2, 2), np.float32)
    conversion = pretrained.inspect(state, "resnet50", fields=TINY)
    assert conversion.missing == ["batch_stats/stage2_block1/bn2/var"]
    assert conversion.unexpected == ["projector.weight"]
    with pytest.raises(ValueError, match="not a whole resnet50: batch_stats/stage2_block1/bn2/var missing"):
        pretrained.check(conversion, "resnet50")
    with pytest.raises(ValueError, match=r"not only a resnet50: projector\.weight left over"):
        pretrained.check(conversion, "resnet50", allow_missing=conversion.missing)
    pretrained.check(conversion, "resnet50", conversion.missing, conversion.unexpected)
    filled = pretrained.complete(conversion, "resnet50", jax.random.key(0))
    np.testing.assert_array_equal(filled["batch_stats"]["stage2_block1"]["bn2"]["var"], np.ones(128))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("key", ["layer1.0.conv1.weight", "bn1.running_var", "fc.bias"])
def test_numbers_that_are_not_finite_are_refused(key, value):
    state = {name: array.astype(np.float64) for name, array in tiny_state().items()}
    state[key].flat[0] = value
    with pytest.raises(ValueError, match=rf"^{key}: 1 of [\d,]+ numbers are not finite"):
        pretrained.inspect(state, "resnet50", fields=TINY)


def test_of_two_networks_a_prefix_is_to_be_chosen():
    state = tiny_state()
    both = {f"{prefix}.{key}": value for prefix in ("q", "k") for key, value in state.items()}
    conversion = pretrained.inspect(both, "resnet50", fields=TINY)
    assert conversion.prefixes == ["q.", "k."] and not conversion.missing
    with pytest.raises(ValueError, match=r"not only a resnet50: k\.conv1\.weight, .* --prefix=q, --prefix=k$"):
        pretrained.check(conversion, "resnet50")
    alone = pretrained.inspect({"m.loss.W": np.ones(1)} | {f"m.{key}": value for key, value in state.items()},
                               "resnet50", fields=TINY)
    assert alone.prefixes == ["m."] and alone.unexpected == ["m.loss.W"]


def test_another_depth_is_refused():
    with pytest.raises(ValueError, match=r"torchvision weights are not a whole resnet50: .* and \d+ more missing"):
        pretrained.convert(tiny_state(), "resnet50")


def test_another_width_is_refused():
    state = tiny_state() | {"layer1.0.conv2.weight": np.zeros((64, 4, 3, 3), np.float32)}
    with pytest.raises(ValueError, match=r"has params/stage1_block1/conv2/kernel of shape \(3, 3, 64, 64\); these"):
        pretrained.inspect(state, "resnet50", fields=TINY)


def test_an_unknown_layout_is_refused():
    with pytest.raises(ValueError, match=r"no layout known for resnet50: known are torchvision \(has conv1\.weight\)"):
        pretrained.convert({"patch_embed.proj.weight": np.zeros((3, 3))}, "resnet50")


def test_layouts_are_told_for_the_embedders_that_they_fit():
    assert embedders.PUBLIC_LAYOUTS.keys() <= embedders.EMBEDDERS.keys()
    assert {name for names in embedders.PUBLIC_LAYOUTS.values() for name in names} == layouts.LAYOUTS.keys()
    with pytest.raises(ValueError, match=r"no layout known for resnet8: known are none; the file has conv1\.weight"):
        pretrained.convert({"conv1.weight": np.zeros((32, 3, 3, 3))}, "resnet8")
    with pytest.raises(ValueError, match=r"has conv1\.weight\), timm, deep stem \(has conv1\.0\.weight\); the file"):
        pretrained.convert({"conv1.kernel": np.zeros((7, 7, 3, 64))}, "resnext50_32x4d")  # Keras's have no groups


def keras_state(seed: int = 0) -> dict[str, np.ndarray]:
    """A version-1 ResNet with one block in each stage, under the names of Keras."""
    rng = np.random.default_rng(seed)
    units = {"conv1": ("bn_conv1", 7, 3, 64)}
    inputs = 64
    for stage, width in zip("2345", (64, 128, 256, 512), strict=True):
        for branch, kernel, first, last in (("1", 1, inputs, 4 * width), ("2a", 1, inputs, width),
                                            ("2b", 3, width, width), ("2c", 1, width, 4 * width)):
            units[f"res{stage}a_branch{branch}"] = (f"bn{stage}a_branch{branch}", kernel, first, last)
        inputs = 4 * width
    state = {"fc1000/kernel": np.zeros((2048, 10), np.float32), "fc1000/bias": np.zeros(10, np.float32)}
    for conv, (norm, kernel, first, last) in units.items():
        values = rng.standard_normal((kernel, kernel, first, last), np.float32)
        state[f"{conv}/kernel"] = values / (kernel * first ** 0.5)
        for name in (f"{conv}/bias", f"{norm}/gamma", f"{norm}/beta", f"{norm}/moving_mean"):
            state[name] = rng.standard_normal(last, np.float32)
        state[f"{norm}/moving_variance"] = rng.uniform(0.5, 1.5, last).astype(np.float32)
    return state


def test_keras_biases_and_channel_order_are_folded():
    """The stem by hand: a convolution with bias on blue-green-red images, then BatchNorm."""
    state = keras_state()
    conversion = pretrained.inspect(state, "resnet50", fields=TINY)
    pretrained.check(conversion, "resnet50")
    assert conversion.fields["version"] == "v1" and conversion.fields["bn_epsilon"] == 1e-3
    embedder = embedders.build("resnet50", **conversion.fields)
    red_first = seeded.images(1, 32)
    named = jax.jit(functools.partial(embedder.apply, method="features"))(conversion.variables, red_first)
    x = jax.lax.conv_general_dilated(red_first[..., ::-1], state["conv1/kernel"], (2, 2), ((3, 3), (3, 3)),
                                     dimension_numbers=("NHWC", "HWIO", "NHWC")) + state["conv1/bias"]
    x = (x - state["bn_conv1/moving_mean"]) / np.sqrt(state["bn_conv1/moving_variance"] + 1e-3)
    x = np.maximum(x * state["bn_conv1/gamma"] + state["bn_conv1/beta"], 0)
    expected = nn.max_pool(jnp.asarray(x), (3, 3), (2, 2), ((1, 1), (1, 1)))
    assert relative_error(named["stem"], np.asarray(expected, np.float64)) < 1e-5


def test_names_of_an_h5_file_and_of_deeper_keras_models():
    state = {f"{name.split('/')[0]}/{name}:0": value for name, value in keras_state().items()}
    pretrained.check(pretrained.inspect(state, "resnet50", fields=TINY), "resnet50")
    assert layouts.path(layouts.KERAS_RESNET, "res4b22_branch2b.kernel", np.zeros((3, 3, 1, 1))) == (
        "params", "stage3_block23/conv2/kernel")
    assert layouts.path(layouts.KERAS_RESNET, "bn3d_branch2c.gamma", np.zeros(1)) == (
        "params", "stage2_block4/bn3/scale")


def test_a_scale_that_is_fixed_here_and_not_there_is_left_over():
    state = tiny_state("iresnet18_tiny") | {"features.weight": np.full(512, 2.0, np.float32)}
    conversion = pretrained.inspect(state, "iresnet18", fields=TINY)
    assert conversion.unexpected == ["features.weight"]
