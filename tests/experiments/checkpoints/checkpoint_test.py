import pathlib
import shutil
import threading

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from geodesic.experiments.checkpoints import checkpoint, digests
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.training.sharding import state_shardings


def state(value=1.0, size=4):
    return {"params": {"kernel": jnp.full((size, 2), value)}, "step": jnp.asarray(3, jnp.int32)}


def abstract(tree):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding),
                        jax.tree.map(jnp.asarray, tree))


@pytest.fixture
def saved(tmp_path):
    with checkpoint.Checkpoints(str(tmp_path), keep=2) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, state(float(step)), {"next_index": 10 * step})
    return str(tmp_path)


def test_the_latest_comes_back_with_its_place_in_the_data(saved):
    with checkpoint.Checkpoints(saved) as checkpoints:
        restored, data = checkpoints.restore(abstract(state()))
    np.testing.assert_array_equal(restored["params"]["kernel"], state(3.0)["params"]["kernel"])
    assert data == {"next_index": 30}


def test_only_the_newest_are_kept(saved):
    with checkpoint.Checkpoints(saved) as checkpoints:
        assert checkpoints.restore(abstract(state()), 2)[1] == {"next_index": 20}
        with pytest.raises(FileNotFoundError, match=r"no checkpoint of step 1 .*it has 2, 3"):
            checkpoints.restore(abstract(state()), 1)


@pytest.mark.parametrize(("other", "message"), [
    (state(size=5), r"params/kernel is float32 \(4, 2\) there and float32 \(5, 2\) here"),
    ({**state(), "extra": jnp.zeros(3)}, r"extra is absent there and float32 \(3,\) here"),
    ({"step": jnp.asarray(0)}, r"params/kernel is float32 \(4, 2\) there and absent here"),
])
def test_another_models_arrays_are_refused(saved, other, message):
    with checkpoint.Checkpoints(saved) as checkpoints, pytest.raises(ValueError, match=message):
        checkpoints.restore(abstract(other))


