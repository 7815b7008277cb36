"""Ours against public implementations, from seeded weights: every named layer, the running statistics, the gradient.

The goldens are float64 results of torch (make_goldens.py); ours is computed in float32. A relative error is
|ours - golden| / |golden| over 64 sampled entries, their mean and their standard deviation.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import embedders
from embedders import pretrained
from tests.embedders import goldens, seeded

TOLERANCE = 1e-5
# One size of each family in the fast suite, even in evaluation and odd in training; all in the slow one.
FAST = ("resnet18_tiny", "resnet50_tiny", "resnext50_32x4d_tiny", "iresnet18_tiny")
EVALUATED, TRAINED = ({*FAST, "inception_bn"}, 0), ({*FAST}, 1)


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


def check_layers(named: dict, name: str, prefix: str) -> dict[str, float]:
    others = ("statistics", "gradients", "gradient_names")
    expected = {key.removeprefix(prefix): value for key, value in golden(name).items() if key.startswith(prefix)}
    expected = {layer: value for layer, value in expected.items() if layer not in others}
    assert set(expected) == set(named) - ({"embedding"} - set(expected))
    errors = {layer: relative_error(summary(named[layer]), value) for layer, value in expected.items()}
    assert max(errors.values()) < TOLERANCE, errors
    return errors


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
        gradients, (named, statistics) = jax.jit(jax.grad(forward, has_aux=True))(variables["params"])
    else:
        _, (named, statistics) = jax.jit(forward)(variables["params"])
    check_layers(named, name, f"{size}/train/")
    statistics = {"batch_stats": unbiased(statistics, embedder, variables, images)}
    running = [key for key in torch_shapes(name, size) if "running" in key]
    check_products(statistics, running, golden(name)[f"{size}/train/statistics"], name, size, TOLERANCE)
    if case.gradient:
        names = golden(name)[f"{size}/train/gradient_names"].tolist()
        check_products({"params": gradients}, names, golden(name)[f"{size}/train/gradients"], name, size, 1e-3)


def unbiased(updated: dict, embedder, variables: dict, images: np.ndarray) -> dict:
    """PyTorch's running variance takes in the unbiased variance of a batch, Flax's the biased one: n / (n - 1)."""
    counts = {}

    def count(call, args, kwargs, context):
        if isinstance(context.module, nn.BatchNorm):
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
