"""Detection in a scorecard: detectors that were trained on the contestants' frozen trunks, and evaluated."""

from collections.abc import Mapping

from geodesic.errors import UserError
from geodesic.experiments.checkpoints import checkpoint
from geodesic.experiments.process import workdir as workdirs
from geodesic.experiments.trained import loading
from geodesic.experiments.trained.run import Run

METRICS = ("ap", "ap50", "ap75")


def read(given: Mapping[str, str], models: Mapping[str, Run], untrained: str) -> dict:
    """What `geodesic evaluate` has found of detectors.

    Args:
      given: contestant -> workdir of its detector.
      models: contestant -> its model, whose trunk the detector must have.
      untrained: of the contestants, the one that has learnt nothing: its detector's trunk is drawn at random.

    Returns:
      {"of": contestant -> metric as records hold it, "detectors": contestant -> workdir and weights, "source": what
      they were tested on, "interval": how the intervals were made}.

    Raises UserError for a run that is no detector, that is not evaluated, or whose trunk has learnt or is another one,
    and where detectors were tested on other images, or learnt otherwise.
    """
    found = {"of": {}, "detectors": {}}
    first = None
    for name, workdir in given.items():
        if name not in models:
            raise UserError(f"--detectors has {name!r}, and this scorecard has {', '.join(models)}")
        run, scores = _evaluated(workdir)
        _check_trunk(name, run, models[name], name == untrained)
        same = {"test images": scores["protocol"]["records"], "recipe": _recipe(run.config)}
        first = first or (workdir, same)
        for what, value in same.items():
            if value != first[1][what]:
                raise UserError(f"the detectors {first[0]} and {workdir} differ in their {what}: they are no "
                                f"comparison")
        found["of"][name] = {metric: scores["detection"]["metrics"][metric] for metric in METRICS}
        found["detectors"][name] = {"workdir": workdir, "digest": run.digest}
        found |= {"source": scores["protocol"]["source"], "interval": scores["detection"]["interval"]}
    return found


def _evaluated(workdir: str) -> tuple[Run, dict]:
    config = loading.stored_config(workdir)
    if config.task != "detection":
        raise UserError(f"{workdir} is of --config.task={config.task}, expected a detector: train one with "
                        f"--config=detection")
    if config.optimizer.trunk_learning_rate_factor:
        raise UserError(f"the trunk of {workdir} has learnt with its detector, and a scorecard is of the trunk as it "
                        f"was: train one with --config.optimizer.trunk_learning_rate_factor=0")
    try:
        scores = workdirs.read_json(workdirs.evaluation_path(workdir))
    except FileNotFoundError as error:
        raise UserError(f"{workdir} has no evaluation: geodesic evaluate --workdir={workdir}") from error
    run = loading.load(workdir, config)
    if scores["checkpoint_digest"] != run.digest:
        raise UserError(f"the evaluation of {workdir} is of another checkpoint: geodesic evaluate --workdir={workdir}")
    return run, scores


def _check_trunk(name: str, run: Run, model: Run, at_random: bool) -> None:
    """Raises UserError where the detector's trunk is not the model's."""
    kind = model.config.embedder.name
    if run.config.embedder.name != kind:
        raise UserError(f"{run.workdir} has a {run.config.embedder.name}, and {name} is a {kind}")
    if at_random:
        if run.config.init_from:
            raise UserError(f"the trunk of {run.workdir} starts from {run.config.init_from}, and that of {name} is "
                            f"drawn at random")
        return
    theirs = {kind: {part: arrays for part, arrays in run.variables[kind].items() if part != "head"}
              for kind in ("params", "batch_stats")}
    ours = {kind: {part: model.variables[kind].get(part) for part in parts} for kind, parts in theirs.items()}
    if checkpoint.digest(ours) != checkpoint.digest(theirs):
        raise UserError(f"the trunk of {run.workdir} is not that of {name} ({model.workdir}): train a detector on it "
                        f"with --config.init_from={model.workdir}")


def _recipe(config) -> dict:
    """All that detectors on different trunks have in common."""
    told = config.to_dict()
    return {name: told[name] for name in ("train_data", "detection", "box_augment", "loss", "optimizer", "schedule",
                                          "batch_size", "num_epochs", "total_steps", "seed")}
