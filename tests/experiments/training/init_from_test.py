import functools

import jax
import numpy as np
import pytest

from geodesic.experiments.checkpoints import imported
from geodesic.experiments.trained import network
from geodesic.experiments.training import init_from, model
from tests.experiments import tiny


def same(ours, theirs) -> bool:
    return jax.tree.all(jax.tree.map(np.array_equal, ours, theirs))


def with_head(hidden_sizes=(8, 6), **changes):
    config = tiny.config(head__name="mlp", loss__name="softmax", task="classification", **changes)
    config.head.mlp.hidden_sizes = hidden_sizes
    return config


@functools.cache
def variables(kind: str) -> dict:
    config = tiny.config() if kind == "neck" else with_head()
    return jax.device_get(network.init_embedder(network.make_embedder(config.embedder, config.head), 16, seed=7))


@pytest.mark.parametrize(("kind", "sizes", "taken", "said"), [
    ("neck", (8, 6), False, "trunk taken; new: head, what the loss learns"),
    ("head", (8, 6), True, "trunk and head taken; new: what the loss learns"),
    ("head", (8, 5), False, "trunk taken; new: head, what the loss learns"),  # its first layer would fit
])
def test_the_trunk_is_taken_and_a_head_as_a_whole_or_not_at_all(kind, sizes, taken, said, tmp_path, capsys):
    folder, theirs = str(tmp_path / "weights"), variables(kind)
    imported.save(folder, tiny.config(), theirs, {})
    config = with_head(sizes, init_from=folder)
    built, mesh = tiny.built(config, jax.devices()[:1])
    fresh = model.init_state(built, mesh)
    before = jax.device_get(fresh.params)
    started = jax.device_get(init_from.initialise(fresh, folder, config).params)
    assert capsys.readouterr().out == f"init_from {folder}: {said}\n"
    trunk = started["embedder"].keys() - {"head"}
    assert trunk == theirs["params"].keys() - {"head", "neck"}
    assert all(same(started["embedder"][name], theirs["params"][name]) for name in trunk)
    assert same(started["embedder"]["head"], (theirs["params"] if taken else before["embedder"])["head"])
    assert same(started["loss"], before["loss"])


def test_a_running_average_starts_from_what_was_taken_in_arrays_of_its_own(tmp_path):
    folder = str(tmp_path / "weights")
    imported.save(folder, tiny.config(), variables("neck"), {})
    config = tiny.config(init_from=folder, optimizer__ema_decay=0.9)
    built, mesh = tiny.built(config, jax.devices()[:1])
    started = init_from.initialise(model.init_state(built, mesh), folder, config)
    assert same(started.ema, {"params": started.params, "batch_stats": started.batch_stats})
    jax.jit(lambda state: state, donate_argnums=0)(started)  # refused where an array is there twice
