import jax
import pytest

from geodesic.experiments.training import model
from geodesic.experiments.training import step as steps
from tests.experiments import tiny

DEVICES = jax.devices()[:2]


@pytest.mark.parametrize("parts", [1, 4])
def test_a_memory_starts_at_its_step_however_many_parts_a_step_has(parts):
    config = tiny.config(loss__name="multi_similarity", loss__memory_size=64, loss__memory_start_step=2,
                         accumulation_steps=parts)
    built, mesh = tiny.built(config, DEVICES)
    state, train_step = model.init_state(built, mesh), steps.make_train_step(built, mesh)
    remembered = []
    for update in range(4):
        state, _ = train_step(state, steps.put_train_batch(built, mesh, tiny.batch(seed=update)))
        remembered.append(int(state.loss_state["memory"]["remembered"]))
    assert remembered == [0, 0, 8, 16]


@pytest.mark.parametrize("names, options, told", [
    (("triplet", "n_pairs"), {"sample_rate": 0.5}, "sample_rate is a share of prototypes"),
    (("triplet", "n_pairs"), {"sample_update": "sampled"}, "update says what becomes of prototypes"),
    (("arcface", "cosface"), {"memory_size": 64}, "cross-batch memory is for losses of pairs"),
])
def test_a_combination_refuses_what_none_of_its_losses_can_do(names, options, told):
    config = tiny.config(loss__name="combine")
    config.loss.combine.update(dict.fromkeys(names, 1.0))
    config.loss.update(options)
    with pytest.raises(ValueError, match=told):
        model.make_loss(config, 5, None)
