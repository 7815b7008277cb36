import re

import jax
import numpy as np
import optax
import pytest

from geodesic.experiments.compiled import collectives
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.trained import embedding
from geodesic.experiments.training import model, step
from tests.experiments import tiny


def run(config, devices, steps, classes=5):
    """(losses, final state on the host, the compiled step's text) after `steps` steps over `devices` devices."""
    built, mesh = tiny.built(config, jax.devices()[:devices], classes)
    state = model.init_state(built, mesh)
    train_step = step.make_train_step(built, mesh)
    losses, text = [], None
    for index in range(steps):
        batch = step.put_train_batch(built, mesh, tiny.batch(config.batch_size, classes, index))
        if text is None:
            text = train_step.lower(state, batch).compile().as_text()
        state, scalars = train_step(state, batch)
        losses.append(float(scalars["loss"]))
    return losses, jax.device_get(state), text


@pytest.mark.parametrize(("loss", "numbers"), [
    ("arcface", (2, 4, 8)), *(pytest.param(loss, (8,), marks=pytest.mark.slow) for loss in ("cosface", "normface"))])
def test_many_devices_equal_one(loss, numbers):
    """Synchronised BatchNorm makes the mathematics the same; 5 classes do not divide by any of the numbers."""
    config = tiny.config(embedder__batch_norm="synchronised", loss__name=loss)
    losses_1, state_1, _ = run(config, 1, 3)
    for devices in numbers:
        losses, state, _ = run(config, devices, 3)
        np.testing.assert_allclose(losses, losses_1, rtol=1e-5)
        state.params["loss"]["prototypes"] = state.params["loss"]["prototypes"][:5]
        for (path, ours), theirs in zip(jax.tree_util.tree_leaves_with_path(state.params),
                                        jax.tree.leaves(state_1.params), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-5, err_msg=jax.tree_util.keystr(path))


def test_hlo_moves_no_images_no_logits_and_no_prototypes():
    """Over 8 devices, collectives carry embeddings and scalars per row, and gradients of the trunk."""
    classes, size = 1032, 48  # sizes that nothing else in the program has
    config = tiny.config(embedder__embedding_size=size, batch_size=16)
    _, _, text = run(config, 8, 1, classes)
    moves = r"= \S+ (all-gather|all-to-all|collective-permute)"
    gathered = [line for line in text.splitlines() if re.search(moves, line)]
    assert gathered, "the embeddings must be gathered"
    for line in gathered:
        shapes = [tuple(map(int, dims.split(","))) for dims in re.findall(r"\[([\d,]+)\]", line.split(" all-")[0])]
        for shape in shapes:
            assert np.prod(shape) <= 16 * size, line    # [B, D] at most: no images, no [B, C], no [C, D]
    for line in re.findall(r".*= .*(?:all-reduce|reduce-scatter)\(.*", text):
        assert f"{classes}," not in line and f",{classes}]" not in line and f"[{classes // 8}," not in line, line


def test_prototypes_and_their_momentum_are_split_by_class():
    config = tiny.config()
    built, mesh = tiny.built(config, jax.devices())
    state = model.init_state(built, mesh)
    split = {jax.tree_util.keystr(path) for path, leaf in jax.tree_util.tree_leaves_with_path(state)
             if leaf.sharding.spec == meshes.SPLIT}
    assert len(split) == 2 and all("prototypes" in path for path in split)
    assert state.params["loss"]["prototypes"].shape == (8, 16)  # 5 classes, rounded up to the devices


@pytest.mark.parametrize("optimizer", [pytest.param("sgd", marks=pytest.mark.slow), "adamw"])
def test_accumulation_is_the_mean_of_its_parts(optimizer):
    """Two half batches in one update equal the average of their gradients; with frozen inputs to BatchNorm, exactly."""
    config = tiny.config(optimizer__name=optimizer, optimizer__learning_rate=1e-3)
    batch = tiny.batch(4)
    twice = {key: np.concatenate([value, value]) for key, value in batch.items()}
    config.batch_size = 4
    built, mesh = tiny.built(config, jax.devices()[:1])
    once = step.make_train_step(built, mesh)
    state, scalars = once(model.init_state(built, mesh), step.put_train_batch(built, mesh, batch))
    config.accumulation_steps, config.batch_size = 2, 8
    built, _ = tiny.built(config, jax.devices()[:1], examples=40)
    accumulated = step.make_train_step(built, mesh)
    other, other_scalars = accumulated(model.init_state(built, mesh), step.put_train_batch(built, mesh, twice))
    assert float(other_scalars["loss"]) == pytest.approx(float(scalars["loss"]), rel=1e-6)
    for ours, theirs in zip(jax.tree.leaves(other.params), jax.tree.leaves(state.params), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)
    assert int(other.step) == 1  # the schedule counts updates


