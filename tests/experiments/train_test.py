import errno
import os
import signal
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from geodesic.errors import UserError
from geodesic.experiments import tasks, train
from geodesic.experiments.checkpoints import checkpoint, imported
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.process import progress
from geodesic.experiments.protocols import evaluation
from geodesic.experiments.trained import embedding, network
from geodesic.experiments.training import model
from tests.experiments import tiny


@pytest.fixture
def one_device(monkeypatch):
    mesh = meshes.make(jax.devices()[:1])
    monkeypatch.setattr(meshes, "make", lambda: mesh)
    return mesh


class StopAt:
    """A stop signal that arrives at the n-th time it is asked for."""

    def __init__(self, calls=None):
        self.calls = calls

    @property
    def received(self):
        if self.calls is None:
            return None
        self.calls -= 1
        return signal.SIGTERM if self.calls <= 0 else None


def final_state(config, folder, mesh):
    built = model.build(config, tasks.get(config.task), 5, 20, mesh)
    with checkpoint.Checkpoints(str(folder)) as checkpoints:
        state, data = checkpoints.restore(model.abstract_state(built, mesh))
    return jax.device_get(state), data


@pytest.mark.parametrize("stops", [(5, 18), pytest.param((2, 7), marks=pytest.mark.slow)])
def test_resumed_equals_uninterrupted_bit_for_bit(one_device, tmp_path, stops):
    """Stopped between steps and in the last evaluation, or in the first and a later one."""
    config = tiny.config(tiny.faces(tmp_path / "faces"), total_steps=6, embedder__dropout=0.2,
                         evaluation__every_epochs=1.0)
    assert train.train(config, str(tmp_path / "whole"), StopAt()) == 0
    whole, whole_data = final_state(config, tmp_path / "whole", one_device)
    assert int(whole.step) == 6
    for calls in stops:  # it is asked before a step, and after each of the 3 batches of an evaluation
        folder = tmp_path / f"stopped{calls}"
        assert train.train(config, str(folder), StopAt(calls)) == 128 + signal.SIGTERM
        assert train.train(config, str(folder), StopAt()) == 0
        parts, parts_data = final_state(config, folder, one_device)
        assert whole_data == parts_data
        for (path, theirs), ours in zip(jax.tree_util.tree_leaves_with_path(whole), jax.tree.leaves(parts),
                                        strict=True):
            assert np.array_equal(theirs, ours), jax.tree_util.keystr(path)
        logged = [[(r["step"], r.get("loss"), r.get("map@r")) for r in progress.read_metrics(str(path))]
                  for path in (tmp_path / "whole", folder)]
        assert logged[0] == logged[1]


def test_training_learns_and_reports(one_device, tmp_path, capsys):
    config = tiny.config(tiny.faces(tmp_path / "faces"), total_steps=40, run__log_every_steps=20)
    train.train(config, str(tmp_path / "run"), StopAt())
    records = [record for record in progress.read_metrics(str(tmp_path / "run")) if "loss" in record]
    assert records[-1]["loss"] < 0.7 * records[0]["loss"]
    assert records[-1]["accuracy"] > 0.6
    assert "test  map@r" in capsys.readouterr().out


def test_what_a_run_leaves_is_checked_when_it_goes_on(one_device, tmp_path, capsys):
    """A damaged checkpoint is passed over, other images are refused, a finished run is left alone."""
    config = tiny.config(tiny.faces(tmp_path / "faces"), total_steps=6, run__checkpoint_every_steps=2,
                         run__keep_best="map@r", run__checkpoints_to_keep=2, evaluation__every_epochs=1.0)
    folder = tmp_path / "run"
    assert train.train(config, str(folder), StopAt()) == 0
    whole, _ = final_state(config, folder, one_device)
    manifest = folder / "checkpoints" / "6" / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"step": 6', b'"step": 5', 1))
    capsys.readouterr()
    assert train.train(config, str(folder), StopAt()) == 0
    output = capsys.readouterr().out
    assert "step 6 in" in output and "manifest.json is damaged" in output and "resuming at step 4" in output
    again, _ = final_state(config, folder, one_device)
    assert jax.tree.all(jax.tree.map(np.array_equal, whole, again))
    assert train.train(config, str(folder), StopAt()) == 0
    assert "is finished: 6 steps. Nothing to do." in capsys.readouterr().out
    (tmp_path / "faces" / "class2" / "3.jpg").unlink()
    with pytest.raises(ValueError, match=r"training data are not those of step 6: .*class2"):
        train.train(config, str(folder), StopAt())


