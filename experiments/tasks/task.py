"""What a task is: the functions that the training loop calls, and nothing that it decides itself."""

from collections.abc import Callable
from typing import NamedTuple


class Task(NamedTuple):
    """What a run learns, and what it is watched by.

    Whatever a task brings is a function of the configuration, so that a run that goes on is the run that was started.

    Attributes:
      train_source, test_source: (config) -> what is learnt from, and what the run is watched on. They raise UserError
        for data that cannot be trained on.
      batches: (train source, config) -> an iterator over this host's batches, {"image": u8[b,S,S,3], and the targets},
        a function of (seed, step) whatever the hosts, devices and workers. It has `get_state`, `set_state` and `close`,
        as `training.data.CountedBatches`.
      targets: (config) -> name -> shape and dtype of a target of one image, or a tree of them.
      network: (config, num_classes) -> a Flax module, apply(variables, images f32[B,H,W,3], train=...) -> outputs, an
        array [B,...] or a tree of them. Each device applies it to its share of the batch.
      loss: (config, num_classes, mesh) -> a `losses.Loss` whose apply(params, state, outputs, targets, rng) is given
        the outputs and the targets of the whole batch, as arrays or trees of them.
      evaluators: names of `protocols.evaluators.EVALUATORS` that a run is watched by where its configuration names
        none.
      check: (config, train source) raises UserError for data that nothing can be learnt from. It is called before the
        first step of a run, and writes nothing.
    """

    train_source: Callable
    test_source: Callable
    batches: Callable
    targets: Callable
    network: Callable
    loss: Callable
    evaluators: tuple[str, ...]
    check: Callable
