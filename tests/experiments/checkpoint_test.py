import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import checkpoint


def state(value=1.0, size=4):
    return {"params": {"kernel": jnp.full((size, 2), value)}, "step": jnp.asarray(3, jnp.int32)}


def abstract(tree):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), tree)


@pytest.fixture
def saved(tmp_path):
    with checkpoint.Checkpoints(str(tmp_path), keep=2) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, state(step), {"next_index": 10 * step})
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
    (state(size=5), r"params/kernel is \(4, 2\) there and \(5, 2\) here"),
    ({**state(), "extra": jnp.zeros(3)}, r"extra is absent there and \(3,\) here"),
    ({"step": jnp.asarray(0)}, r"params/kernel is \(4, 2\) there and absent here"),
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