def test_the_best_checkpoint_is_kept(one_device, tmp_path, monkeypatch):
    scores = iter([0.1, 0.9, 0.3, 0.2])
    monkeypatch.setattr(evaluation, "score", lambda *_: {"map@r": next(scores), "recall@1": 0.0, "eer": 0.0})
    config = tiny.config(tiny.faces(tmp_path / "faces"), total_steps=6, run__keep_best="map@r",
                         run__checkpoints_to_keep=1, evaluation__every_epochs=1.0)  # at steps 0, 2, 4 and 6
    assert train.train(config, str(tmp_path / "run"), StopAt()) == 0
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == ["2", "6"]
    with checkpoint.Checkpoints(str(tmp_path / "run")) as checkpoints:  # the last one's score came after it was saved
        assert [checkpoints.score(step) for step in (2, 6)] == [0.9, 0.2]
        assert checkpoints.restore(model.abstract_state(
            model.build(config, tasks.get(config.task), 5, 20, one_device), one_device))


def test_the_last_checkpoint_is_kept_as_the_best_one(one_device, tmp_path, monkeypatch):
    scores = iter([0.1, 0.5, 0.9])
    monkeypatch.setattr(evaluation, "score", lambda *_: {"map@r": next(scores), "recall@1": 0.0, "eer": 0.0})
    config = tiny.config(tiny.faces(tmp_path / "faces"), total_steps=4, run__keep_best="map@r",
                         run__checkpoints_to_keep=1, evaluation__every_epochs=1.0)
    assert train.train(config, str(tmp_path / "run"), StopAt()) == 0
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["4"]


@pytest.mark.parametrize("error", [pytest.param(RuntimeError("of a defect"), marks=pytest.mark.slow),
                                   UserError("of a score")])
def test_a_run_whose_last_evaluation_fails_has_its_last_checkpoint(one_device, tmp_path, monkeypatch, error):
    config = tiny.config(tiny.faces(tmp_path / "faces"), total_steps=3)
    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "score", lambda *_: (_ for _ in ()).throw(error))
        with pytest.raises(type(error), match=str(error)):
            train.train(config, str(tmp_path / "run"), StopAt())
    state, position = final_state(config, tmp_path / "run", one_device)
    assert int(state.step) == position["step"] == 3 and progress.last_evaluation(str(tmp_path / "run")) is None
    assert train.train(config, str(tmp_path / "run"), StopAt()) == 0  # the same command again evaluates, and is done
    assert progress.last_evaluation(str(tmp_path / "run")) == 3
    again, _ = final_state(config, tmp_path / "run", one_device)
    assert jax.tree.all(jax.tree.map(np.array_equal, state, again))


def test_test_images_that_are_all_alike_cost_nothing(one_device, tmp_path, capsys):
    config = tiny.config(tiny.faces(tmp_path / "faces"), total_steps=4, evaluation__every_epochs=1.0)
    test = tiny.faces(tmp_path / "test", 2, 3)
    config.test_data.path = str(test)
    for path in test.glob("*/*.jpg"):
        path.write_bytes((test / "class0" / "0.jpg").read_bytes())
    with pytest.raises(UserError, match=r"step 4 cannot be evaluated .*collapsed.*checkpoint saved"):
        train.train(config, str(tmp_path / "run"), StopAt())
    assert "step 2 cannot be evaluated on the test data: the embeddings have collapsed" in capsys.readouterr().out
    assert (tmp_path / "run" / "checkpoints" / "4").is_dir()


def refused(config, folder, match):
    """The line, before anything is written."""
    with pytest.raises(UserError, match=match):
        train.train(config, str(folder), StopAt())
    assert not folder.exists()


@pytest.mark.parametrize(("change", "match"), [
    ({"run__keep_best": "map"}, r"run\.keep_best 'map' is not a score .* known: recall@1, .*map@r, .*eer"),
    ({"evaluation__layer": "stage9"}, r"evaluation\.layer 'stage9' is not a layer of tiny; known: .*stage2"),
    ({"evaluation__recall_at": (1, 20)}, r"recall_at 20: the 20 test images leave 19 .* from 1 to 19"),
    ({"evaluation__recall_at": (0,)}, r"recall_at 0: "),
    ({"evaluation__every_epochs": 0.2}, r"every_epochs 0\.2 is half a step or less, .* has 2\.5: give 0\.4 for"),
    ({"evaluation__every_epochs": -1.0}, r"every_epochs -1 is half a step or less"),
    ({"test_data__classes": (1, 2)}, r"4 images of one class: verification needs images of two classes"),
    ({"train_data__classes": (1, 2)}, r"all 4 training images .* are of one class, 'class1'.*loss\.num_classes=N"),
    ({"test_data__name": "orl_faces", "test_data__path": ""}, r"the test data were left at orl_faces: give "
                                                              r"--config\.test_data\.name=image_folder"),
])
def test_what_cannot_be_is_refused_before_the_first_byte(one_device, tmp_path, change, match):
    refused(tiny.config(tiny.faces(tmp_path / "faces"), **change), tmp_path / "run", match)


def test_a_test_set_of_one_image_a_class_is_refused(one_device, tmp_path):
    config = tiny.config(tiny.faces(tmp_path / "faces"))
    config.test_data.path = str(tiny.faces(tmp_path / "test", 5, 1))
    refused(config, tmp_path / "run", "5 images of as many classes: no class has two images")


