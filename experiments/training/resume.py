"""Whether a run that goes on is the run that was started: the same configuration, and the same data wherever they lie.

The batch of a step is a function of (seed, step): the step is all the place in the data that there is to keep. What it
is a function of, the records and their classes, is kept beside it, so that a run never goes on in silence over other
images, under other labels, or in an order that another configuration of the loader would give.
"""

import hashlib
import json
import zlib

import numpy as np

from geodesic import datasets
from geodesic.configs import stored
from geodesic.datasets import identity
from geodesic.errors import UserError
from geodesic.experiments.process import hosts, progress, storage
from geodesic.experiments.process import workdir as workdirs
from geodesic.experiments.trained import classes
from geodesic.experiments.training import early_stop

# Fields that --extend_to_epochs changes, and nothing else may.
LENGTH = ("num_epochs", "total_steps")


def check_config(workdir: str, config, free: tuple[str, ...] = ()) -> None:
    """Whether a run of this configuration may be in `workdir`.

    Fields of `config.run`, the paths of data and those of `free` may differ; fields that came after the run was
    started count at their defaults. A run that has not made a step does not hold its folder. Raises UserError, naming
    the first differing fields, for another run's folder and for a folder that is not empty and not a run's.
    """
    path = workdirs.config_path(workdir)
    if not storage.exists(path):
        if storage.is_folder(workdir) and not _holds_nothing(workdir):
            raise UserError(f"{workdir} is not empty and holds no run: give an empty or new --workdir")
        return
    if not has_made_a_step(workdir):
        return
    there = stored.parse(storage.read(path), path)
    differing = {name: values for name, values in stored.differing(there, config).items() if name not in free}
    if differing:
        first = ", ".join(f"{name} {there} (now {here})" for name, (there, here) in [*differing.items()][:3])
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        longer = ". --extend_to_epochs=N gives a run more epochs" if {*differing} <= {*LENGTH} else ""
        raise UserError(f"{workdir} holds a run of another configuration: {first}{more}. Give the same configuration "
                        f"to resume it, or another --workdir{longer}")


def claim(workdir: str, config, data: "Data") -> None:
    """Writes the configuration, the names of classes and the digests of images into the workdir: it is this run's."""
    hosts.first_does(lambda: workdirs.write_json(workdirs.config_path(workdir), stored.as_dict(config)))
    hosts.first_does(lambda: data.remember(workdir))


def _holds_nothing(workdir: str) -> bool:
    """What a run leaves behind that was refused at its start: a lock that nobody holds, and no checkpoint."""
    names = {*storage.names(workdir)} - {workdirs.LOCK}
    return not names or (names == {"checkpoints"} and not storage.names(workdirs.checkpoints_path(workdir)))


def has_made_a_step(workdir: str) -> bool:
    """Whether the workdir holds more of a run than a refused start leaves."""
    if any("loss" in record for record in progress.read_metrics(workdir)):
        return True
    names = storage.names(workdirs.checkpoints_path(workdir))
    return any(any(letter.isdigit() for letter in name) for name in names)


def finished(workdir: str, step: int, total_steps: int, options) -> str:
    """Why there is nothing left to do, or "": a run has made its steps and was evaluated after the last, or it has
    stopped early. Raises UserError where it has made more.

    options: the section `evaluation` of its configuration.
    """
    if step > total_steps:
        raise UserError(f"{workdir} has made {step:,} steps, and {total_steps:,} are asked for: give it more epochs "
                        f"with --extend_to_epochs")
    records = [record for record in progress.evaluations(workdir) if record["step"] <= step]
    if enough := early_stop.reason(options, records):
        return f"{step} steps, stopped early: {enough}"
    return f"{step} steps" if step == total_steps and records and records[-1]["step"] == step else ""


def extended(config, epochs: int):
    """The configuration of a run that goes on to so many epochs in all. Its schedule is that of a run so long."""
    longer = config.copy_and_resolve_references()
    longer.update(num_epochs=type(config.num_epochs)(epochs), total_steps=0)
    return longer


def describe_extension(workdir: str, step: int, model) -> str:
    """What becomes of the schedule of a run that goes on for longer than it was started for."""
    before = [record["learning_rate"] for record in progress.read_metrics(workdir) if "learning_rate" in record]
    was = f", after {before[-1]:.2e} at the last step" if before else ""
    return (f"  extended   from step {step:,} to {model.total_steps:,}; the schedule is that of a run of this length: "
            f"{float(model.schedule(step)):.2e} at the next step{was}")


class Data:
    """What a run is trained on and watched on, as checkpoints remember it."""

    def __init__(self, train: datasets.Source, test: datasets.Source, config, teacher: str = ""):
        """teacher: the digest of what else it learns from, `training.distillation`; "" for nothing."""
        self._teacher = {"teacher": teacher} if teacher else {}
        self._config, self._labels, self.images = config, zlib.crc32(np.ascontiguousarray(train.labels)), len(train)
        first = hosts.is_first()
        self._train = identity.identity(train) if first else None
        self._test = identity.identity(test) if first else None
        names = hashlib.sha256(json.dumps(self._train["class_names"]).encode()).hexdigest()[:16] if first else ""
        self._names = {"records": self._train["records"] if first else "", "class_names": names}

    def position(self, step: int) -> dict:
        """To be saved with the state of `step`. It holds for any number of hosts, devices and loader threads."""
        return {"step": step, "seed": self._config.seed, "batch_size": self._config.batch_size, "images": self.images,
                "labels": self._labels, **self._names, **self._teacher}

    def check(self, position: dict, workdir: str) -> None:
        """Raises UserError, saying what changed, where a run would go on over other data than `position` was of."""
        hosts.first_does(lambda: self._check(position, workdir))

    def remember(self, workdir: str) -> None:
        """Writes the names of classes and the digests of images into the workdir. Process 0 does."""
        classes.write(workdir, self._train, self._test)

    def _check(self, position: dict, workdir: str) -> None:
        now, known = self.position(position["step"]), classes.read(workdir)
        for name in ("batch_size", "seed"):
            if now[name] != position[name]:
                raise UserError(f"the {name} has changed since step {position['step']} was saved, from "
                                f"{position[name]} to {now[name]}: the run cannot go on exactly")
        if position.get("teacher") != now.get("teacher"):
            raise UserError(f"the weights of distill.teacher have changed since step {position['step']} was saved, "
                            f"from {position.get('teacher', 'none')} to {now.get('teacher', 'none')}: the run cannot "
                            f"go on exactly. Give it the same teacher, or start a new run from these weights with "
                            f"--config.init_from={workdir}")
        if "records" not in position:
            print("the checkpoint is of an older version, which kept no names of classes and images: only their "
                  "number and order of labels are compared", flush=True)
        changed = [name for name in ("images", "labels", "records", "class_names")
                   if name in position and now[name] != position[name]]
        if changed:
            what = identity.changes(known["train"], self._train) if known else ""
            what = what or f"{position['images']} images then, {now['images']} now, in other classes or another order"
            raise UserError(f"the training data are not those of step {position['step']}: {what}. The run cannot go on "
                            f"exactly: restore the data, or start a new run from these weights with "
                            f"--config.init_from={workdir}")
        what = identity.changes(known["test"], self._test) if known else ""
        if what:
            raise UserError(f"the test data are not those that this run was watched on: {what}. Scores before and "
                            f"after would not compare: restore the data, or start a new run")
