import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from geodesic.experiments.compiled import collectives
from geodesic.experiments.process import mesh as meshes


def moved(function, shape):
    mesh = meshes.make(jax.devices()[:4])
    local = jax.shard_map(function, mesh=mesh, in_specs=P("data"), out_specs=P(), check_vma=False)
    argument = jax.ShapeDtypeStruct(shape, jnp.float32, sharding=NamedSharding(mesh, P("data")))
    return collectives.bytes_moved(jax.jit(local).lower(argument).compile().as_text())


def test_results_are_counted_in_bytes():
    gather = lambda x: jax.lax.all_gather(x, "data", tiled=True)
    assert moved(gather, (8, 3)) == {"all-gather": 4 * 8 * 3}
    assert moved(lambda x: jax.lax.psum(x, "data"), (8, 3)) == {"all-reduce": 4 * 2 * 3}
    assert moved(lambda x: gather(x.astype(jnp.int8)).astype(jnp.float32), (8, 3)) == {"all-gather": 8 * 3}
    assert moved(lambda x: x + 1, (8, 3)) == {}


def test_loops_count_every_turn():
    def five_times(x):
        return jax.lax.fori_loop(0, 5, lambda _, x: jnp.cos(jax.lax.psum(x, "data")), x)

    assert moved(five_times, (8, 3)) == {"all-reduce": 5 * 4 * 2 * 3}


def test_tuples_and_asynchronous_pairs():
    hlo = """HloModule m
ENTRY %main (p: f32[2]) -> f32[2] {
  %p = f32[2]{0} parameter(0)
  %a = (f32[2]{0}, bf16[3,4]{1,0}) all-reduce(%p, %q), to_apply=%add
  %s = (f32[2]{0}, f32[8]{0}) all-gather-start(%p), dimensions={0}
  %d = f32[8]{0} all-gather-done(%s)
}
"""
    assert collectives.bytes_moved(hlo) == {"all-reduce": 8 + 24, "all-gather": 32}
