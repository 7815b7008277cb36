"""The training step: the trunk per device, the loss on the global batch.

`train_step` is the whole of it, a plain function: it calls `gradient`, which calls `accumulate`, which takes the
gradient of `part_loss`, which calls `apply` and the loss. `make_train_step` compiles it for the devices of a mesh.
"""

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
from geodesic.experiments.training.unsampled import clear_sampled, update


def make_train_step(model: Model, mesh: jax.sharding.Mesh) -> Callable:
    """jit'ed `train_step`, (state, batch) -> (state, scalars); the given state is donated."""
    step = functools.partial(train_step, model=model, mesh=mesh)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract_state(model, mesh))
    batch_sharding = NamedSharding(mesh, P(None, AXIS))
    return jax.jit(step, donate_argnums=0, in_shardings=(shardings, batch_sharding),
                   out_shardings=(shardings, NamedSharding(mesh, P())))


def train_step(state: TrainState, batch: dict, *, model: Model, mesh: jax.sharding.Mesh) -> tuple:
    """One update: (state, batch) -> (state, scalars).

    batch: image u8[A,B/A,S,S,3] and the targets of the task, such as label i32[A,B/A], for A accumulation steps, split
    along B/A.
    The update uses the gradient of the mean loss over the A parts, each with its own batch statistics. The scalar
    `finite` is whether the loss and all of its gradient were (guards.py).
    """
    rng = jax.random.fold_in(jax.random.key(model.seed), state.step)
    gradients, batch_stats, loss_state, scalars = gradient(state, batch, rng, model=model, mesh=mesh)
    params, opt_state = update(model.optimizer, gradients, _scheduled(state.opt_state, state.step), state.params,
                               loss_state)
    ema = average(state, params, batch_stats, model.ema_decay) if model.ema_decay else {}
    norm = optax.tree.norm(gradients["embedder"])
    finite = [jnp.isfinite(scalars["loss"]), jnp.isfinite(norm),
              *(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(gradients["loss"]))]
    scalars |= {"gradient_norm": norm, "finite": jnp.all(jnp.stack(finite)),
                "learning_rate": jnp.asarray(model.schedule(state.step), jnp.float32)}
    return TrainState(state.step + 1, params, batch_stats, loss_state, opt_state, ema), scalars


def average(state: TrainState, params: dict, batch_stats: dict, decay: float) -> dict:
    """The running average after a step that has led to these weights and statistics, which are averaged alike.

    The share that stays is min(decay, (1 + t) / (10 + t)) in step t, so that the start is soon forgotten.
    """
    taken = jnp.maximum(1 - decay, 9 / (10 + state.step))
    # Written so, what has not moved stays as it is, bit for bit.
    return jax.tree.map(lambda old, new: old + taken * (new - old), state.ema,
                        {"params": params, "batch_stats": batch_stats})


def gradient(state: TrainState, batch: dict, rng, *, model: Model, mesh: jax.sharding.Mesh) -> tuple:
    """`accumulate`, with the parts of the network frozen that do not learn in this step."""
    branches = [functools.partial(accumulate, model=model, mesh=mesh, frozen=frozen) for frozen in model.phases.frozen]
    if len(branches) == 1:
        return branches[0](state, batch, rng)
    phase = sum(state.step >= start for start in model.phases.starts[1:])
    return jax.lax.switch(phase, branches, state, batch, rng)


def accumulate(state: TrainState, batch: dict, rng, *, model: Model, mesh: jax.sharding.Mesh,
               frozen: tuple[str, ...] = ()) -> tuple:
    """(gradients, batch_stats, loss_state, scalars): the means over the accumulation steps, in their order.

    What the embedder's gradient and statistics are on one device stays there until the last part: they cross devices
    once for each update, in float32. Frozen parts have the gradient 0, which nobody computes, and their statistics
    stay.
    """
    still = {name: tree for name, tree in state.params["embedder"].items() if name in frozen}
    embedder = {name: tree for name, tree in state.params["embedder"].items() if name not in frozen}
    still_copies, embedder, batch_stats = _copies((still, embedder, state.batch_stats), mesh)
    learning = {"embedder": embedder, "loss": state.params["loss"]}
    gradient_of = jax.grad(functools.partial(part_loss, model=model, mesh=mesh), has_aux=True)

    def part(carry, inputs):
        gradients, batch_stats, loss_state = carry
        index, batch = inputs
        new, (batch_stats, loss_state, scalars) = gradient_of(
            learning, still_copies, batch_stats, loss_state, batch, jax.random.fold_in(rng, index))
        return (jax.tree.map(jnp.add, gradients, new), batch_stats, loss_state), scalars

    carry = (jax.tree.map(jnp.zeros_like, learning), batch_stats, clear_sampled(state.loss_state))
    if model.parts == 1:  # a scan of one would keep a second copy of the gradients
        carry, scalars = part(carry, (0, jax.tree.map(lambda values: values[0], batch)))
    else:
        carry, scalars = jax.lax.scan(part, carry, (jnp.arange(model.parts), batch))
        scalars = jax.tree.map(lambda values: jnp.mean(values, axis=0), scalars)
    gradients, batch_stats, loss_state = carry
    gradients["embedder"], batch_stats = _over_devices(gradients["embedder"], batch_stats, mesh)
    gradients["embedder"] |= jax.tree.map(jnp.zeros_like, still)
    batch_stats |= {name: tree for name, tree in state.batch_stats.items() if name in frozen}
    return jax.tree.map(lambda g: g / model.parts, gradients), batch_stats, loss_state, scalars


