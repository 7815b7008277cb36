import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from geodesic.experiments.checkpoints import digests
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.training.sharding import state_shardings


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.uint8, np.bool_, ml_dtypes.bfloat16])
@pytest.mark.parametrize("shape", [(), (7,), (3, 5), (1030, 2, 3)])
def test_any_bit_changes_the_digest(dtype, shape):
    rng = np.random.default_rng(0)
    values = np.asarray(rng.integers(0, 2, shape)).astype(dtype)
    found = {digests.of({"x": values})["x"]}
    content = values.tobytes()
    bits = [0] if dtype is np.bool_ else range(8)
    places = rng.permutation(len(content))[:20]
    for place in places:
        for bit in bits:
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            found.add(digests.of({"x": np.frombuffer(bytes(changed), dtype).reshape(shape)})["x"])
    assert len(found) == 1 + len(places) * len(bits)


def test_places_count():
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    assert len({digests.of({"x": x})["x"] for x in (values, values[::-1], values[:, ::-1], values[[0, 2, 1]])}) == 4


def test_where_an_array_lives_does_not_count():
    tree = {"loss": {"prototypes": np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)},
            "step": np.int32(4)}
    for devices in (1, 2, 8):
        mesh = meshes.make(jax.devices()[:devices])
        placed = jax.device_put(tree, state_shardings(mesh, tree))
        assert digests.of(placed) == digests.of(tree)
        assert digests.of(placed, 5) == digests.of({**tree, "loss": {"prototypes": tree["loss"]["prototypes"][:5]}}, 5)
    assert digests.of({"loss": {"prototypes": jnp.zeros((2, 3))}}).keys() == {"loss/prototypes"}
