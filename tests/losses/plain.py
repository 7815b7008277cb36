"""Every class loss written plainly: NumPy, float64, the whole matrix of cosines. With the losses' defaults.

Each is a function of embeddings x [B,D], the params, labels y [B] and the key, as `Loss.apply` has them; what the loss
remembers is as before the first step.
"""

import math

import jax
import numpy as np


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def cosines(x, params):
    """f64[B,C], or [B,C,K] of several centres."""
    return np.einsum("bd,c...d->bc...", unit(x), unit(params["prototypes"]))


def logsumexp(x, axis):
    largest = x.max(axis=axis, keepdims=True)
    return np.squeeze(largest, axis) + np.log(np.exp(x - largest).sum(axis=axis))


def own(y, classes):
    return y[:, None] == np.arange(classes)


def cross_entropy(logits, y):
    return np.mean(logsumexp(logits, axis=1) - logits[own(y, logits.shape[1])])


def margined(cos, y, target, scale=64.0, others=None):
    """The cross-entropy with the logits scale * target(cos_y), and scale * others of the other classes."""
    mine = own(y, cos.shape[1])
    logits = np.where(mine, target(cos[mine])[:, None], cos if others is None else others)
    return cross_entropy(scale * logits, y)


def arc(margin=0.5):
    return lambda c: np.where(c > np.cos(math.pi - margin), np.cos(np.arccos(c) + margin),
                              c - margin * np.sin(math.pi - margin))


def arcface(x, params, y, rng):
    return margined(cosines(x, params), y, arc())


def cosface(x, params, y, rng):
    return margined(cosines(x, params), y, lambda c: c - 0.4)


def normface(x, params, y, rng):
    return margined(cosines(x, params), y, lambda c: c)


def sphereface(x, params, y, rng):
    def target(c):
        angle = 1.35 * np.arccos(c)
        k = np.floor(angle / math.pi)
        return (-1) ** k * np.cos(angle) - 2 * k

    return margined(cosines(x, params), y, target)


def combined(x, params, y, rng):
    return margined(cosines(x, params), y, lambda c: np.cos(np.arccos(c) + 0.5))


def subcenter_arcface(x, params, y, rng):
    return margined(cosines(x, params).max(axis=2), y, arc())


def curricularface(x, params, y, rng):
    cos = cosines(x, params)
    c = cos[own(y, cos.shape[1])]
    t = 0.01 * c.mean()
    hard = cos > np.cos(np.arccos(c) + 0.5)[:, None]
    return margined(cos, y, arc(), others=np.where(hard, cos * (t + cos), cos))


def adaface(x, params, y, rng):
    norm = np.clip(np.linalg.norm(x, axis=1), 1e-3, 100)
    mean, std = 0.01 * norm.mean() + 0.99 * 20, 0.01 * norm.std(ddof=1) + 0.99 * 100
    z = np.clip((norm - mean) / (std + 1e-3) * 0.333, -1, 1)
    return margined(cosines(x, params), y, lambda c: np.cos(
        np.clip(np.arccos(c) - 0.4 * z, 1e-3, math.pi - 1e-3)) - (0.4 + 0.4 * z))


def magface(x, params, y, rng):
    norm = np.clip(np.linalg.norm(x, axis=1), 10, 110)
    margin = 0.45 + (0.8 - 0.45) * (norm - 10) / (110 - 10)
    easy = lambda c: np.where(c > 0, np.cos(np.arccos(c) + margin), c)
    return margined(cosines(x, params), y, easy) + np.mean(35 * (norm / 110 ** 2 + 1 / norm))


def elasticface(x, params, y, rng):
    margins = 0.5 + 0.05 * np.asarray(jax.random.normal(jax.random.split(rng)[1], y.shape), np.float64)
    return margined(cosines(x, params), y, lambda c: np.cos(np.arccos(c) + margins))


def adacos(x, params, y, rng):
    cos = cosines(x, params)
    mine = own(y, cos.shape[1])
    before = math.sqrt(2) * math.log(cos.shape[1] - 1)
    mean = np.where(mine, 0, np.exp(before * cos)).sum(axis=1).mean()
    scale = max(math.log(mean), 1) / math.cos(min(math.pi / 4, np.median(np.arccos(cos[mine]))))
    return margined(cos, y, lambda c: c, scale)


def proxy_nca(x, params, y, rng):
    return cross_entropy(-((unit(x)[:, None] - unit(params["prototypes"])) ** 2).sum(axis=2), y)


def proxy_anchor(x, params, y, rng):
    cos = cosines(x, params)
    mine = own(y, cos.shape[1])
    near = np.log1p(np.where(mine, np.exp(-32 * (cos - 0.1)), 0).sum(axis=0))
    far = np.log1p(np.where(mine, 0, np.exp(32 * (cos + 0.1))).sum(axis=0))
    return near.sum() / mine.any(axis=0).sum() + far.mean()


def soft_triple(x, params, y, rng):
    cos = cosines(x, params)
    weights = np.exp(cos / 0.1)
    similarity = (weights * cos).sum(axis=2) / weights.sum(axis=2)
    centres = unit(params["prototypes"])
    upper = np.triu_indices(centres.shape[1], 1)
    between = np.einsum("ckd,cld->ckl", centres, centres)[:, *upper]
    distances = np.sqrt(np.maximum(2 - 2 * between, 0) + 1e-5)
    return margined(similarity, y, lambda s: s - 0.01, 20.0) + 0.2 * distances.mean() / 2


def softmax(x, params, y, rng):
    return cross_entropy(x @ params["prototypes"].T + params["bias"], y)


def sigmoid(x, params, y, rng):
    logits = x @ params["prototypes"].T + params["bias"]
    return np.mean(np.logaddexp(0, logits) - own(y, len(params["bias"])) * logits)
