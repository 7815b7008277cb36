"""The maps that benchmarks/pointing.py compares: ours, plain and centred, and Grad-CAM's, of any image of any size."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.ndimage

from geodesic.experiments.trained import embedding

LAYERS = ("stage3", "stage4")


class Maps:
    """The layers of a network with some variables, of any images, and the mean that a centred map is less of."""

    def __init__(self, run, variables, means: np.ndarray):
        self._variables = variables
        self._apply = jax.jit(lambda variables, images: {
            name: value for name, value in run.embedder.apply(
                variables, embedding.normalize(images, run.config.input), train=False, method="features").items()
            if name in LAYERS})
        self.mean = {name: rows.mean(axis=0) for name, rows in self.pooled(means).items()}

    def of(self, images, batch: int = 4) -> dict[str, np.ndarray]:
        """Layer -> f32[N,h,w,C], of images u8[N,H,W,3]."""
        images = np.asarray(images)
        padded = np.concatenate([images, images[:1].repeat(-len(images) % batch, axis=0)])
        found = [jax.tree.map(np.asarray, self._apply(self._variables, padded[at:at + batch]))
                 for at in range(0, len(padded), batch)]
        return {name: np.concatenate([one[name] for one in found])[:len(images)] for name in LAYERS}

    def pooled(self, images) -> dict[str, np.ndarray]:
        """Layer -> f32[N,C], its average over the places."""
        parts = [{name: maps.mean(axis=(1, 2)) for name, maps in self.of(images[at:at + 8], 8).items()}
                 for at in range(0, len(images), 8)]
        return {name: np.concatenate([part[name] for part in parts]) for name in LAYERS}


def similarity(maps: np.ndarray, queries: np.ndarray, mean=0.0) -> np.ndarray:
    """f32[N,h,w]: what each place of maps f32[N,h,w,C] adds to the cosine of its average with the query f32[N,C], both
    less the mean f32[C].

    Example:
        >>> import numpy as np
        >>> from benchmarks import pointing_maps
        >>> pointing_maps.similarity(np.array([[[[2.0, 0.0], [0.0, 2.0]]]]), np.array([[3.0, 0.0]])).round(3).tolist()
        [[[0.707, 0.0]]]
    """
    parts = (maps - mean) / (maps.shape[1] * maps.shape[2])
    wanted = unit(queries - mean) / np.linalg.norm(parts.sum(axis=(1, 2)), axis=-1, keepdims=True)
    return np.einsum("nhwc,nc->nhw", parts, wanted)


def grad_cam(maps: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """f32[N,h,w]: Grad-CAM (arXiv:1610.02391) of the same cosine, at the same map."""
    cosine = lambda one, query: unit(one.mean(axis=(0, 1))) @ unit(query)
    slopes = jax.jit(jax.vmap(jax.grad(cosine)))(maps, queries)
    return np.asarray(jnp.maximum((slopes.mean(axis=(1, 2), keepdims=True) * maps).sum(axis=-1), 0))


def unit(rows):
    """Rows of length 1."""
    return rows / jnp.linalg.norm(rows, axis=-1, keepdims=True) if isinstance(rows, jax.Array) else (
        rows / np.linalg.norm(rows, axis=-1, keepdims=True))


def readings(maps: dict, queries: dict, mean: dict) -> dict[str, np.ndarray]:
    """Name -> f32[N,h,w]: every way in which a map is read."""
    found = {}
    for name in LAYERS:
        found[name] = similarity(maps[name], queries[name])
        found[f"{name}, centred"] = similarity(maps[name], queries[name], mean[name])
        found[f"{name}, Grad-CAM"] = grad_cam(maps[name], queries[name])
    fine, coarse = (found[f"{name}, centred"] for name in LAYERS)
    scale = fine.shape[1] // coarse.shape[1]
    found["stage3 + stage4, centred"] = fine + coarse.repeat(scale, axis=1).repeat(scale, axis=2) / scale**2
    return found | {f"{name}, of 3 x 3 places": scipy.ndimage.uniform_filter(map_, (0, 3, 3), mode="nearest")
                    for name, map_ in found.items()}
