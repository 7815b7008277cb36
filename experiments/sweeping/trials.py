"""From a sweep to its trials. A trial is its content: its folder has the hash of its resolved configuration."""

import os
from typing import Any, NamedTuple

from geodesic.configs import stored, sweeps
from geodesic.errors import UserError
from geodesic.experiments.process import config_files


class Trial(NamedTuple):
    folder: str            # the trial's own, in the sweep's workdir
    label: str             # the name of its point, and of its row in the report
    point: dict[str, Any]  # the fields that the sweep sets, without the seed
    seed: int
    config: Any            # resolved and locked; None where the point cannot be applied
    problem: str           # why not, or ""

    @property
    def hash(self) -> str:
        return os.path.basename(self.folder)


def load_sweep(path: str) -> sweeps.Sweep:
    """What `get_sweep()` of a file returns.

    path: FILE or FILE:ARGUMENT, of the file or the name of a sweep that comes with this code. Raises UserError where
    there is no such file, and for whatever goes wrong in it.
    """
    file, _, argument = path.partition(":")
    result = config_files.call(config_files.find(file, "get_sweep"), "get_sweep", *filter(None, [argument]))
    if not isinstance(result, sweeps.Sweep):
        raise UserError(f"get_sweep() of {path} returns a {type(result).__name__}; return configs.sweeps.sweep(...)")
    return result


def expand(sweep: sweeps.Sweep, folder: str) -> list[Trial]:
    """Lists the trials of a sweep without a search, seeds innermost. Those that come to the same configuration are one.

    Raises UserError where a field does not exist, or where two points share a label. A value that a field cannot
    take makes a trial with a problem.
    """
    trials, labels = {}, {}
    for point in sweep.points:
        name = label(point)
        if labels.setdefault(name, point) != point:
            raise UserError(f"two points of the sweep are both called {name!r}: give each its own \"label\"")
        for seed in sweep.seeds:
            trial = make(sweep, point, seed, folder)
            trials.setdefault(trial.folder, trial)
    return list(trials.values())


def make(sweep: sweeps.Sweep, point: sweeps.Point, seed: int, folder: str) -> Trial:
    fields = {name: value for name, value in point.items() if name != "label"}
    config, problem = resolve(sweep.config, {**sweep.common, **fields, "seed": seed})
    digest = stored.hash_of(config) if config is not None else stored.hash_of_values(
        {"config": sweep.config, **sweep.common, **fields, "seed": seed})
    return Trial(os.path.join(folder, "trials", digest), label(point), fields, seed, config, problem)


def resolve(path: str, fields: dict) -> tuple[Any, str]:
    """(configuration, "") or (None, why a value does not fit).

    path: FILE or FILE:ARGUMENT, as --config takes them. Raises UserError for a field that does not exist, and for
    whatever goes wrong in the file.
    """
    file, _, argument = path.partition(":")
    config = config_files.call(config_files.find(file, "get_config"), "get_config", *filter(None, [argument]))
    for name, value in fields.items():
        section, _, key = name.rpartition(".")
        try:
            owner = config
            for part in filter(None, section.split(".")):
                owner = owner[part]
            if key not in owner:
                raise KeyError(key)
        except (KeyError, TypeError, AttributeError):
            raise UserError(f"the configuration has no field {name!r}: see configs/default.py") from None
        try:
            owner[key] = value
        except (TypeError, ValueError):
            return None, f"{name} takes {type(owner[key]).__name__}, got {value!r}"
    return config, ""


def label(point: sweeps.Point) -> str:
    """The point's own label, or its fields by their last names: "margin=0.5, scale=64"."""
    if "label" in point:
        return point["label"]
    return ", ".join(f"{name.rpartition('.')[2]}={_short(value)}" for name, value in point.items()) or "default"


def _short(value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