@pytest.mark.parametrize(("change", "rename", "match"), [
    ({"input__mean": (0.0, 0.0, 0.0)}, False, r"mean"),
    ({}, True, r"has another trunk than config\.embedder: "),
])
def test_weights_that_are_not_for_this_run_are_refused(one_device, tmp_path, change, rename, match):
    theirs = tiny.config(tiny.faces(tmp_path / "faces"), **change)
    embedder = network.make_embedder(theirs.embedder, theirs.head)
    variables = jax.device_get(network.init_embedder(embedder, 16, seed=0))
    if rename:
        variables["params"]["other"] = variables["params"].pop(next(iter(variables["params"])))
    imported.save(str(tmp_path / "weights"), theirs, variables, {})
    refused(tiny.config(tmp_path / "faces", init_from=str(tmp_path / "weights")), tmp_path / "run", match)


def test_one_class_trains_where_the_number_of_classes_is_given(one_device, tmp_path, capsys):
    config = tiny.config(tiny.faces(tmp_path / "faces"), train_data__classes=(0, 1), loss__num_classes=2, total_steps=1)
    assert train.train(config, str(tmp_path / "run"), StopAt()) == 0
    assert "warning: all 4 training images (image_folder" in capsys.readouterr().out


def test_the_start_names_both_sources_and_the_scores_need_no_recall_at_1(one_device, tmp_path, capsys):
    config = tiny.config(tiny.faces(tmp_path / "faces"), total_steps=1, train_data__classes=(0, 3),
                         evaluation__recall_at=(2, 4))
    assert train.train(config, str(tmp_path / "run"), StopAt()) == 0
    output = capsys.readouterr().out
    assert f"train data image_folder {tmp_path / 'faces'}, classes 0..2: 12 images of 3 of 5 classes" in output
    assert f"test data  image_folder {tmp_path / 'faces'}, classes 0..last: 20 images of 5 classes" in output
    assert "step 1: test  map@r " in output and "  recall@2 " in output and "  EER " in output


def test_a_checkpoint_that_cannot_be_written_ends_the_run_only_at_its_end(one_device, tmp_path, monkeypatch, capsys):
    config = tiny.config(tiny.faces(tmp_path / "faces"), total_steps=4, run__checkpoint_every_steps=1)
    close, full = checkpoint.seal.close, {2}

    def on_a_full_disk(folder, record):
        if record["step"] in full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        close(folder, record)

    monkeypatch.setattr(checkpoint.seal, "close", on_a_full_disk)
    assert train.train(config, str(tmp_path / "run"), StopAt()) == 0
    assert "the checkpoint of step 2 cannot be written: No space left on device; the run goes on" in \
        capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == ["1", "3", "4"]
    full.add(4)  # and stays full when the run tries again
    with pytest.raises(OSError, match=r"step 4 cannot be written: No space .* stops at step 4, .* make room"):
        train.train(config, str(tmp_path / "other"), StopAt())


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_the_run(one_device, tmp_path):
    config = tiny.config(tiny.faces(tmp_path / "faces"), total_steps=30, optimizer__learning_rate=1e30)
    with pytest.raises(UserError, match=r"lower optimizer\.learning_rate"):
        train.train(config, str(tmp_path / "run"), StopAt())


def test_evaluation_leaves_a_broken_image_out_and_says_so(one_device, tmp_path, capsys):
    folder = tiny.faces(tmp_path / "faces")
    config = tiny.config(folder, total_steps=1)
    test = tiny.faces(tmp_path / "test")
    config.test_data.path = str(test)
    (test / "class0" / "0.jpg").write_bytes(b"broken")
    assert train.train(config, str(tmp_path / "run"), StopAt()) == 0
    assert f"left out of the evaluation: cannot read the image {test / 'class0' / '0.jpg'}" in capsys.readouterr().out


def test_embed_source_keeps_the_order_and_names_problems(one_device, tmp_path):
    folder = tiny.faces(tmp_path)
    (folder / "class1" / "2.jpg").write_bytes(b"\xff\xd8 no")
    config = tiny.config(folder)
    source = train.data.test_source(config)
    variables = SimpleNamespace()

    def mean_of_pixels(given, images):
        assert given is variables
        return images.astype("float32").mean(axis=(1, 2))

    counts = []
    result = embedding.embed_source(mean_of_pixels, variables, source, one_device, input=config.input,
                                    loader=config.run, batch_size=8, progress=counts.append)
    assert sum(counts) == 20 and result.embeddings.shape == (20, 3)
    assert np.flatnonzero(~result.readable).tolist() == [6]
    assert (result.embeddings[6] == 0).all() and "2.jpg" in result.problems[0]
    by_class = result.embeddings[result.readable].mean(axis=1)
    assert np.ptp(by_class[:4]) < np.ptp(by_class)
