"""Views whose maps are kept: the head learns what it would through the trunk, which sees each view once."""

import os
import shutil

import jax
import numpy as np
import pytest

from geodesic.errors import UserError
from geodesic.experiments import tasks, train
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.process import progress
from geodesic.experiments.trained import loading
from geodesic.experiments.training import kept_views
from geodesic.experiments.training import model as models
from geodesic.experiments.training import step as steps
from tests.experiments import drawn
from tests.experiments.train_test import StopAt, one_device  # noqa: F401

TASK = tasks.get("detection")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return drawn.data(tmp_path_factory.mktemp("drawn"))


def options(data, **changes):
    """24 pictures are three steps an epoch: two epochs see all views for the first time."""
    return drawn.config(data, **{"optimizer__trunk_learning_rate_factor": 0.0, "detection__kept_views": 2,
                                 "total_steps": 15, "box_augment__horizontal_flip": 0.5, "batch_size": 8,
                                 "box_augment__scale": (0.8, 1.2), "box_augment__mosaic": 0.3,
                                 "run__checkpoint_every_steps": 1, "run__log_every_steps": 1} | changes)


def losses(folder) -> dict[int, float]:
    return {record["step"]: record["loss"] for record in progress.read_metrics(str(folder)) if "loss" in record}


def test_a_step_on_kept_maps_is_the_step_through_the_trunk(data, tmp_path):
    mesh = meshes.make(jax.devices()[:4])
    config = options(data)
    source = TASK.train_source(config)
    made = TASK.batches(source, config)
    batch = next(made)
    made.close()
    found = {}
    for kept in (2, 0):
        config = options(data, detection__kept_views=kept)
        model = models.build(config, TASK, 2, 24, mesh)
        state = models.init_state(model, mesh)
        views = kept_views.make(config, model, mesh, source, str(tmp_path))
        seen = views.of(batch if kept else {name: batch[name] for name in batch if name != "view"}, state)
        assert isinstance(seen["image"], dict) == bool(kept)
        placed = steps.put_train_batch(model, mesh, seen)
        assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), placed) == jax.tree.map(
            lambda leaf: (leaf.shape, leaf.dtype), steps.abstract_batch(model, mesh))
        state, scalars = steps.make_train_step(model, mesh)(state, placed)
        found[kept] = jax.device_get((state.params, scalars))
    assert found[2][1]["positives"] > 10
    assert float(found[2][1]["loss"]) == pytest.approx(float(found[0][1]["loss"]), rel=1e-3)
    assert float(found[2][1]["gradient_norm"]) == pytest.approx(float(found[0][1]["gradient_norm"]), rel=1e-2)


@pytest.fixture
def seen(monkeypatch):
    """The sizes of the batches that the trunk has seen."""
    sizes, make_maps = [], kept_views._make_maps

    def counted(*args):
        compute = make_maps(*args)
        return lambda images: sizes.append(len(images)) or compute(images)

    monkeypatch.setattr(kept_views, "_make_maps", counted)
    return sizes


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """A run that nothing happened to."""
    folder, mesh = tmp_path_factory.mktemp("whole") / "run", meshes.make(jax.devices()[:1])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(meshes, "make", lambda: mesh)
        assert train.train(options(data), str(folder), StopAt()) == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("removed", [False, True])
def test_the_trunk_sees_each_view_once_and_a_stopped_run_is_the_same(
        one_device, data, whole, seen, tmp_path, removed):  # noqa: F811
    assert not (whole / "views").exists()
    assert train.train(options(data), str(tmp_path / "run"), StopAt(2 + 7)) == 143
    assert seen == [8] * 6
    (folder,) = (tmp_path / "run" / "views").iterdir()
    assert sorted(os.listdir(folder)) == ["about.json", "layer0.npy", "layer1.npy", "seen"]
    assert np.load(folder / "layer0.npy", mmap_mode="r").dtype == np.float16
    seen.clear()
    if removed:
        shutil.rmtree(folder)
    assert train.train(options(data), str(tmp_path / "run"), StopAt()) == 0
    assert len(seen) in ((6, 7, 8) if removed else (0,))  # a batch is computed again where one of its views is missing
    assert losses(tmp_path / "run") == losses(whole)
    assert loading.load(tmp_path / "run").digest == loading.load(whole).digest
    (tmp_path / "run" / "views" / "of a process that was killed at its end").mkdir(parents=True)
    assert train.train(options(data), str(tmp_path / "run"), StopAt()) == 0
    assert not (tmp_path / "run" / "views").exists()


def test_another_trunk_or_other_views_have_a_folder_of_their_own(data, tmp_path, monkeypatch):
    monkeypatch.setattr(kept_views, "_make_maps", lambda model, mesh, variables: lambda images: {
        name: np.zeros((len(images), *leaf.shape[1:]), np.float16) for name, leaf in model.batch["image"].items()})
    mesh = meshes.make(jax.devices()[:1])
    for changes in ({}, {"box_augment__mosaic": 0.0}, {"detection__kept_views": 3}):
        config = options(data, **changes)
        source = TASK.train_source(config)
        model = models.build(config, TASK, 2, 24, mesh)
        made = TASK.batches(source, config)
        for seed in (0, 1):
            views = kept_views.make(config, model, mesh, source, str(tmp_path))
            views.of(next(made), models.init_state(model._replace(seed=seed), mesh))
            views.close()
        made.close()
    assert len(list((tmp_path / "views").iterdir())) == 6


@pytest.mark.parametrize(("changes", "line"), [
    ({"optimizer__trunk_learning_rate_factor": 0.1}, "keeps what a frozen trunk gives, and .* learns: set"),
    ({"optimizer__frozen": (("embedder/stage*", 0),), "optimizer__trunk_learning_rate_factor": 1.0}, "and bn1 learns"),
    ({"detection__kept_views": -1}, "come round again, 0 for new ones in each epoch; got -1"),
])
def test_what_cannot_be_kept_is_said_first(data, tmp_path, changes, line):
    with pytest.raises(UserError, match=line):
        train.train(options(data, **changes), str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_bucket_keeps_no_views(data):
    config = options(data)
    with pytest.raises(UserError, match="maps files of a disk, and gs://a/run is a bucket"):
        kept_views.make(config, None, None, None, "gs://a/run")


def test_a_view_that_was_seen_costs_no_pass_through_the_trunk(data, seen, tmp_path):
    mesh, config = meshes.make(jax.devices()[:1]), options(data)
    source, model = TASK.train_source(config), models.build(config, TASK, 2, 24, mesh)
    state, first = models.init_state(model, mesh), None
    for round_ in range(2):  # of a process, and of the next one
        views, made = kept_views.make(config, model, mesh, source, str(tmp_path)), TASK.batches(source, config)
        found = [views.of(next(made), state) for _ in range(12)]  # four epochs: each view twice
        made.close()
        views.close()
        assert seen == [8] * 6, round_
        first = first or found
        for one, other in zip(first, found, strict=True):
            jax.tree.map(np.testing.assert_array_equal, one, other)
    views.remove()
    assert not (tmp_path / "views").exists()