def test_accumulation_differs_from_one_part_only():
    """The second part matters: a different second half changes the update."""
    config = tiny.config(accumulation_steps=2)
    built, mesh = tiny.built(config, jax.devices()[:1])
    train_step = step.make_train_step(built, mesh)
    batch, changed = tiny.batch(8), tiny.batch(8)
    changed["image"][4:] = 255 - changed["image"][4:]
    states = [train_step(model.init_state(built, mesh), step.put_train_batch(built, mesh, b))[0]
              for b in (batch, changed)]
    kernels = [state.params["embedder"]["conv1"]["kernel"] for state in states]
    assert not np.allclose(*kernels)


def test_the_state_is_donated():
    config = tiny.config()
    built, mesh = tiny.built(config, jax.devices()[:2])
    state = model.init_state(built, mesh)
    step.make_train_step(built, mesh)(state, step.put_train_batch(built, mesh, tiny.batch()))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))


def test_bfloat16_trunk_keeps_float32_parameters_and_a_near_loss():
    losses_32, _, _ = run(tiny.config(), 1, 2)
    losses_16, state, _ = run(tiny.config(embedder__dtype="bfloat16"), 1, 2)
    assert losses_16 == pytest.approx(losses_32, rel=0.02) and losses_16 != losses_32
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {np.dtype("float32")}


def test_embed_step_averages_flips():
    config = tiny.config()
    built, mesh = tiny.built(config, jax.devices()[:2])
    variables = model.embedder_variables(model.init_state(built, mesh))
    images = tiny.batch(4)["image"]

    def embed(images, flips=False):
        placed = meshes.put_batch(mesh, {"image": images})["image"]
        return np.asarray(embedding.make_embed_step(
            built.embedder, mesh, config.input, average_horizontal_flips=flips)(variables, placed))

    plain, mirrored = embed(images), embed(images[:, :, ::-1])
    np.testing.assert_allclose(embed(images, flips=True), (plain + mirrored) / 2, rtol=1e-4, atol=1e-6)
    assert not np.allclose(plain, mirrored)


def lowered(devices, **changes):
    config = tiny.config(batch_size=32, **changes)
    built, mesh = tiny.built(config, jax.devices()[:devices])
    state, batch = model.abstract_state(built, mesh), step.abstract_batch(built, mesh)
    return step.make_train_step(built, mesh).lower(state, batch)


@pytest.mark.parametrize("form", ["auto", "native"])
def test_gradients_of_a_bfloat16_trunk_cross_devices_in_float32(form):
    text = lowered(2, embedder__dtype="bfloat16", embedder__convolution=form).as_text()
    operands = re.findall(r'"stablehlo.all_reduce".*?\}\) : \(([^)]*)\)', text, re.S)
    assert len(operands) > 30 and "bf16" in text
    assert not [operand for operand in operands if "bf16" in operand]


@pytest.mark.parametrize("loss", ["arcface", pytest.param("multi_similarity", marks=pytest.mark.slow)])
def test_accumulated_gradients_cross_devices_once(loss):
    once, four = (collectives.bytes_moved(lowered(2, loss__name=loss, accumulation_steps=parts).compile().as_text())
                  for parts in (1, 4))
    assert set(four) == set(once)
    for kind, count in once.items():  # every part has a loss and a few other numbers of its own to send
        assert count <= four[kind] <= count + 4 * 32, (kind, once, four)


def trunk(tree):
    return {name: value for name, value in tree.items() if name != "neck"}


def same(ours, theirs):
    return jax.tree.all(jax.tree.map(lambda a, b: np.array_equal(a, b), ours, theirs))


def states(config, count, skip=()):
    """The states on the host, from the one before the first step on, and the scalars of the steps."""
    built, mesh = tiny.built(config, jax.devices()[:2])
    state, train_step = model.init_state(built, mesh), step.make_train_step(built, mesh)
    found, reported = [jax.device_get(state)], []
    for index in range(count):
        if index in skip:
            state = step.skip(state)
        else:
            batch = step.put_train_batch(built, mesh, tiny.batch(config.batch_size, seed=index))
            state, scalars = train_step(state, batch)
            reported.append(jax.device_get(scalars))
        found.append(jax.device_get(state))
    return found, reported


