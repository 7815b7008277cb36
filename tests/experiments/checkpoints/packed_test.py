"""Arrays of a state as objects of a bucket."""

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from geodesic.experiments.checkpoints import digests, packed, seal, stored_arrays
from geodesic.experiments.process import storage
from tests import buckets

CLASSES = 13


def state(devices: int) -> dict:
    """Prototypes of 13 classes, padded for the devices, and arrays that all devices hold, one in bfloat16."""
    rng, mesh = np.random.default_rng(0), jax.make_mesh((devices,), ("data",), devices=jax.devices()[:devices])
    rows = rng.normal(size=(CLASSES, 6)).astype(np.float32)
    rows = np.pad(rows, ((0, -CLASSES % devices), (0, 0)))
    placed = lambda values, *axes: jax.device_put(values, NamedSharding(mesh, P(*axes)))
    return {"params": {"loss": {"prototypes": placed(rows, "data")},
                       "embedder": {"kernel": placed(rng.normal(size=(40, 5)).astype(jax.numpy.bfloat16)),
                                    "empty": placed(np.zeros((0, 3), np.float32))}},
            "step": placed(np.int32(7)), "flag": placed(np.bool_(True))}


def abstract(tree):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), tree)


def written(folder, tree) -> dict:
    record = stored_arrays.record(tree, CLASSES) | packed.write(folder, 0, digests.parts(tree, copied=True))
    return record | {"digests": digests.of(tree, CLASSES)}


@pytest.mark.parametrize("size", [1 << 20, 48])
@pytest.mark.parametrize("there, here", [(4, 4), (8, 2), (1, 8), (2, 1)])
def test_a_state_comes_back_bit_for_bit_on_another_number_of_devices(tmp_path, monkeypatch, there, here, size):
    monkeypatch.setattr(packed, "_SIZE", size)
    folder = str(tmp_path)
    record, wanted = written(folder, state(there)), state(here)
    restored = packed.restore(folder, record, abstract(wanted))
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(restored), jax.device_get(wanted))
    assert jax.tree.map(lambda leaf: leaf.sharding, restored) == jax.tree.map(lambda leaf: leaf.sharding, wanted)
    assert digests.of(restored, CLASSES) == record["digests"]
    names = ["params/loss/prototypes", "step"]
    read = packed.read_whole(folder, record, names)
    stored_arrays.check_read(record, read)
    assert [*read] == names and read["step"] == 7
    assert read["params/loss/prototypes"].shape == (CLASSES + -CLASSES % there, 6)


def test_each_process_reads_the_rows_of_its_devices_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "_SIZE", 48)
    tree = state(4)
    record, fetched = written(str(tmp_path), tree), []
    read = storage.read
    monkeypatch.setattr(storage, "read", lambda path: fetched.append(path) or read(path))
    rows = packed.read(str(tmp_path), record, {"params/loss/prototypes": (4, 6)})["params/loss/prototypes"]
    np.testing.assert_array_equal(rows, np.asarray(tree["params"]["loss"]["prototypes"])[4:6])
    assert len(fetched) == 1


def test_a_flipped_bit_is_named_with_its_array(bucket):
    tree, folder = state(2), f"{bucket}/checkpoints/3"
    record = written(folder, tree)
    seal.write(folder, record)
    seal.check(folder, seal.read(folder))
    buckets.flip(f"{folder}/parts/0-00000", 100)
    with pytest.raises(seal.DamagedError, match=r"^parts/0-00000 has changed; array \S+$"):
        packed.restore(folder, record, abstract(tree))
    storage.write(f"{folder}/stray", b"")
    with pytest.raises(seal.DamagedError, match="stray does not belong to it"):
        seal.check(folder, record)
    storage.remove(f"{folder}/parts/0-00000")
    with pytest.raises(seal.DamagedError, match="parts/0-00000 is missing"):
        seal.check(folder, record)
    buckets.flip(f"{folder}/manifest.json", 30)
    with pytest.raises(seal.DamagedError, match=r"manifest.json is damaged"):
        seal.read(folder)