def part_loss(learning: dict, still: dict, batch_stats: dict, loss_state: dict, batch: dict, rng, *, model: Model,
              mesh: jax.sharding.Mesh) -> tuple:
    """(loss, (batch_stats, loss_state, scalars)) of one accumulation step, B images and their targets.

    learning: {"embedder": ..., "loss": ...}, what the gradient is taken of; still: the embedder's frozen parts, or {}.
    The embedder's and batch_stats have a copy of each array for every device.
    """
    trunk_rng, loss_rng = jax.random.split(rng)
    targets = {name: values for name, values in batch.items() if name != "image"}
    outputs, batch_stats = apply(learning["embedder"] | still, batch_stats, batch["image"], trunk_rng, model=model,
                                 mesh=mesh, frozen=tuple(still))
    value, loss_state, scalars = model.loss.apply(learning["loss"], loss_state, outputs, targets, loss_rng)
    return value, (batch_stats, loss_state, {"loss": value, **scalars})


def apply(params: dict, batch_stats: dict, images, rng, *, model: Model, mesh: jax.sharding.Mesh,
          frozen: tuple[str, ...] = ()) -> tuple:
    """(outputs [B,...], batch_stats) of images u8[B,S,S,3], or of the layers of a frozen trunk in their place: each
    device has its share, and its own copies.
    """
    options = {"frozen": frozen} if frozen else {}
    # Layers that are known (kept_views.py) are as the trunk has given them.
    seen = lambda images: images if isinstance(images, dict) else normalize(images, model.input)

    def local(params, batch_stats, images, rng):
        params, batch_stats = jax.tree.map(lambda copies: copies[0], (params, batch_stats))
        rng = jax.random.fold_in(rng, jax.lax.axis_index(AXIS))
        outputs, updated = model.embedder.apply(
            {"params": params, "batch_stats": batch_stats}, seen(images), train=True, **options,
            mutable=["batch_stats"], rngs={"dropout": rng})
        return outputs, jax.tree.map(lambda leaf: leaf[None], updated.get("batch_stats", {}))

    split = P(AXIS)
    return jax.shard_map(local, mesh=mesh, in_specs=(split, split, split, P()), out_specs=(split, split))(
        params, batch_stats, images, rng)


def _copies(tree, mesh: jax.sharding.Mesh):
    """Each array as [devices, ...], a copy for every device: the gradient with respect to it stays where it is taken.

    It takes no memory. Were whole arrays given to `apply` instead, the transpose of `jax.shard_map` would sum gradients
    over the devices in every accumulation step, and in bfloat16 where that is the trunk's dtype.
    """
    local = lambda tree: jax.tree.map(lambda leaf: jax.lax.pcast(leaf[None], AXIS, to="varying"), tree)
    return jax.shard_map(local, mesh=mesh, in_specs=P(), out_specs=P(AXIS))(tree)


def _over_devices(gradients, batch_stats, mesh: jax.sharding.Mesh):
    """The sum of the devices' gradients and the mean of their running statistics, from their [devices, ...]."""
    def local(gradients, batch_stats):
        return (jax.tree.map(lambda leaf: jax.lax.psum(leaf[0], AXIS), gradients),
                jax.tree.map(lambda leaf: jax.lax.pmean(leaf[0], AXIS), batch_stats))

    return jax.shard_map(local, mesh=mesh, in_specs=P(AXIS), out_specs=P())(gradients, batch_stats)


def _scheduled(opt_state, step: jax.Array):
    """The optimizer's state, whose counts for schedules are the run's steps: skipped ones count too.

    Counts of what moments are made of, such as Adam's, stay: a skipped step has added nothing to them.
    """
    def counted(state):
        match state:
            case optax.ScaleByScheduleState():
                return state._replace(count=step)
            case optax.ConditionallyMaskState():
                return state._replace(step=step, inner_state=_scheduled(state.inner_state, step))
        return state

    return jax.tree.map(counted, opt_state, is_leaf=lambda state: isinstance(
        state, optax.ScaleByScheduleState | optax.ConditionallyMaskState))


@functools.partial(jax.jit, donate_argnums=0)
def skip(state: TrainState) -> TrainState:
    """A step that nothing is learnt from. Schedules go on with the step, see `train_step`."""
    return state.replace(step=state.step + 1)


def put_train_batch(model: Model, mesh: jax.sharding.Mesh, batch: dict) -> dict:
    """A host's batch, cut into its accumulation steps and placed."""
    cut = jax.tree.map(lambda leaf: leaf.reshape(model.parts, leaf.shape[0] // model.parts, *leaf.shape[1:]), batch)
    return meshes.put_batch(mesh, cut, P(None, AXIS))


def abstract_batch(model: Model, mesh: jax.sharding.Mesh) -> dict:
    """Shapes, dtypes and shardings of what `put_train_batch` gives."""
    sharding = NamedSharding(mesh, P(None, AXIS))
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(
        (model.parts, leaf.shape[0] // model.parts, *leaf.shape[1:]), leaf.dtype, sharding=sharding), model.batch)
