"""The training step: the trunk per device, the loss on the global batch."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.process.mesh import AXIS
from geodesic.experiments.trained.embedding import normalize
from geodesic.experiments.training.model import Model, TrainState, abstract_state
from geodesic.experiments.training.unsampled import clear_sampled, keep_unsampled


def make_train_step(model: Model, config, mesh: jax.sharding.Mesh) -> Callable:
    """jit'ed (state, batch) -> (state, scalars); the given state is donated.

    batch: image u8[A,B/A,S,S,3] and label i32[A,B/A] for A accumulation steps, split along B/A.
    The update uses the gradient of the mean loss over the A parts, each with its own batch statistics. The scalar
    `finite` is whether the loss and all of its gradient were (guards.py).
    """

    def embed(params, batch_stats, images, rng):
        """One device's shard of the batch. Under local BatchNorm the running statistics are averaged over devices."""
        rng = jax.random.fold_in(rng, jax.lax.axis_index(AXIS))
        embeddings, updated = model.embedder.apply(
            {"params": params, "batch_stats": batch_stats}, normalize(images, config), train=True,
            mutable=["batch_stats"], rngs={"dropout": rng})
        return embeddings, jax.lax.pmean(updated.get("batch_stats", {}), AXIS)

    embed = jax.shard_map(embed, mesh=mesh, in_specs=(P(), P(), P(AXIS), P()), out_specs=(P(AXIS), P()))

    def loss_fn(params, batch_stats, loss_state, images, labels, rng):
        trunk_rng, loss_rng = jax.random.split(rng)
        embeddings, batch_stats = embed(params["embedder"], batch_stats, images, trunk_rng)
        value, loss_state, scalars = model.loss.apply(params["loss"], loss_state, embeddings, labels, loss_rng)
        return value, (batch_stats, loss_state, {"loss": value, **scalars})

    def accumulate(state, batch, rng):
        """Mean gradient and scalars over the accumulation steps, in their order."""

        def part(carry, inputs):
            gradients, batch_stats, loss_state = carry
            index, images, labels = inputs
            new, (batch_stats, loss_state, scalars) = jax.grad(loss_fn, has_aux=True)(
                state.params, batch_stats, loss_state, images, labels, jax.random.fold_in(rng, index))
            return (jax.tree.map(jnp.add, gradients, new), batch_stats, loss_state), scalars

        parts = config.accumulation_steps
        carry = (jax.tree.map(jnp.zeros_like, state.params), state.batch_stats, clear_sampled(state.loss_state))
        if parts == 1:  # a scan of one would keep a second copy of the gradients
            carry, scalars = part(carry, (0, batch["image"][0], batch["label"][0]))
        else:
            carry, scalars = jax.lax.scan(part, carry, (jnp.arange(parts), batch["image"], batch["label"]))
            scalars = jax.tree.map(lambda values: jnp.mean(values, axis=0), scalars)
        gradients, batch_stats, loss_state = carry
        return jax.tree.map(lambda g: g / parts, gradients), batch_stats, loss_state, scalars

    def step(state: TrainState, batch):
        rng = jax.random.fold_in(jax.random.key(config.seed), state.step)
        gradients, batch_stats, loss_state, scalars = accumulate(state, batch, rng)
        updates, opt_state = model.optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        params, opt_state = keep_unsampled(loss_state, (params, opt_state), (state.params, state.opt_state))
        norm = optax.tree.norm(gradients["embedder"])
        finite = [jnp.isfinite(scalars["loss"]), jnp.isfinite(norm),
                  *(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(gradients["loss"]))]
        scalars |= {"gradient_norm": norm, "finite": jnp.all(jnp.stack(finite)),
                    "learning_rate": jnp.asarray(model.schedule(state.step), jnp.float32)}
        return TrainState(state.step + 1, params, batch_stats, loss_state, opt_state), scalars

    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract_state(model, config, mesh))
    batch_sharding = NamedSharding(mesh, P(None, AXIS))
    return jax.jit(step, donate_argnums=0, in_shardings=(shardings, batch_sharding),
                   out_shardings=(shardings, NamedSharding(mesh, P())))


@functools.partial(jax.jit, donate_argnums=0)
def skip(state: TrainState) -> TrainState:
    """A step that nothing is learnt from."""
    return state.replace(step=state.step + 1)


def put_train_batch(mesh: jax.sharding.Mesh, config, batch: dict) -> dict:
    """A host's batch, cut into its accumulation steps and placed."""
    parts = config.accumulation_steps
    cut = {key: value.reshape(parts, value.shape[0] // parts, *value.shape[1:]) for key, value in batch.items()}
    return meshes.put_batch(mesh, cut, P(None, AXIS))


def abstract_batch(config, mesh: jax.sharding.Mesh) -> dict:
    """Shapes, dtypes and shardings of what `put_train_batch` gives."""
    parts, size = config.accumulation_steps, config.input.image_size
    array = functools.partial(jax.ShapeDtypeStruct, sharding=NamedSharding(mesh, P(None, AXIS)))
    count = config.batch_size // parts
    return {"image": array((parts, count, size, size, 3), jnp.uint8), "label": array((parts, count), jnp.int32)}
