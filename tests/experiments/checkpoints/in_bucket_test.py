"""The checkpoints of a workdir in a bucket: the promises that those on a disk keep."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from geodesic.errors import UserError
from geodesic.experiments.checkpoints import checkpoint, seal
from geodesic.experiments.process import storage
from tests import buckets


def state(value=1.0):
    return {"params": {"kernel": jnp.full((6, 4), value)}, "step": jnp.int32(value)}


def abstract(tree):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), tree)


def saved(run, *steps, scores=None, **options):
    with checkpoint.Checkpoints(run, **{"keep": 2, **options}) as checkpoints:
        for step in steps:
            checkpoints.save(step, state(float(step)), {"next_index": 10 * step}, (scores or {}).get(step))
    assert not checkpoints.failure
    return run


def test_the_newest_and_the_best_are_kept(bucket):
    run = saved(f"{bucket}/run", 1, 2, 3, 4, scores={1: 0.9, 2: 0.1, 3: 0.2, 4: 0.3}, best="map@r")
    with checkpoint.Checkpoints(run, keep=2, best="map@r") as checkpoints:
        assert checkpoints.all_steps() == [1, 3, 4] and checkpoints.latest_step() == 4
        assert checkpoints.improves(0.95) and not checkpoints.improves(0.9)
        restored, data = checkpoints.restore(abstract(state()))
        assert float(restored["params"]["kernel"][0, 0]) == 4 and data == {"next_index": 40}
        checkpoints.set_score(4, 0.99)
        assert checkpoints.all_steps() == [3, 4] and checkpoints.score(4) == 0.99
    assert not [name for name in storage.files(f"{run}/checkpoints") if name.startswith(("1/", "2/"))]


def test_without_its_manifest_a_step_was_never_saved(bucket):
    run = saved(f"{bucket}/run", 1, 2)
    storage.remove(f"{run}/checkpoints/2/manifest.json")
    with checkpoint.Checkpoints(run) as reader:
        assert reader.all_steps() == [1]
        assert storage.exists(f"{run}/checkpoints/2")  # who reads removes nothing
    with checkpoint.Checkpoints(run, keep=2) as checkpoints:
        assert checkpoints.restore(abstract(state()))[1] == {"next_index": 10}
    assert not storage.exists(f"{run}/checkpoints/2")


def test_a_damaged_one_is_named_and_set_aside_and_the_one_before_restored(bucket, capsys):
    run = saved(f"{bucket}/run", 1, 2)
    buckets.flip(f"{run}/checkpoints/2/parts/0-00000", 50)
    with checkpoint.Checkpoints(run) as reader:
        with pytest.raises(UserError, match=r"step 2 in .* is damaged: parts/0-00000 has changed; array params"):
            reader.read(lambda name: True, 2)
        arrays, record = reader.read(lambda name: name.startswith("params"))
        assert record["step"] == 1 and {*arrays} == {"params/kernel"}
    with checkpoint.Checkpoints(run, keep=2) as checkpoints:
        assert checkpoints.restore(abstract(state()))[1] == {"next_index": 10}
        assert checkpoints.all_steps() == [1]
        checkpoints.save(2, state(2.0), {"next_index": 20})
        checkpoints.wait()
        assert checkpoints.restore(abstract(state()))[1] == {"next_index": 20}
    assert {*storage.files(f"{run}/checkpoints/damaged-2")} == {"manifest.json", "parts/0-00000"}
    assert "has changed; array params/kernel; trying the one before" in capsys.readouterr().out


@pytest.mark.parametrize("lost", ["parts/0-00000", "manifest.json"])
def test_a_save_that_fails_costs_that_checkpoint_alone(bucket, monkeypatch, capsys, lost):
    run, write = saved(f"{bucket}/run", 1), storage.write

    def failing(path, content):
        if path.endswith(f"checkpoints/2/{lost}"):
            raise storage.LostError(110, f"{path} could not be reached")
        write(path, content)

    monkeypatch.setattr(storage, "write", failing)
    with checkpoint.Checkpoints(run, keep=2) as checkpoints:
        checkpoints.save(2, state(2.0), {})
        checkpoints.wait()
        assert "could not be reached" in checkpoints.failure and checkpoints.all_steps() == [1]
        checkpoints.save(3, state(3.0), {})
        checkpoints.wait()
        assert not checkpoints.failure and checkpoints.all_steps() == [1, 3]
    assert not storage.exists(f"{run}/checkpoints/2")
    assert "the checkpoint of step 2 cannot be written: " in capsys.readouterr().out


@pytest.mark.parametrize("kind", [storage.LostError, PermissionError])
def test_what_cannot_be_reached_is_not_damaged(bucket, monkeypatch, kind):
    run = saved(f"{bucket}/run", 1, 2)

    def lost(path):
        raise kind(110, f"{path} could not be reached")

    with checkpoint.Checkpoints(run, keep=2) as checkpoints:
        monkeypatch.setattr(storage, "read", lost)
        with pytest.raises(kind):
            checkpoints.restore(abstract(state()))
        with pytest.raises(kind):
            checkpoints.read(lambda name: True)
        assert checkpoints.all_steps() == [1, 2]


def test_a_bucket_that_is_away_ends_no_run(bucket, monkeypatch, capsys):
    """Whatever the loop asks of it, but the save itself, which says that it has failed."""
    with checkpoint.Checkpoints(saved(f"{bucket}/run", 1, 2), keep=2, best="map@r") as checkpoints:
        def lost(path, *_, **__):
            raise storage.LostError(110, f"{path} could not be reached")

        monkeypatch.setattr(storage, "_tried", lost)
        assert not checkpoints.improves(1.0)
        checkpoints.set_score(2, 1.0)
        checkpoints.save(3, state(3.0), {})
        checkpoints.wait()
        assert "step 3 cannot be written" in checkpoints.failure
    assert "the score of step 2 cannot be written: " in capsys.readouterr().out


def test_checkpoints_of_a_disk_are_restored_from_a_bucket_and_back(bucket, tmp_path):
    """A run may move: orbax's files lie in the bucket then, and packed ones on the disk."""
    run, folder, back = f"{bucket}/run", str(tmp_path / "run"), str(tmp_path / "back")
    storage.send(saved(folder, 1), run)
    saved(run, 2)
    with checkpoint.Checkpoints(run) as reader:
        assert reader.restore(abstract(state()), 1)[1] == {"next_index": 10}
        assert reader.read(lambda name: name == "step", 1)[0]["step"] == 1
    storage.fetch(run, back)
    saved(back, 3, keep=3)
    with checkpoint.Checkpoints(back) as reader:
        for step in (1, 2, 3):
            restored, data = reader.restore(abstract(state()), step)
            np.testing.assert_array_equal(restored["params"]["kernel"], np.full((6, 4), step))
            assert data == {"next_index": 10 * step}
    content = bytearray(storage.read(f"{back}/checkpoints/2/parts/0-00000"))
    content[3] ^= 4
    (tmp_path / "back/checkpoints/2/parts/0-00000").write_bytes(content)
    with checkpoint.Checkpoints(back) as reader, pytest.raises(UserError, match=r"step 2 .* parts/0-00000 has changed"):
        reader.restore(abstract(state()), 2)


def test_there_is_none(bucket):
    with pytest.raises(FileNotFoundError, match="no checkpoint in"):
        checkpoint.Checkpoints(f"{bucket}/run")
    with checkpoint.Checkpoints(f"{bucket}/run", keep=1) as checkpoints, pytest.raises(FileNotFoundError):
        checkpoints.restore(abstract(state()))
    with pytest.raises(seal.DamagedError):
        seal.read(f"{bucket}/run/checkpoints/1")