def test_reading_where_nothing_is(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint in"):
        checkpoint.Checkpoints(str(tmp_path / "absent"))
    assert not (tmp_path / "absent").exists()


def test_digest_names_every_bit():
    first = checkpoint.digest(state())
    assert first == checkpoint.digest(jax.device_get(state()))
    changed = state()
    changed["params"]["kernel"] = changed["params"]["kernel"].at[3, 1].add(1e-7)
    assert checkpoint.digest(changed) != first
    assert checkpoint.digest({"params": {"other": state()["params"]["kernel"]}, "step": state()["step"]}) != first


def files_of(saved, step):
    return sorted(path for path in (pathlib.Path(saved) / "checkpoints" / str(step)).rglob("*") if path.is_file())


def flip(path, bit):
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def test_a_flipped_bit_is_named_and_the_one_before_restored(saved, capsys):
    largest = max(files_of(saved, 3), key=lambda path: path.stat().st_size)
    flip(largest, 8 * largest.stat().st_size // 2)
    with checkpoint.Checkpoints(saved, keep=2) as checkpoints:
        restored, data = checkpoints.restore(abstract(state()))
        assert checkpoints.all_steps() == [2]
    assert restored["params"]["kernel"][0, 0] == 2.0 and data == {"next_index": 20}
    assert "the checkpoint of step 3 in" in (warning := capsys.readouterr().out) and "is damaged" in warning
    assert (pathlib.Path(saved) / "checkpoints" / "damaged-3").is_dir()


def test_the_damaged_array_is_named(saved):
    """Of one array too large to lie inside of a database node, the file with its values."""
    tree = {**state(), "noise": np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)}
    with checkpoint.Checkpoints(saved, keep=2) as checkpoints:
        checkpoints.save(4, tree, {})
    largest = max(files_of(saved, 4), key=lambda path: path.stat().st_size)
    flip(largest, 8 * largest.stat().st_size // 2)
    with checkpoint.Checkpoints(saved) as checkpoints:
        with pytest.raises(ValueError, match=r"step 4 .* damaged: arrays/.* has changed; array noise$"):
            checkpoints.restore(abstract(tree), 4)


def test_arrays_that_are_not_those_saved_are_named(saved, monkeypatch):
    """Whole files, and other bits: what a fault between memory and disk leaves."""
    restore = ocp.StandardCheckpointer.restore

    def corrupt(*arguments, **options):
        restored = restore(*arguments, **options)
        return {**restored, "params": {"kernel": restored["params"]["kernel"].at[1, 1].add(2 ** -20)}}

    monkeypatch.setattr(ocp.StandardCheckpointer, "restore", corrupt)
    with checkpoint.Checkpoints(saved) as checkpoints:
        with pytest.raises(ValueError, match=r"step 3 .* damaged: array params/kernel came back with other"):
            checkpoints.restore(abstract(state()), 3)
        with pytest.raises(ValueError, match=r"all 2 checkpoints .* are damaged"):
            checkpoints.restore(abstract(state()))


@pytest.mark.parametrize("harm", ["truncate", "delete", "empty", "strange"])
def test_every_harmed_file_is_found(saved, harm):
    for path in files_of(saved, 3):
        content = path.read_bytes()
        stranger = path.with_name("stranger")
        if harm == "delete":
            path.unlink()
        elif harm == "strange":
            stranger.write_bytes(b"")
        else:
            path.write_bytes(content[:len(content) // 2] if harm == "truncate" else b"")
        if harm == "strange" or content:
            with checkpoint.Checkpoints(saved) as checkpoints:
                assert checkpoints.restore(abstract(state()))[1] == {"next_index": 20}, path
        path.write_bytes(content)
        stranger.unlink(missing_ok=True)
    with checkpoint.Checkpoints(saved) as checkpoints:
        assert checkpoints.restore(abstract(state()))[1] == {"next_index": 30}


@pytest.mark.parametrize(("best", "kept"), [("", [4, 5]), ("map@r", [2, 4, 5]), ("eer", [1, 4, 5])])
def test_the_best_is_kept_beside_the_newest(tmp_path, best, kept):
    with checkpoint.Checkpoints(str(tmp_path), keep=2, best=best) as checkpoints:
        for step, score in ((1, 0.1), (2, 0.9), (3, None), (4, 0.2), (5, 0.9)):
            checkpoints.save(step, state(), {}, score)
    with checkpoint.Checkpoints(str(tmp_path)) as checkpoints:
        assert checkpoints.all_steps() == kept


def test_a_save_that_fails_is_reported_and_the_next_one_works(saved, capsys):
    folder = pathlib.Path(saved) / "checkpoints"
    with checkpoint.Checkpoints(saved, keep=2) as checkpoints:
        shutil.rmtree(folder)
        folder.write_text("in the way")
        checkpoints.save(4, state(4.0), {"next_index": 40})
        checkpoints.wait()
        assert "cannot be written" in checkpoints.failure
        assert len(capsys.readouterr().out.strip().splitlines()) == 1
        folder.unlink()
        checkpoints.save(5, state(5.0), {"next_index": 50})
        checkpoints.wait()
        assert checkpoints.failure == ""
        assert checkpoints.restore(abstract(state()))[1] == {"next_index": 50}


def test_what_was_half_written_is_removed(saved):
    unfinished = pathlib.Path(saved) / "checkpoints" / "saving-4"
    unfinished.mkdir()
    with checkpoint.Checkpoints(saved) as checkpoints:
        assert checkpoints.latest_step() == 3 and unfinished.exists()
    with checkpoint.Checkpoints(saved, keep=2) as checkpoints:
        assert checkpoints.latest_step() == 3 and not unfinished.exists()


def by_class(devices, classes=5):
    """A state whose prototypes are split over `devices`, padded to their number as the losses pad."""
    mesh = meshes.make(jax.devices()[:devices])
    rows = -(-classes // devices) * devices
    values = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)
    values[classes:] = 7.0
    tree = {"params": {"loss": {"prototypes": values}, "embedder": np.full((4, 2), 1.5, np.float32)}}
    return jax.device_put(tree, state_shardings(mesh, tree))


def test_any_number_of_devices_goes_on(tmp_path):
    expected = np.arange(15, dtype=np.float32).reshape(5, 3)
    digest = digests.of(by_class(8), 5)
    tree = by_class(8)
    for step, devices in enumerate((4, 1, 8, 2), start=1):
        with checkpoint.Checkpoints(str(tmp_path), keep=9, num_classes=5) as checkpoints:
            checkpoints.save(step, tree, {})
            tree, _ = checkpoints.restore(abstract(by_class(devices)))
        prototypes = tree["params"]["loss"]["prototypes"]
        assert prototypes.shape == (-(-5 // devices) * devices, 3) and len(prototypes.sharding.device_set) == devices
        np.testing.assert_array_equal(np.asarray(prototypes)[:5], expected)
        assert digests.of(tree, 5) == digest


def test_another_number_of_classes_is_not_padding(tmp_path):
    with checkpoint.Checkpoints(str(tmp_path), keep=1, num_classes=5) as checkpoints:
        checkpoints.save(1, by_class(1), {})
        with pytest.raises(ValueError, match=r"prototypes is float32 \(5, 3\) there and float32 \(4, 3\) here"):
            checkpoints.restore(abstract(by_class(1, classes=4)))


def test_a_score_that_comes_after_the_checkpoint_is_in_its_manifest(tmp_path):
    with checkpoint.Checkpoints(str(tmp_path), keep=1, best="eer") as checkpoints:
        checkpoints.save(1, state(), {}, 0.2)
        checkpoints.save(2, state(), {})
        checkpoints.set_score(2, 0.3)
        assert checkpoints.all_steps() == [1, 2] and checkpoints.score(2) == 0.3
        checkpoints.save(3, state(), {})
        checkpoints.set_score(3, 0.1)  # the best and the newest: the others go
        checkpoints.set_score(7, 0.0)  # there is none
        assert checkpoints.all_steps() == [3] and not checkpoints.improves(0.15) and checkpoints.improves(0.05)
        checkpoints.restore(abstract(state()))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["3"]
    flip(tmp_path / "checkpoints" / "3" / "manifest.json", 300)
    with checkpoint.Checkpoints(str(tmp_path), keep=1, best="eer") as checkpoints:
        before = (tmp_path / "checkpoints" / "3" / "manifest.json").read_bytes()
        checkpoints.set_score(3, 0.4)  # a damaged manifest is not made good
        assert (tmp_path / "checkpoints" / "3" / "manifest.json").read_bytes() == before


def test_a_save_waits_for_no_digest_and_keeps_the_state_as_it_was(tmp_path, monkeypatch):
    """The next step takes the arrays away while their digests are still to be made."""
    free, digest = threading.Event(), digests._digest
    monkeypatch.setattr(digests, "_digest", lambda *arguments: free.wait() and digest(*arguments))
    give_away = jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf * 0, tree), donate_argnums=0)
    tree, mesh = by_class(4), meshes.make(jax.devices()[:4])
    tree = jax.jit(lambda tree: tree, out_shardings=state_shardings(mesh, tree))(tree)
    expected = jax.device_get(tree)
    with checkpoint.Checkpoints(str(tmp_path), keep=1, num_classes=5) as checkpoints:
        checkpoints.save(1, tree, {})
        jax.block_until_ready(give_away(tree))
        assert checkpoints.all_steps() == []  # the checkpoint is whole when its digests are in it
        free.set()
        restored, _ = checkpoints.restore(abstract(by_class(4)))
    np.testing.assert_array_equal(restored["params"]["loss"]["prototypes"][:5],
                                  expected["params"]["loss"]["prototypes"][:5])
    np.testing.assert_array_equal(restored["params"]["embedder"], expected["params"]["embedder"])
