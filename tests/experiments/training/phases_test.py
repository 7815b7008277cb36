"""Parts of the network that do not learn, for a time or ever."""

import jax
import numpy as np
import pytest

from geodesic.configs import default
from geodesic.experiments import plan
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.training import model, phases, step
from tests.experiments import tiny
from tests.experiments.training.step_test import same, states

PARTS = ("conv1", "stage1_block1", "stage2_block1", "neck")


def first_steps(**options):
    config = default.get_config()
    config.optimizer.update(options)
    return phases.first_steps(config.optimizer, PARTS, 10)


def test_first_steps():
    assert first_steps() == dict.fromkeys(PARTS, 0)
    assert first_steps(head_only_epochs=2.5) == {**dict.fromkeys(PARTS, 25), "neck": 0}
    assert first_steps(frozen=(("embedder/conv1", 0), ("embedder/stage*", 1.0)), head_only_epochs=0.5) == {
        "conv1": None, "stage1_block1": 10, "stage2_block1": 10, "neck": 0}
    assert first_steps(frozen=(("embedder/stage2_*", 3.0), ("embedder/stage*", 0))) == {
        "conv1": 0, "stage1_block1": None, "stage2_block1": 30, "neck": 0}
    assert first_steps(frozen=(("embedder", 0.001),)) == dict.fromkeys(PARTS, 1)


def test_phases_unfreeze_one_after_the_other():
    config = default.get_config()
    starts = {"conv1": None, "stage1_block1": 30, "stage2_block1": 10, "neck": 0}
    found = phases.make(config.optimizer, starts)
    assert found == ((0, 10, 30), (("conv1", "stage1_block1", "stage2_block1"), ("conv1", "stage1_block1"), ("conv1",)))
    assert phases.describe(found) == ["from step 0: frozen conv1, stage1_block1, stage2_block1",
                                      "from step 10: frozen conv1, stage1_block1", "from step 30: frozen conv1"]
    config.optimizer.trunk_learning_rate_factor = 0.0
    assert phases.make(config.optimizer, {**starts, "neck": 10}) == ((0, 10), (PARTS, PARTS[:3]))
    assert phases.describe(phases.Phases()) == []


@pytest.mark.parametrize(("frozen", "told"), [
    ((("embedder/stage9_*", 0),), r"'embedder/stage9_\*' is no part of the network; it has embedder/bn1, .*conv1"),
    ((("loss/prototypes", 0),), "'loss/prototypes' is no part of the network"),
    (("embedder/conv1",), "expected a pattern and the epoch until which it holds"),
    ((("embedder/conv1", -1),), "expected a pattern and the epoch"),
])
def test_what_cannot_be_frozen_is_refused_before_the_first_step(frozen, told):
    with pytest.raises(ValueError, match=told):
        tiny.built(tiny.config(optimizer__frozen=frozen), jax.devices()[:1])


def moments(state, part):
    """Arrays of the optimizer that are of a part of the embedder."""
    return [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state.opt_state)
            if f"['embedder']['{part}']" in jax.tree_util.keystr(path)]


