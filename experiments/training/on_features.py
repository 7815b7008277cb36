"""Trains a loss on features that are kept (trained/features.py): what lies under the loss is not run again."""

import functools
import time
from typing import NamedTuple

import jax
import numpy as np
import optax

from geodesic.datasets import order
from geodesic.errors import UserError
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.trained import network
from geodesic.experiments.trained.classifier import Classifier
from geodesic.experiments.training import model, optimizer, rules, unsampled


class Trained(NamedTuple):
    """classifier: what has been learnt, with `scores` and `predict` of features. losses: of each step.
    images_per_second: from the second step on."""

    classifier: Classifier
    losses: np.ndarray
    images_per_second: float


def train(config, values: np.ndarray, labels: np.ndarray, num_classes: int = 0) -> Trained:
    """Trains the loss of a configuration on features, with its optimizer, schedule, sampling and seed.

    config: of it `loss`, `optimizer`, `schedule`, `sampling`, `batch_size`, `num_epochs`, `total_steps` and `seed` are
    used; the embedder's factors and clipping have nothing to act on. values: f32[N,D], such as those that are mapped
    from the disk: rows of a batch are read when their turn comes. labels: i[N]. num_classes: default: as many as the
    labels say.

    Raises UserError for values and labels that do not fit, and for what the loss or the optimizer does not know.
    """
    labels = np.asarray(labels)
    if values.ndim != 2 or labels.shape != values.shape[:1]:
        raise UserError(f"features of {values.shape} and labels of {labels.shape}: expected [N,D] and [N]")
    classes, size = num_classes or int(labels.max()) + 1, config.batch_size
    rules.check_sampling(config)
    mesh = meshes.make(jax.devices()[:1])
    per_epoch = len(labels) / size
    steps = config.total_steps or max(round(config.num_epochs * per_epoch), 1)
    schedule = optimizer.make_schedule(config, per_epoch, steps)
    rule, loss = optimizer.make_optimizer(config.optimizer, schedule), model.make_loss(config, classes, mesh)
    places = order.make(labels, config.seed, size, config.sampling)
    _, rng = network.split(config.seed)
    params, state = jax.jit(lambda rng: loss.init(rng, values.shape[1]))(rng)
    params = {"embedder": {}, "loss": params}
    moments, step, history, started = rule.init(params), _step(loss, rule, config.seed), [], 0.0
    for index in range(steps):
        rows = np.array([places.record(place) for place in range(index * size, (index + 1) * size)])
        params, state, moments, value = step(params, state, moments, index, np.asarray(values[rows]), labels[rows])
        history.append(value)
        if index == 0:
            jax.block_until_ready(value)
            started = time.monotonic()
    history = np.array(jax.device_get(history))
    seconds = time.monotonic() - started
    learnt = jax.tree.map(np.asarray, params["loss"])
    return Trained(Classifier(loss, learnt), history, (steps - 1) * size / max(seconds, 1e-9))


def _step(loss, rule: optax.GradientTransformation, seed: int):
    @functools.partial(jax.jit, donate_argnums=(0, 1, 2))
    def step(params, state, moments, index, rows, labels):
        rng = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), index), 0)  # as of an update's only part

        def value(learning):
            found, new, _ = loss.apply(learning, unsampled.clear_sampled(state), rows, {"label": labels}, rng)
            return found, new

        (found, new), gradient = jax.value_and_grad(value, has_aux=True)(params["loss"])
        params, moments = unsampled.update(rule, {"embedder": {}, "loss": gradient}, moments, params, new)
        return params, new, moments, found

    return step
