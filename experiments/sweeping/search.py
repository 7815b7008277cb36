"""A search instead of a grid: Optuna chooses the points, its storage remembers them, and poor trials end early.

A point runs with every seed of the sweep, and its value is their mean. Pruning looks at the evaluations of the first
seed in metrics.jsonl (evaluation.every_epochs).
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable

import numpy as np
import optuna
from optuna.trial import TrialState

from geodesic.configs import sweeps
from geodesic.errors import UserError
from geodesic.experiments.process import lock, progress
from geodesic.experiments.process.storage import LostError, is_remote
from geodesic.experiments.sweeping import database, running, trials

_LOOK_SECONDS = 10.0     # between two looks at what a run in a bucket tells
_STARTUP_TRIALS = 5      # are never pruned: a median of fewer says little
_HEARTBEAT_SECONDS = 60  # how often a host tells a storage that many share that it is there
_AGAIN = "again"  # an attribute of a trial that asks a stopped one's point again: the number of that one


class FailedError(Exception):
    """A trial without a value. Its folder says why."""


def run(sweep: sweeps.Sweep, folder: str, storage: str, workers: int, trial_memory_gib: float, stop: running.Stop,
        ended: Callable[[trials.Trial, dict], None]) -> str:
    """Runs trials until as many have ended as asked; returns the best point, as text, or "".

    storage: Optuna's URL, which many hosts may share; "" = a SQLite file in `folder` (database.py). What a killed
    search was running is asked again: its folders are there, and it goes on where it stopped. Raises UserError where
    another search has that file.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # the programs tell of failures themselves
    limits = running.Limits(memory_gib=trial_memory_gib)

    def objective(trial: optuna.Trial) -> float:
        point = {field: _suggest(trial, field, values) for field, values in sweep.search.space.items()}
        try:
            keep()
            value = _value(sweep, folder, trial, point, limits, stop, ended)
        except OSError:  # a disk that is full, a bucket that is away: no trial can be written down
            stop.ask()
            raise
        if value is None:
            _ask_again(study, trial)
            study.stop()
            raise FailedError("stopped")
        return value

    def enough(study: optuna.Study, _) -> None:
        keep()
        if stop.asked or _counted(study) >= sweep.search.trials:
            study.stop()

    with _alone(folder) if not storage else contextlib.nullcontext(), database.opened(folder, storage) as (url, keep):
        study = _open_study(sweep, url, bool(storage))
        if not storage:  # with a storage that others use, heartbeats tell who is gone
            for left in study.get_trials(states=[TrialState.RUNNING]):
                _ask_again(study, left)
                study.tell(left.number, state=TrialState.FAIL)
        remaining = sweep.search.trials - _counted(study)
        if remaining > 0:
            study.optimize(objective, n_trials=remaining, n_jobs=workers, catch=(FailedError,), callbacks=[enough])
        finished = study.get_trials(states=[TrialState.COMPLETE])
        return f"{sweep.search.metric} {study.best_value:.4f} at {trials.label(study.best_params)}" if finished else ""


def points(sweep: sweeps.Sweep, folder: str, storage: str) -> list[dict]:
    """Every point that the search has asked for so far, each once."""
    with database.opened(folder, storage) as (url, _):
        asked = [trial.params for trial in _open_study(sweep, url, bool(storage)).get_trials()
                 if trial.state != TrialState.WAITING]
    return [point for index, point in enumerate(asked) if point and point not in asked[:index]]


def _open_study(sweep: sweeps.Sweep, url: str, many: bool) -> optuna.Study:
    """many: whether hosts share the storage at the URL."""
    search = sweep.search
    shared = {"heartbeat_interval": _HEARTBEAT_SECONDS,
              "failed_trial_callback": optuna.storages.RetryFailedTrialCallback()} if many else {}
    study = optuna.create_study(
        study_name="geodesic", storage=optuna.storages.RDBStorage(url, **shared), load_if_exists=True,
        direction="maximize" if search.maximise else "minimize",
        pruner=optuna.pruners.MedianPruner(_STARTUP_TRIALS, search.warmup_reports))
    # Begun again with the same seed, the sampler would ask for the same points again.
    study.sampler = optuna.samplers.TPESampler(seed=search.seed + len(study.get_trials(deepcopy=False)))
    return study


def _value(sweep, folder, trial, point, limits, stop, ended) -> float | None:
    """Runs a point with every seed; the mean, or None where it was stopped. Raises TrialPruned and FailedError."""
    scores = []
    for seed in sweep.seeds:
        made = trials.make(sweep, point, seed, folder)
        prune = _pruner(trial, sweep.search.metric) if not scores else lambda run: False
        record = running.run(made, limits, stop, prune, wait=True)
        if stop.asked and record["state"] != "done":
            return None
        ended(made, record)
        if record["state"] == "pruned":
            raise optuna.TrialPruned
        if record["state"] != "done":
            raise FailedError(record["state"])
        scores.append(record["scores"][sweep.search.metric])
    return float(np.mean(scores))


def _pruner(trial: optuna.Trial, metric: str) -> Callable[[str], bool]:
    """Tells Optuna each new evaluation of a run, and asks whether to go on."""
    told, looked = set(), -_LOOK_SECONDS

    def prune(run: str) -> bool:
        nonlocal looked
        if is_remote(run) and time.monotonic() - looked < _LOOK_SECONDS:
            return False
        looked, records = time.monotonic(), []
        with contextlib.suppress(LostError):  # nobody is pruned while the bucket is away
            records = progress.read_metrics(run)
        for record in records:
            if metric in record and record["step"] not in told:
                told.add(record["step"])
                trial.report(record[metric], record["step"])
        return bool(told) and trial.should_prune()

    return prune


def _ask_again(study: optuna.Study, trial) -> None:
    study.enqueue_trial(trial.params, user_attrs={_AGAIN: trial.number})


def _counted(study: optuna.Study) -> int:
    """How many trials have ended, one way or another: where all fail, the search ends too. Those whose points have been
    asked again do not count."""
    again = {trial.user_attrs[_AGAIN] for trial in study.get_trials(deepcopy=False) if _AGAIN in trial.user_attrs}
    ended = study.get_trials(states=[TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL])
    return sum(trial.number not in again for trial in ended)


def _suggest(trial: optuna.Trial, field: str, values: sweeps.Range | tuple):
    if not isinstance(values, sweeps.Range):
        return trial.suggest_categorical(field, values)
    if values.integer:
        return trial.suggest_int(field, int(values.low), int(values.high), log=values.log)
    return trial.suggest_float(field, values.low, values.high, log=values.log)


@contextlib.contextmanager
def _alone(folder: str):
    if is_remote(folder):
        with lock.held(folder):
            yield
        return
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "search.lock"), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another search runs in {folder}: give a --storage that both can use") from None
        yield
