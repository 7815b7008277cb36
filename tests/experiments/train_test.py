import signal
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from experiments import checkpoint, embedding, model, progress, train
from experiments import mesh as meshes
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
    config = tiny.config(tiny.faces(tmp_path / "faces"), total_steps=6, embedder__dropout=0.2,
                         evaluation__every_epochs=1.0)
    assert train.train(config, str(tmp_path / "whole"), StopAt()) == 0
    assert train.train(config, str(tmp_path / "parts"), StopAt(4)) == 128 + signal.SIGTERM
    assert train.train(config, str(tmp_path / "parts"), StopAt()) == 0
    whole, whole_data = final_state(config, tmp_path / "whole", one_device)
    parts, parts_data = final_state(config, tmp_path / "parts", one_device)
    assert whole_data == parts_data and int(whole.step) == 6
    for (path, theirs), ours in zip(jax.tree_util.tree_leaves_with_path(whole), jax.tree.leaves(parts), strict=True):
        assert np.array_equal(theirs, ours), jax.tree_util.keystr(path)
    logged = [[(r["step"], r.get("loss"), r.get("map@r")) for r in progress.read_metrics(str(tmp_path / name))]
              for name in ("whole", "parts")]
    assert logged[0] == logged[1]


def test_training_learns_and_reports(one_device, tmp_path, capsys):
    config = tiny.config(tiny.faces(tmp_path / "faces"), total_steps=40, run__log_every_steps=20)
    train.train(config, str(tmp_path / "run"), StopAt())
    records = [record for record in progress.read_metrics(str(tmp_path / "run")) if "loss" in record]
    assert records[-1]["loss"] < 0.7 * records[0]["loss"]
    assert records[-1]["accuracy"] > 0.6
    assert "test  map@r" in capsys.readouterr().out


def test_a_loss_that_is_not_finite_stops_the_run(one_device, tmp_path):
    config = tiny.config(tiny.faces(tmp_path / "faces"), total_steps=30, optimizer__learning_rate=1e30)
    with pytest.raises(FloatingPointError, match=r"lower optimizer\.learning_rate"):
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