@pytest.mark.parametrize("accumulation_steps", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_frozen_parts_stay_bit_for_bit_with_their_statistics_and_moments(accumulation_steps):
    """The stem never learns, the first stage from the third step on; a step that is skipped counts."""
    config = tiny.config(optimizer__name="adamw", optimizer__weight_decay=0.5, accumulation_steps=accumulation_steps,
                         optimizer__frozen=(("embedder/conv1", 0), ("embedder/bn1", 0), ("embedder/stage1_*", 2 / 2.5)))
    found, reported = states(config, 4, skip=[1])
    first, last = found[0], found[-1]
    of = lambda state, part: (state.params["embedder"][part], state.batch_stats.get(part))
    for part in ("conv1", "bn1"):
        assert same(of(first, part), of(last, part)) and moments(first, part) == []
    block = "stage1_block1"
    assert same(of(first, block), of(found[2], block)) and same(moments(first, block), moments(found[2], block))
    for before, after, part in ((found[2], found[3], block), (found[0], found[1], "stage2_block1"),
                                (found[0], found[1], "neck")):
        pairs = zip(jax.tree.leaves(of(before, part)), jax.tree.leaves(of(after, part)), strict=True)
        assert all(not np.array_equal(a, b) for a, b in pairs), part
    assert all(scalars["finite"] and scalars["gradient_norm"] > 0 for scalars in reported)


def test_a_part_that_starts_later_starts_as_if_new():
    """Adam's first update has the size of the rate, whatever the gradient."""
    config = tiny.config(optimizer__name="adamw", optimizer__weight_decay=0.0, schedule__name="constant",
                         optimizer__frozen=(("embedder/stage1_*", 2 / 2.5),))
    found, _ = states(config, 3)
    kernels = [state.params["embedder"]["stage1_block1"]["conv1"]["kernel"] for state in found]
    assert np.median(np.abs(kernels[3] - kernels[2])) == pytest.approx(1e-3, rel=0.01)


@pytest.mark.parametrize("start", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_a_rule_that_applies_the_rate_itself_has_that_of_its_step(start):
    """LARS: the first update of a kernel is its norm times .001 and the rate, of the first step in which it learns."""
    frozen = (("embedder/stage1_*", start / 2.5),) if start else ()
    config = tiny.config(optimizer__name="lars", optimizer__learning_rate=1.0, num_epochs=4, optimizer__frozen=frozen,
                         optimizer__weight_decay=0.0, optimizer__trunk_learning_rate_factor=0.5)
    found, reported = states(config, start + 1, skip=range(1, start))
    before, after = (state.params["embedder"]["stage1_block1"]["conv1"]["kernel"] for state in found[-2:])
    rate = (1 - start / 10) ** 2
    assert reported[-1]["learning_rate"] == pytest.approx(rate, rel=1e-6)
    assert np.linalg.norm(after - before) == pytest.approx(0.5 * 1e-3 * rate * np.linalg.norm(before), rel=1e-3)


def test_what_lies_below_a_frozen_part_still_learns():
    config = tiny.config(optimizer__frozen=(("embedder/stage2_*", 0), ("embedder/neck", 0)), embedder__neck="bn_fc_bn")
    found, _ = states(config, 1)
    before, after = (state.params["embedder"] for state in found)
    assert {part for part in before if same(before[part], after[part])} == {"stage2_block1", "neck"}
    assert same(found[0].batch_stats["neck"], found[1].batch_stats["neck"])


def planned(**changes):
    config = tiny.config(loss__num_classes=1000, batch_size=32, embedder__convolution="native", **changes)
    return plan.make_plan(config, meshes.make(jax.devices()[:2]))


def test_there_is_no_backward_pass_below_the_lowest_part_that_learns():
    """With stem and first stage frozen, what falls away are the products of the stem for its kernel, of the first stage
    for its kernels and its maps, and of the second stage for the map that it is given."""
    frozen = (("embedder/conv1", 0), ("embedder/bn1", 0), ("embedder/stage1_*", 0))
    learns, half = planned(), planned(optimizer__frozen=frozen)
    stem, stage1, entry = 256 * 27 * 8, 2 * 2 * 256 * 72 * 8, 64 * 72 * 16 + 64 * 8 * 16
    fallen = 16 * 2 * (stem + stage1 + entry)  # 16 images of a device; a multiply-add is two
    assert 0.85 * fallen < learns.flops - half.flops < 1.5 * fallen
    assert half.temporaries < 0.8 * learns.temporaries
    kept = sum(half.arrays[name] for name in half.arrays if name.startswith("optimizer"))
    assert kept < sum(learns.arrays[name] for name in learns.arrays if name.startswith("optimizer"))
    assert "phases:\n  from step 0: frozen bn1, conv1, stage1_block1" in plan.describe(half, 0)
    assert "phases" not in plan.describe(learns, 0)


def test_a_frozen_top_saves_the_products_of_its_kernels_alone():
    learns, top = planned(), planned(optimizer__frozen=(("embedder/stage2_*", 0),))
    kernels = 16 * 2 * 64 * (72 * 16 + 144 * 16 + 8 * 16)
    assert 0.85 * kernels < learns.flops - top.flops < 1.5 * kernels


@pytest.mark.slow
def test_frozen_parts_on_many_devices():
    config = tiny.config(embedder__batch_norm="synchronised", optimizer__frozen=(("embedder/stage1_*", 1 / 2.5),))
    found = {}
    for devices in (1, 4):
        built, mesh = tiny.built(config, jax.devices()[:devices])
        state, train_step = model.init_state(built, mesh), step.make_train_step(built, mesh)
        for index in range(3):
            state, scalars = train_step(state, step.put_train_batch(built, mesh, tiny.batch(8, seed=index)))
        found[devices] = float(scalars["loss"]), jax.device_get(state.params["embedder"])
    assert found[1][0] == pytest.approx(found[4][0], rel=1e-5)
    for ours, theirs in zip(*(jax.tree.leaves(params) for _, params in found.values()), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-5)
