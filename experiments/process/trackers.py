"""Services with which people watch runs, beside metrics.jsonl and TensorBoard: the same numbers under the same names.

Where they write, whose account it is and whether they are offline is told by their own environment variables
(WANDB_PROJECT, WANDB_MODE, MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME ...).
"""

import importlib.util
import os
import queue
import re
import secrets
import tempfile
import threading
import time

from geodesic.errors import UserError
from geodesic.experiments.process import storage
from geodesic.experiments.process import workdir as workdirs

_PROJECT = "geodesic"
_PATIENCE = 60  # seconds that a service has at the end to take what it has not taken yet


class _WandB:
    package = "wandb"

    def __init__(self, workdir: str, config: dict, known: str):
        import wandb

        self.id = known or secrets.token_hex(4)
        self._run = wandb.init(project=os.environ.get("WANDB_PROJECT", _PROJECT), name=_name(workdir), id=self.id,
                               dir=os.environ.get("WANDB_DIR", tempfile.gettempdir() if storage.is_remote(workdir)
                                                  else workdir), config=config, resume="allow",
                               settings=wandb.Settings(console="off"))
        # Its own steps cannot go back, as ours do where a run goes on from a checkpoint.
        self._run.define_metric("*", step_metric="step")

    def write(self, step: int, values: dict[str, float]) -> None:
        self._run.log({"step": step, **values})

    def close(self) -> None:
        self._run.finish()


class _MLflow:
    package = "mlflow"

    def __init__(self, workdir: str, config: dict, known: str):
        from mlflow.entities import Metric, Param
        from mlflow.tracking import MlflowClient

        self._metric, self._client = Metric, MlflowClient()
        if known:
            self.id = known
            self._client.update_run(known, status="RUNNING")
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT)
        experiment = self._client.get_experiment_by_name(name)
        place = experiment.experiment_id if experiment else self._client.create_experiment(name)
        self.id = self._client.create_run(place, run_name=_name(workdir)).info.run_id
        given = [Param(key, str(value)[:500]) for key, value in _flat(config)]
        for start in range(0, len(given), 100):  # it takes no more at once
            self._client.log_batch(self.id, params=given[start:start + 100])

    def write(self, step: int, values: dict[str, float]) -> None:
        now = int(time.time() * 1000)
        self._client.log_batch(self.id, [self._metric(mlflow_name(name), value, now, step)
                                         for name, value in values.items()])

    def close(self) -> None:
        self._client.set_terminated(self.id)


TRACKERS = {"wandb": _WandB, "mlflow": _MLflow}


def _name(workdir: str) -> str:
    return os.path.basename(os.path.abspath(workdir))


def _flat(config: dict, above: str = ""):
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield above + name, value


def mlflow_name(name: str) -> str:
    """The name of a metric with what MLflow refuses written out.

    Example:
        >>> mlflow_name("map@r"), mlflow_name("tar@far=0.01")
        ('map_at_r', 'tar_at_far_0.01')
    """
    return re.sub(r"[^\w\-. :/]", "_", name.replace("@", "_at_"), flags=re.ASCII)


def check(names: tuple[str, ...]) -> None:
    """Raises UserError for a tracker that there is none of, that is not installed, or that would write nowhere."""
    for name in names:
        if name not in TRACKERS:
            raise UserError(f"run.trackers={tuple(names)}: there is no {name!r}; known are {', '.join(TRACKERS)}")
        if importlib.util.find_spec(TRACKERS[name].package) is None:
            raise UserError(f"run.trackers={tuple(names)} needs a package that is not installed: pip install "
                            f"'geodesic[{name}]'")
    if "mlflow" in names and not os.environ.get("MLFLOW_TRACKING_URI"):
        raise UserError("run.trackers has mlflow: MLFLOW_TRACKING_URI=... in the environment must say where it writes, "
                        "such as http://host:5000")


class Tracker:
    """Gives the numbers of a run to one service, from a thread: a service that is slow or away delays no step. Its
    first error ends it with a line, and the run goes on. The run of the service that a workdir began is gone on with.
    """

    def __init__(self, name: str, workdir: str):
        self._kind, self._place, self._workdir = name, os.path.join(workdir, f"{name}.json"), workdir
        self._queue = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, daemon=True, name=name)
        self._thread.start()

    def write(self, step: int, values: dict[str, float]) -> None:
        self._queue.put((step, values))

    def close(self) -> None:
        """Waits until the service has everything, for a minute at most."""
        self._queue.put(None)
        self._thread.join(_PATIENCE)
        if self._thread.is_alive():
            print(f"{self._kind} has not taken all numbers within {_PATIENCE} s; metrics.jsonl has them", flush=True)

    def _serve(self) -> None:
        try:
            service = TRACKERS[self._kind](self._workdir, _read(workdirs.config_path(self._workdir)),
                                           _read(self._place).get("id", ""))
            workdirs.write_json(self._place, {"id": service.id})
            while (record := self._queue.get()) is not None:
                service.write(*record)
            service.close()
        except Exception as error:  # of whatever kind: services and their packages raise their own
            print(f"no {self._kind} from here on: {' '.join(str(error).split())[:300]}", flush=True)


def _read(path: str) -> dict:
    try:
        return workdirs.read_json(path)
    except FileNotFoundError:
        return {}
