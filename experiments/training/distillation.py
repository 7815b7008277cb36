"""Distillation: a run also learns to say what a trained model says of the same images, its teacher.

The teacher is a run or imported weights. It runs before the step, each device on its share of the images; what it says
is one more target of the batch, "teacher". So it has no gradient, and no place in the train state: of it, a checkpoint
notes the digest of its weights.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from geodesic import losses
from geodesic.errors import UserError
from geodesic.experiments.checkpoints import checkpoint
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.process.mesh import AXIS
from geodesic.experiments.trained import loading, network
from geodesic.experiments.trained.embedding import normalize
from geodesic.losses import similarity

# Pairs of embeddings nearer than the root of this count as one and the same: no gradient at distance 0.
_SAME = 1e-6


def logits(student: jax.Array, teacher: jax.Array, temperature: float) -> jax.Array:
    """T^2 times the divergence KL(softmax(teacher / T), softmax(student / T)), averaged over the rows.

    Args:
      student, teacher: logits f32[B,C].
      temperature: T.

    Returns:
      f32[].

    References:
      Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network, 2015, arXiv:1503.02531.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.experiments.training import distillation
      >>> round(float(distillation.logits(jnp.zeros((1, 2)), jnp.array([[jnp.log(3.0), 0.0]]), 1.0)), 4)
      0.1308
    """
    ours, theirs = (jax.nn.log_softmax(values / temperature, axis=-1) for values in (student, teacher))
    return temperature ** 2 * jnp.mean(jnp.sum(jnp.exp(theirs) * (theirs - ours), axis=-1))


def embedding(student: jax.Array, teacher: jax.Array) -> jax.Array:
    """1 - the cosine of the embeddings [B,D] of the same image, averaged: half of their mean squared distance.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.experiments.training import distillation
      >>> round(float(distillation.embedding(jnp.array([[3.0, 4.0]]), jnp.array([[2.0, 0.0]]))), 4)
      0.4
    """
    return jnp.mean(1 - jnp.sum(similarity.unit(student) * similarity.unit(teacher), axis=-1))


def relations(student: jax.Array, teacher: jax.Array) -> jax.Array:
    """How much the distances between the images of a batch differ, each as a multiple of their mean.

    Distances are those of embeddings of length 1, and differences count by Huber's loss, averaged over the pairs. The
    embeddings [B,D] may be of two sizes.

    References:
      Park, Kim, Lu, Cho: Relational Knowledge Distillation, 2019, arXiv:1904.05068; of it the distance-wise loss.

    Example:
      >>> import jax.numpy as jnp
      >>> from geodesic.experiments.training import distillation
      >>> float(distillation.relations(jnp.eye(3), jnp.eye(3, 5)))
      0.0
    """
    difference = jnp.abs(_distances(student) - _distances(teacher))
    huber = jnp.where(difference < 1, 0.5 * difference ** 2, difference - 0.5)
    return jnp.sum(huber) / max(len(student) * (len(student) - 1), 1)  # on the diagonal it is 0


def _distances(x: jax.Array) -> jax.Array:
    x = similarity.unit(x)
    squared = 2 - 2 * jnp.matmul(x, x.T, precision=similarity.PRECISION)
    apart = (squared > _SAME) & ~jnp.eye(len(x), dtype=bool)
    distances = jnp.where(apart, jnp.sqrt(jnp.where(apart, squared, 1.0)), 0.0)
    return distances / jnp.maximum(jnp.sum(distances) / max(len(x) * (len(x) - 1), 1), _SAME)


KINDS = {"logits": logits, "embedding": embedding, "relations": relations}


class Teacher(NamedTuple):
    """What a run is taught by; without a teacher, nothing.

    Attributes:
      teach: a batch on the devices -> the batch with what the teacher says of its images.
      digest: names the teacher's weights; "" for none.
      description: a line of the start; "" for none.
    """

    teach: Callable = lambda batch: batch
    digest: str = ""
    description: str = ""


def targets(config, num_classes: int) -> dict:
    """The target that a teacher adds, of one image: {"teacher": its shape and dtype}, or {}.

    Raises UserError where there is no such teacher, where it sees images of another size, and for options that cannot
    be followed.
    """
    if not config.distill.teacher:
        return {}
    theirs = _config(config)
    if config.distill.kind == "logits":
        return {"teacher": jax.ShapeDtypeStruct((num_classes,), jnp.float32)}
    outputs, _ = network.abstract(network.make_embedder(theirs.embedder, theirs.head), theirs.input.image_size)
    return {"teacher": jax.ShapeDtypeStruct((network.size_of(outputs),), jnp.float32)}


def distilled(loss: losses.Loss, options) -> losses.Loss:
    """(1 - weight) * the loss + weight * what tells the student from its teacher; the loss as it is without a teacher.

    Args:
      loss: of outputs that are embeddings [B,D], and of targets by name, of which it does not read "teacher".
      options: the section `distill` of a configuration.

    Returns:
      The loss, which reports both parts: "task_loss" and "distillation".

    Raises:
      UserError: the teacher's logits are asked for, and the loss has none of its own.
    """
    if not options.teacher:
        return loss
    if options.kind == "logits" and (loss.scores is None or loss.multi_hot):
        raise UserError("distill.kind 'logits' is for losses whose classes are one softmax, as those of this loss are "
                        "not: use distill.kind=embedding or relations, or the loss softmax")

    def apply(params, state, outputs, targets, rng):
        value, state, scalars = loss.apply(params, state, outputs, targets, rng)
        if options.kind == "logits":
            term = logits(loss.scale * loss.scores(params, outputs), targets["teacher"], options.temperature)
        else:
            term = KINDS[options.kind](outputs, targets["teacher"])
        total = (1 - options.weight) * value + options.weight * term
        return total, state, {**scalars, "task_loss": value, "distillation": term}

    return loss._replace(apply=apply, start_loss=None)


def load(config, model: Any, class_names: list[str], mesh: jax.sharding.Mesh) -> Teacher:
    """The teacher of a configuration, with its weights on the devices of a mesh.

    Args:
      config: the run's configuration.
      model: what it trains, a `training.model.Model`.
      class_names: of its training data.
      mesh: its devices.

    Raises:
      UserError: the teacher and the student have nothing to compare: embeddings of two sizes, or other classes.
    """
    options = config.distill
    if not options.teacher:
        return Teacher()
    run = loading.load(options.teacher, mesh=mesh)
    learnt, score = {}, lambda params, embeddings: embeddings
    if options.kind == "logits":
        learnt = run.classifier.params
        loss, known = run.classifier.loss, (run.trained_on or {}).get("class_names", class_names)
        if loss.multi_hot or run.classifier.num_classes != model.num_classes or known != class_names:
            raise UserError(f"distill.teacher {options.teacher} tells other classes apart than this run "
                            f"({run.classifier.num_classes:,} and {model.num_classes:,}), and logits need the same, in "
                            f"the same order: use distill.kind=embedding or relations")
        score = lambda params, embeddings: loss.scale * loss.scores(params, embeddings)
    elif options.kind == "embedding" and model.batch["teacher"].shape[-1] != model.embedding_size:
        raise UserError(f"distill.kind 'embedding' compares embeddings of one size, and those of the teacher have "
                        f"{model.batch['teacher'].shape[-1]} numbers, those of this run {model.embedding_size}: use "
                        f"distill.kind=relations, or --config.embedder.embedding_size")
    variables = {"embedder": run.variables, "classifier": learnt}
    return Teacher(_teach(run, score, meshes.replicate(mesh, variables), mesh), checkpoint.digest(variables),
                   f"  {'teacher':<11}{run.config.embedder.name} in {options.teacher}, step {run.step}: its "
                   f"{options.kind}, weight {options.weight:g}")


def _teach(run, score: Callable, variables: dict, mesh: jax.sharding.Mesh) -> Callable:
    """The function batch -> batch; the network of each device sees its share, one accumulation step at a time."""
    embedder, options, split = run.embedder, run.config.input, P(None, AXIS)

    def local(variables, images):
        def one(images):
            return score(variables["classifier"],
                         embedder.apply(variables["embedder"], normalize(images, options), train=False))

        return jax.lax.map(one, images)

    says = jax.jit(jax.shard_map(local, mesh=mesh, in_specs=(P(), split), out_specs=split),
                   out_shardings=NamedSharding(mesh, split))
    return lambda batch: {**batch, "teacher": says(variables, batch["image"])}


def _config(config):
    """The teacher's configuration. Raises UserError as `targets` does."""
    options = config.distill
    if options.kind not in KINDS:
        raise UserError(f"distill.kind is {', '.join(KINDS)}; got {options.kind!r}")
    if not 0 < options.weight <= 1 or not options.temperature > 0:
        raise UserError(f"distill.weight is above 0 and at most 1, distill.temperature above 0; got {options.weight:g} "
                        f"and {options.temperature:g}")
    try:
        theirs = loading.stored_config(options.teacher)
    except FileNotFoundError as error:
        raise UserError(f"distill.teacher: {error}") from error
    if theirs.input.image_size != config.input.image_size:
        raise UserError(f"distill.teacher {options.teacher} sees images of {theirs.input.image_size} pixels, and this "
                        f"run has input.image_size {config.input.image_size}: they see the same images, so give "
                        f"--config.input.image_size={theirs.input.image_size}")
    return theirs
