import jax
import jax.numpy as jnp
import numpy as np
import pytest

from geodesic.errors import UserError
from geodesic.experiments import tasks, train
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.process import progress
from geodesic.experiments.trained import loading
from geodesic.experiments.training import distillation, init_from, model, step
from tests.experiments import tiny
from tests.experiments.train_test import StopAt, final_state, one_device  # noqa: F401

CLASS_NAMES = [f"class{label}" for label in range(5)]


def rows(size, count=6, seed=0):
    return np.random.default_rng((size, seed)).normal(size=(count, size)).astype(np.float32)


def plain_logits(student, teacher, temperature):
    ours, theirs = (values / temperature - np.log(np.exp(values / temperature).sum(1, keepdims=True))
                    for values in (student, teacher))
    return temperature ** 2 * (np.exp(theirs) * (theirs - ours)).sum(1).mean()


def plain_relations(student, teacher):
    def ratios(x):
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
        distances = [np.linalg.norm(x[i] - x[j]) for i in range(len(x)) for j in range(len(x)) if i != j]
        return np.array(distances) / np.mean(distances)

    difference = np.abs(ratios(student) - ratios(teacher))
    return np.where(difference < 1, difference ** 2 / 2, difference - 0.5).mean()


def test_terms_are_those_of_the_papers():
    student, teacher = (rows(5, seed=seed).astype(np.float64) for seed in (1, 2))
    for temperature in 1.0, 4.0:
        ours = distillation.logits(jnp.asarray(student), jnp.asarray(teacher), temperature)
        assert float(ours) == pytest.approx(plain_logits(student, teacher, temperature), rel=1e-5)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (student, teacher)]
    assert float(distillation.embedding(jnp.asarray(student), jnp.asarray(teacher))) == pytest.approx(
        ((unit[0] - unit[1]) ** 2).sum(1).mean() / 2, rel=1e-5)
    other = rows(9).astype(np.float64)
    assert float(distillation.relations(jnp.asarray(student), jnp.asarray(other))) == pytest.approx(
        plain_relations(student, other), rel=1e-5)


@pytest.mark.parametrize("kind", distillation.KINDS)
def test_a_student_like_its_teacher_has_no_loss_and_nothing_to_learn(kind):
    function = distillation.KINDS[kind] if kind != "logits" else lambda a, b: distillation.logits(a, b, 3.0)
    teacher = rows(7)
    teacher[1] = teacher[0]  # of one image twice, the distance is 0
    value, gradient = jax.value_and_grad(function)(teacher, teacher)
    assert abs(float(value)) < 1e-6 and np.abs(gradient).max() < 1e-6
    other, gradient = jax.value_and_grad(function)(rows(7, seed=3), teacher)
    assert float(other) > 0.01 and np.isfinite(gradient).all() and np.abs(gradient).max() > 1e-3


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """(the folder of images, the workdir of a run that was trained on them)."""
    root = tmp_path_factory.mktemp("teacher")
    config = tiny.config(tiny.faces(root / "faces"), total_steps=12, loss__name="softmax", optimizer__learning_rate=0.1)
    with pytest.MonkeyPatch.context() as patch:
        mesh = meshes.make(jax.devices()[:1])
        patch.setattr(meshes, "make", lambda: mesh)
        assert train.train(config, str(root / "run"), StopAt()) == 0
    return root / "faces", root / "run"


def student(teacher, kind, **changes):
    return tiny.config(teacher[0], **{"distill__teacher": str(teacher[1]), "distill__kind": kind,
                                      "loss__name": "softmax", "total_steps": 3} | changes)


def first_step(config, devices, change=lambda state: state):
    """(scalars, the state) of one step of a distilled run over so many devices."""
    built, mesh = tiny.built(config, jax.devices()[:devices])
    teach = distillation.load(config, built, CLASS_NAMES, mesh).teach
    batch = teach(step.put_train_batch(built, mesh, tiny.batch()))
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.sharding), batch) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype, leaf.sharding), step.abstract_batch(built, mesh))
    state, scalars = step.make_train_step(built, mesh)(change(model.init_state(built, mesh)), batch)
    return {name: float(value) for name, value in scalars.items()}, jax.device_get(state)


@pytest.mark.parametrize("kind", ["logits", *(
    pytest.param(kind, marks=pytest.mark.slow) for kind in ("embedding", "relations"))])
def test_a_run_that_starts_as_its_teacher_has_no_distillation_loss(teacher, kind):
    config = student(teacher, kind, embedder__batch_norm="frozen", distill__weight=1.0)
    learnt = loading.load(teacher[1], mesh=meshes.make(jax.devices()[:1])).classifier.params

    def as_the_teacher(state):
        state = init_from.initialise(state, str(teacher[1]), config)
        return state.replace(params={**state.params, "loss": jax.tree.map(jnp.asarray, learnt)})

    scalars, _ = first_step(config, 1, as_the_teacher)
    assert abs(scalars["distillation"]) < 1e-5 and abs(scalars["loss"]) < 1e-5 < scalars["task_loss"]
    assert first_step(config, 1)[0]["distillation"] > 1e-3


