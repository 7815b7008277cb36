import os
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from geodesic.experiments.checkpoints import checkpoint, plain_path

ODD = ["run [a]", "lr=[0.1]", "[0-9]", "[x]", "[", "]", "[!a]", "a\\b", "\\\\server", "end\\", "gs:", "logs:", "s3:",
       "file:", "\udce9", "new\nline", "star*", "a?b", "{a,b}", "$HOME", "~", "a|b", "100%", "a%5Bb", "#1", "a;b",
       "\u540d", "\u00e9", "'q'", '"q"', " lead", "trail ", "-d", "\x01", "<b>", "x" * 200]


def abstract(tree):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), tree)


@pytest.mark.parametrize("name", ODD, ids=ascii)
def test_a_folder_of_any_name_gives_back_what_was_saved(tmp_path, name):
    state = {"kernel": jnp.arange(8.0), "step": jnp.asarray(3)}
    workdir = os.path.join(tmp_path, name, "run")
    with checkpoint.Checkpoints(workdir, keep=1) as checkpoints:
        checkpoints.save(3, state, {"next_index": 30})
    with checkpoint.Checkpoints(workdir) as checkpoints:
        restored, data = checkpoints.restore(abstract(state))
        arrays, _ = checkpoints.read(lambda name: name == "kernel")
    np.testing.assert_array_equal(restored["kernel"], np.arange(8.0))
    np.testing.assert_array_equal(arrays["kernel"], np.arange(8.0))
    assert data == {"next_index": 30}
    assert os.listdir(tmp_path) == [name] and os.listdir(os.path.join(tmp_path, name)) == ["run"]  # and nowhere else
    # The folder holds all of it: under another name it is the same checkpoint.
    os.rename(workdir, os.path.join(tmp_path, "plain"))
    with checkpoint.Checkpoints(os.path.join(tmp_path, "plain")) as checkpoints:
        np.testing.assert_array_equal(checkpoints.restore(abstract(state))[0]["kernel"], np.arange(8.0))


def test_links_are_gone_afterwards(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("run", "[run]"):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        with plain_path.of(str(folder)) as path:
            assert os.path.samefile(path, folder) and (path == str(folder)) == (name == "run")
            assert not set(path) & set("[]\\")
    with checkpoint.Checkpoints(str(tmp_path / "runs" / "[run]"), keep=1) as checkpoints:
        checkpoints.save(1, {"kernel": jnp.arange(8.0)}, {})
    assert os.listdir(tmp_path) == ["runs"]


def test_what_cannot_work_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(plain_path.os, "access", lambda *_: False)
    with pytest.raises(ValueError, match=r"cannot be stored in .* because of '\[\]'.*choose another --workdir"):
        checkpoint.Checkpoints(str(tmp_path / "run[1]"), keep=1)
    assert not os.listdir(tmp_path)
