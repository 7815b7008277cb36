"""ResNeXt's groups, and what its training step moves between devices."""

import functools
import re

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from geodesic import embedders
from geodesic.embedders import layers


@pytest.mark.parametrize("form", ("native", "merged"))
def test_no_activation_is_gathered_on_eight_devices(form):
    """Under a global view, XLA gathers the whole batch for a grouped convolution; in shard_map it must not."""
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    embedder = embedders.build("resnext50_32x4d", stage_sizes=(1, 1), layer="stage2", convolution=form)
    images = jax.ShapeDtypeStruct((16, 32, 32, 3), jnp.float32, sharding=NamedSharding(mesh, P("data")))
    variables = jax.eval_shape(embedder.init, jax.random.key(0), images)

    def embed(params, stats, images):
        out, updated = embedder.apply({"params": params, "batch_stats": stats}, images, True, mutable=["batch_stats"])
        return out, jax.lax.pmean(updated["batch_stats"], "data")

    embed = jax.shard_map(embed, mesh=mesh, in_specs=(P(), P(), P("data")), out_specs=(P("data"), P()))

    def loss(params, stats, images):
        out, stats = embed(params, stats, images)
        return jnp.sum(out ** 2), stats

    whole = NamedSharding(mesh, P())
    step = jax.jit(jax.grad(loss, has_aux=True), in_shardings=(whole, whole, images.sharding))
    compiled = step.lower(variables["params"], variables["batch_stats"], images).compile().as_text()
    moved = re.findall(r"= [^=]*? (all-gather|all-to-all|collective-permute|reduce-scatter)[-a-z]*\(", compiled)
    assert not moved, moved
    assert re.search(r"all-reduce(-start)?\(", compiled)  # the gradients and the statistics
    assert ("feature_group_count=32" in compiled) == (form == "native")


def test_the_groups_see_their_own_channels_only():
    conv = functools.partial(layers.Conv, 8, 3, groups=4)
    x = jax.random.normal(jax.random.key(0), (1, 4, 4, 8))
    variables = {"params": {"kernel": jax.random.normal(jax.random.key(1), (3, 3, 2, 8))}}
    apply = jax.jit(lambda x: conv().apply(variables, x))
    changed = apply(x.at[..., :2].add(1.0)) != apply(x)
    assert changed[..., :2].any() and not changed[..., 2:].any()