@pytest.mark.parametrize("numbers", [(8,), pytest.param((2, 4), marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["logits", *(
    pytest.param(kind, marks=pytest.mark.slow) for kind in ("embedding", "relations"))])
def test_many_devices_equal_one(teacher, kind, numbers):
    config = student(teacher, kind, embedder__batch_norm="synchronised", distill__weight=0.7)
    expected, state = first_step(config, 1)
    assert expected["loss"] == pytest.approx(0.3 * expected["task_loss"] + 0.7 * expected["distillation"], rel=1e-5)
    for devices in numbers:
        found, other = first_step(config, devices)
        assert found == pytest.approx(expected, rel=1e-4)
        for ours, theirs in zip(*(jax.tree.leaves(one.params["embedder"]) for one in (other, state)), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-5)


def test_a_state_has_nothing_of_the_teacher_and_its_update_has(teacher):
    plain = student(teacher, "embedding")
    plain.distill.teacher = ""
    states = [model.abstract_state(*tiny.built(config, jax.devices()[:1]))
              for config in (student(teacher, "embedding"), plain)]
    assert jax.tree.structure(states[0]) == jax.tree.structure(states[1])
    batch, mesh = tiny.batch(), meshes.make(jax.devices()[:1])
    built, _ = tiny.built(plain, jax.devices()[:1])
    assert distillation.load(plain, built, CLASS_NAMES, mesh).teach(batch) is batch
    first, second = (jax.tree.leaves(state.params["embedder"]) for state in (
        first_step(student(teacher, kind), 1)[1] for kind in ("embedding", "relations")))
    assert any(not np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.slow
def test_a_distilled_run_goes_on_exactly_and_with_no_other_teacher(teacher, one_device, tmp_path):  # noqa: F811
    config = student(teacher, "logits", total_steps=5, accumulation_steps=2)
    assert train.train(config, str(tmp_path / "whole"), StopAt()) == 0
    assert train.train(config, str(tmp_path / "stopped"), StopAt(3)) > 128
    variables = loading.embedder_variables
    other = lambda *arguments: (jax.tree.map(lambda values: values + np.float32(1e-3), variables(*arguments)[0]), 12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "embedder_variables", other)
        with pytest.raises(UserError, match=r"the weights of distill\.teacher have changed since step 2 was saved"):
            train.train(config, str(tmp_path / "stopped"), StopAt())
    assert train.train(config, str(tmp_path / "stopped"), StopAt()) == 0
    whole, parts = (final_state(config, tmp_path / name, one_device)[0] for name in ("whole", "stopped"))
    assert int(whole.step) == 5 and jax.tree.all(jax.tree.map(np.array_equal, whole, parts))
    records = [record for record in progress.read_metrics(str(tmp_path / "whole")) if "distillation" in record]
    assert len(records) == 5 and all(record["distillation"] > 0 for record in records)


def refused(config, match, task="embedding"):
    mesh = meshes.make(jax.devices()[:1])
    with pytest.raises(UserError, match=match):
        distillation.load(config, model.build(config, tasks.get(task), 5, 20, mesh), CLASS_NAMES, mesh)


def test_refusals(teacher, tmp_path):
    for changes, match in (
            ({"distill__teacher": str(tmp_path / "none")}, r"distill\.teacher: no run in .*none"),
            ({"input__image_size": 24}, r"sees images of 16 pixels, and this run has input\.image_size 24"),
            ({"distill__weight": 0.0}, "distill.weight is above 0 and at most 1"),
            ({"distill__temperature": 0.0}, "distill.temperature above 0; got 0.5 and 0"),
            ({"distill__kind": "attention"}, "distill.kind is logits, embedding, relations; got 'attention'"),
            ({"loss__name": "triplet"}, "distill.kind 'logits' is for losses whose classes are one softmax"),
            ({"loss__name": "sigmoid"}, "distill.kind 'logits' is for losses whose classes are one softmax"),
            ({"distill__kind": "embedding", "embedder__embedding_size": 8},
             "those of the teacher have 16 numbers, those of this run 8: use distill.kind=relations")):
        refused(student(teacher, "logits", **changes), match)
    mesh, config = meshes.make(jax.devices()[:1]), student(teacher, "logits")
    built = model.build(config, tasks.get("embedding"), 5, 20, mesh)
    with pytest.raises(UserError, match=r"tells other classes apart than this run \(5 and 5\)"):
        distillation.load(config, built, CLASS_NAMES[::-1], mesh)
    with pytest.raises(UserError, match=r"tells other classes apart than this run \(5 and 6\)"):
        distillation.load(config, built._replace(num_classes=6), CLASS_NAMES, mesh)
    loaded = distillation.load(student(teacher, "relations", embedder__embedding_size=8), built, CLASS_NAMES[:3], mesh)
    assert "tiny in" in loaded.description and "step 12: its relations, weight 0.5" in loaded.description


def test_a_missing_teacher_is_refused_before_the_first_byte(teacher, one_device, tmp_path):  # noqa: F811
    with pytest.raises(UserError, match=r"distill\.teacher: no run in"):
        train.train(student(teacher, "logits", distill__teacher="nowhere"), str(tmp_path / "run"), StopAt())
    assert not (tmp_path / "run").exists()
