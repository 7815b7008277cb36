import errno
import os
import signal
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from geodesic.errors import UserError
from geodesic.experiments import train
from geodesic.experiments.checkpoints import checkpoint
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.process import progress
from geodesic.experiments.trained import embedding
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
    built = model.build(config, 5, 20, mesh)
    with checkpoint.Checkpoints(str(folder)) as checkpoints:
        state, data = checkpoints.restore(model.abstract_state(built, config, mesh))
    return jax.device_get(state), data


def test_resumed_equals_uninterrupted_bit_for_bit(one_device, tmp_path):
    """Stopped between steps, and in the first, a later and the last evaluation."""
    config = tiny.config(tiny.faces(tmp_path / "faces"), total_steps=6, embedder__dropout=0.2,
                         evaluation__every_epochs=1.0)
    assert train.train(config, str(tmp_path / "whole"), StopAt()) == 0
    whole, whole_data = final_state(config, tmp_path / "whole", one_device)
    assert int(whole.step) == 6
    for calls in (5, 2, 7, 18):  # it is asked before a step, and after each of the 3 batches of an evaluation
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
    monkeypatch.setattr(train.evaluation, "score", lambda *_: {"map@r": next(scores), "recall@1": 0.0, "eer": 0.0})
    config = tiny.config(tiny.faces(tmp_path / "faces"), total_steps=6, run__keep_best="map@r",
                         run__checkpoints_to_keep=1, evaluation__every_epochs=1.0)  # at steps 0, 2, 4 and 6
    assert train.train(config, str(tmp_path / "run"), StopAt()) == 0
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == ["2", "6"]
    with pytest.raises(ValueError, match=r"run\.keep_best 'map' is not a score of the evaluation: map@r, recall@1"):
        scores = iter([0.1])
        config.run.keep_best = "map"
        train.train(config, str(tmp_path / "other"), StopAt())


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
    result = embedding.embed_source(mean_of_pixels, variables, source, config, one_device, progress=counts.append)
    assert sum(counts) == 20 and result.embeddings.shape == (20, 3)
    assert np.flatnonzero(~result.readable).tolist() == [6]
    assert (result.embeddings[6] == 0).all() and "2.jpg" in result.problems[0]
    by_class = result.embeddings[result.readable].mean(axis=1)
    assert np.ptp(by_class[:4]) < np.ptp(by_class)