@pytest.mark.parametrize("accumulation_steps", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_frozen_trunk_stays_bit_for_bit(accumulation_steps):
    config = tiny.config(optimizer__trunk_learning_rate_factor=0.0, embedder__neck="bn_fc_bn", embedder__dropout=0.5,
                         accumulation_steps=accumulation_steps)
    (first, *_, last), reported = states(config, 3)
    assert same(trunk(last.params["embedder"]), trunk(first.params["embedder"]))
    assert same(trunk(last.batch_stats), trunk(first.batch_stats))
    for part in (lambda state: state.params["embedder"]["neck"], lambda state: state.batch_stats["neck"],
                 lambda state: state.params["loss"]):
        changed = jax.tree.map(lambda a, b: not np.array_equal(a, b), part(first), part(last))
        assert jax.tree.all(changed), changed
    for scalars in reported:
        assert scalars["finite"] and 0 < scalars["gradient_norm"] < np.inf


def test_head_only_steps_are_those_of_a_frozen_trunk():
    """Two steps, and one that is skipped, which counts: the fourth is the first in which the trunk learns."""
    frozen, _ = states(tiny.config(optimizer__trunk_learning_rate_factor=0.0), 3, skip=[1])
    found, _ = states(tiny.config(optimizer__head_only_epochs=3 / 2.5), 4, skip=[1])
    for ours, theirs in zip(found[:4], frozen, strict=True):
        assert same(ours.params, theirs.params) and same(ours.batch_stats, theirs.batch_stats)
    for before, after in ((found[3].params["embedder"], found[4].params["embedder"]),
                          (found[3].batch_stats, found[4].batch_stats)):
        assert not any(same(before[name], after[name]) for name in before)


def test_the_rate_that_is_told_is_applied_after_a_skipped_step():
    config = tiny.config(optimizer__learning_rate=0.1, optimizer__momentum=0.0, optimizer__weight_decay=0.0,
                         num_epochs=4)
    found, reported = states(config, 3, skip=[1])
    told = [0.1 * (1 - place / 10) ** 2 for place in (0, 2)]
    for before, after, scalars, rate in zip((found[0], found[2]), (found[1], found[3]), reported, told, strict=True):
        moved = optax.tree.norm(optax.tree.sub(after.params["embedder"], before.params["embedder"]))
        assert scalars["learning_rate"] == pytest.approx(rate, rel=1e-6)
        assert moved / scalars["gradient_norm"] == pytest.approx(rate, rel=1e-3)


def norms(tree):
    """The norm of the loss's parameters and of each part of the embedder."""
    parts = {f"embedder.{name}": part for name, part in tree["embedder"].items()} | {"loss": tree["loss"]}
    return {name: float(optax.tree.norm(part)) for name, part in parts.items()}


GOLDEN_STEP = {
    "accuracy": 0.0, "finite": 1.0, "gradient_norm": 13.0424, "learning_rate": 0.00064, "loss": 28.6816,
    "target_cosine": -0.664754, "gradient of embedder.bn1": 0.491738, "gradient of embedder.conv1": 2.6099,
    "gradient of embedder.neck": 11.8313, "gradient of embedder.stage1_block1": 2.66121,
    "gradient of embedder.stage2_block1": 3.99843, "gradient of loss": 132.686, "update of embedder.bn1": 0.000432979,
    "update of embedder.conv1": 0.00269623, "update of embedder.neck": 0.00768643,
    "update of embedder.stage1_block1": 0.00266158, "update of embedder.stage2_block1": 0.00358652,
    "update of loss": 0.125278, "parameter of embedder.bn1": 2.82831, "parameter of embedder.conv1": 2.50793,
    "parameter of embedder.neck": 4.01131, "parameter of embedder.stage1_block1": 6.92536,
    "parameter of embedder.stage2_block1": 10.5932, "parameter of loss": 0.313361,
}
GOLDEN_LOSSES = [10.403852, 10.323795, 9.622344]


def test_golden_step():
    """All scalars of the second step from seed 0, whose momentum is not empty, of two devices and two parts."""
    config = tiny.config(accumulation_steps=2)
    built, mesh = tiny.built(config, jax.devices()[:2])
    state, train_step = model.init_state(built, mesh), step.make_train_step(built, mesh)
    first, second = (step.put_train_batch(built, mesh, tiny.batch(8, seed=index)) for index in range(2))
    state, _ = train_step(state, first)
    rng = jax.random.fold_in(jax.random.key(config.seed), state.step)
    gradients, *_ = jax.jit(lambda state, batch, rng: step.accumulate(
        state, batch, rng, model=built, mesh=mesh))(state, second, rng)
    before = jax.device_get(state.params)
    state, scalars = train_step(state, second)
    params = jax.device_get(state.params)
    found = {name: float(value) for name, value in scalars.items()}
    for kind, tree in (("gradient", gradients), ("update", optax.tree.sub(params, before)), ("parameter", params)):
        found |= {f"{kind} of {name}": norm for name, norm in norms(tree).items()}
    assert found == pytest.approx(GOLDEN_STEP, rel=1e-3), (
        "A training step has changed. If you changed the mathematics, the initialisation, the random numbers or the "
        "default configuration on purpose, put these numbers in GOLDEN_STEP and say why in the commit; otherwise you "
        f"have found a defect.\nGOLDEN_STEP = {({name: float(f'{value:.6g}') for name, value in found.items()})}")


@pytest.mark.slow
def test_golden_steps():
    """Three steps from seed 0. If you changed the mathematics, the initialisation or the random numbers on purpose,
    put the printed losses in GOLDEN_LOSSES and say why in the commit; otherwise you have found a defect."""
    losses, _, _ = run(tiny.config(optimizer__learning_rate=1e-5), 1, 3)
    assert losses == pytest.approx(GOLDEN_LOSSES, rel=1e-4), f"got {losses}"
