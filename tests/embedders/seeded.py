"""Weights and images from a seed, by name: the same numbers on both sides of a comparison, and no files of weights."""

import zlib

import numpy as np


def state_dict(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    """Tensors in PyTorch's layout, f32, whose activations neither vanish nor explode.

    As in trained networks, the last BatchNorm of a residual branch has a small scale. With scales about 1 a deep
    network in training mode multiplies any rounding by thousands, in every framework, and nothing can be compared.
    """
    tensors = {name: _tensor(name, shape, np.random.default_rng((seed, zlib.crc32(name.encode()))))
               for name, shape in shapes.items()}
    for name, value in tensors.items():
        block, _, rest = name.rpartition(".bn")
        last = "3.weight" if f"{block}.bn3.weight" in shapes else "2.weight"
        if block.startswith("layer") and rest == last:
            value *= 0.2
    return tensors


def _tensor(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if name.endswith("num_batches_tracked"):
        return np.zeros((), np.int64)
    if name == "features.weight":
        return np.ones(shape, np.float32)  # fixed in the published model
    if len(shape) > 1:
        return (rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / np.prod(shape[1:]))))
    if name.endswith("prelu.weight"):
        return rng.uniform(0.1, 0.4, shape).astype(np.float32)
    if name.endswith(("weight", "running_var")):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    return (0.1 * rng.standard_normal(shape)).astype(np.float32)


def images(batch: int, size: int) -> np.ndarray:
    """f32[B,size,size,3], standard normal."""
    return np.random.default_rng((1, size)).standard_normal((batch, size, size, 3), np.float32)


def cotangent(batch: int, features: int) -> np.ndarray:
    """f32[B,F]: the gradient of some loss by the pooled output."""
    return np.random.default_rng((2, features)).standard_normal((batch, features), np.float32)


def samples(values: np.ndarray, count: int = 64) -> np.ndarray:
    """`count` entries of an array, in no order, always the same ones for its size."""
    flat = np.asarray(values).reshape(-1)
    return flat[np.random.default_rng(flat.size).integers(0, flat.size, count)]
