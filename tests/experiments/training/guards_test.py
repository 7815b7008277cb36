import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from geodesic import datasets
from geodesic.errors import UserError
from geodesic.experiments import train
from geodesic.experiments.process import progress
from geodesic.experiments.training import guards
from geodesic.experiments.training import step as steps
from tests.experiments import tiny
from tests.experiments.train_test import StopAt, final_state, one_device  # noqa: F401

# What an image that turns into NaN looks like to the test's `normalize`.
MARK = 255


def test_the_first_step_that_went_wrong_is_named(tmp_path):
    guard = guards.Guard(str(tmp_path), 2)
    for step, finite in ((4, True), (5, False), (6, False)):
        guard.watch(step, jnp.asarray(finite))
    with pytest.raises(guards.NotFiniteError) as found:
        guard.check()
    assert found.value.step == 5
    guard.check()  # what followed from it is forgotten


def test_skips_are_remembered_up_to_a_number(tmp_path):
    guard = guards.Guard(str(tmp_path), 2)
    guard.skip(5)
    guard.skip(3)
    assert guards.Guard(str(tmp_path), 2).skipped == [3, 5]
    with pytest.raises(UserError, match=r"step 9, after 2 skipped step\(s\): lower optimizer\.learning_rate"):
        guard.skip(9)


def test_one_bad_value_of_the_gradient_is_seen():
    config = tiny.config()
    built, mesh = tiny.built(config, jax.devices()[:2])
    step = steps.make_train_step(built, mesh)
    for bad in (False, True):
        state = train.models.init_state(built, mesh)
        if bad:  # of one class: its logits, and so the loss
            loss = {"prototypes": state.params["loss"]["prototypes"].at[3, 0].set(jnp.inf)}
            state = state.replace(params={**state.params, "loss": loss})
        _, scalars = step(state, steps.put_train_batch(built, mesh, tiny.batch()))
        assert bool(scalars["finite"]) is not bad


@pytest.fixture
def poisoned(monkeypatch):
    """poison(step, ...): the first images of these steps' batches become NaN on the device."""
    normalize, train_batches, poison = steps.normalize, datasets.train_batches, set()

    def with_nan(images, input):
        marked = jnp.all(images == MARK, axis=(1, 2, 3), keepdims=True)
        return jnp.where(marked, jnp.nan, normalize(images, input))

    class Batches:
        def __init__(self, *arguments, **options):
            self._batches = train_batches(*arguments, **options)

        def __getattr__(self, name):
            return getattr(self._batches, name)

        def __next__(self):
            step, batch = self._batches.get_state()["step"] + 1, dict(next(self._batches))
            if step in poison:
                batch["image"] = np.concatenate([np.full_like(batch["image"][:1], MARK), batch["image"][1:]])
            return batch

    monkeypatch.setattr(steps, "normalize", with_nan)
    monkeypatch.setattr(datasets, "train_batches", Batches)
    return poison.update


@pytest.mark.slow
def test_a_batch_that_is_not_finite_is_skipped_wherever_the_run_goes_back_to(
        one_device, tmp_path, poisoned, capsys):  # noqa: F811
    poisoned({5})
    results = []
    for name, every in (("near", 2), ("start", 100)):
        config = tiny.config(tmp_path / "faces" if results else tiny.faces(tmp_path / "faces"), total_steps=8,
                             run__checkpoint_every_steps=every, run__log_every_steps=3)
        folder = tmp_path / name
        assert train.train(config, str(folder), StopAt(6)) == 143
        assert train.train(config, str(folder), StopAt()) == 0
        results.append(final_state(config, folder, one_device)[0])
        assert json.loads((folder / "skipped.json").read_text()) == {"steps": [5]}
        assert f"in step 5: back to step {4 if every == 2 else 0}" in capsys.readouterr().out
        assert [r["step"] for r in progress.read_metrics(str(folder)) if "loss" in r] == [1, 3, 6, 8]
    assert int(results[0].step) == 8
    assert jax.tree.all(jax.tree.map(np.array_equal, *results))
    assert jax.tree.all(jax.tree.map(lambda leaf: np.isfinite(leaf).all(), results[0].params))


def test_when_all_goes_wrong_the_run_gives_up(one_device, tmp_path, poisoned):  # noqa: F811
    poisoned(range(3, 20))
    config = tiny.config(tiny.faces(tmp_path / "faces"), total_steps=8, run__checkpoint_every_steps=2,
                         run__max_rollbacks=2)
    with pytest.raises(UserError, match=r"step 5, after 2 skipped .* raise run\.max_rollbacks"):
        train.train(config, str(tmp_path / "run"), StopAt())
    assert json.loads((tmp_path / "run" / "skipped.json").read_text()) == {"steps": [3, 4]}
