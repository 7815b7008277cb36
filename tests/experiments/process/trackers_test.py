import importlib.util
import json
import pathlib
import re
import time

import jax
import pytest

from geodesic.errors import UserError
from geodesic.experiments import train
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.process import progress, trackers
from geodesic.experiments.process import workdir as workdirs
from tests.datasets import images
from tests.experiments import tiny

CONFIG = {"seed": 3, "loss": {"name": "arcface", "arcface": {"margin": 0.5}}}
RECORDS = [(0, {"map@r": 0.25, "tar@far=0.01": 0.5}), (1, {"loss": 2.0, "learning_rate": 0.1})]


def needs(name):
    return pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"{name} is not installed")


def write(folder, name, records=RECORDS, first_step=0):
    workdirs.write_json(workdirs.config_path(str(folder)), CONFIG)
    metrics = progress.Metrics(str(folder), first_step, (name,))
    for step, values in records:
        metrics.write(step, **values)
    metrics.close()


@pytest.mark.slow
@needs("wandb")
def test_wandb_offline_has_the_numbers_under_the_same_names(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    write(tmp_path, "wandb")
    (file,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    wanted, started = (b"map@r", b"tar@far=0.01", b"learning_rate", b"margin"), time.monotonic()
    while not all(text in file.read_bytes() for text in wanted):  # a process of its own writes the file
        assert time.monotonic() - started < 30, file.read_bytes()
        time.sleep(0.05)
    run = json.loads((tmp_path / "wandb.json").read_text())["id"]
    assert file.name == f"run-{run}.wandb" and "no wandb" not in capsys.readouterr().out
    time.sleep(1.1)  # it names folders by the second
    write(tmp_path, "wandb", [(2, {"loss": 1.5})], first_step=1)
    assert {path.name for path in (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")} == {file.name}  # one run
    assert len([*(tmp_path / "wandb").glob("offline-run-*")]) == 2


@needs("mlflow")
def test_mlflows_file_store_has_the_numbers_and_goes_on_with_its_run(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path / 'store'}")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "faces")
    from mlflow.tracking import MlflowClient

    write(tmp_path / "one", "mlflow")
    write(tmp_path / "one", "mlflow", [(2, {"loss": float("nan")}), (3, {"loss": 1.5})], first_step=1)
    write(tmp_path / "other", "mlflow")
    client = MlflowClient()
    found = client.search_runs([client.get_experiment_by_name("faces").experiment_id])
    assert {run.info.run_name: run.info.status for run in found} == {"one": "FINISHED", "other": "FINISHED"}
    (run,) = (run for run in found if run.info.run_name == "one")
    assert run.info.run_id == json.loads((tmp_path / "one" / "mlflow.json").read_text())["id"]
    assert run.data.params == {"seed": "3", "loss.name": "arcface", "loss.arcface.margin": "0.5"}
    assert run.data.metrics == {"map_at_r": 0.25, "tar_at_far_0.01": 0.5, "loss": 1.5, "learning_rate": 0.1}
    assert [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, "loss")] == \
        [(1, 2.0), (3, 1.5)]


def test_tensorboard_has_the_same_names(tmp_path):
    metrics = progress.Metrics(str(tmp_path), 0)
    for step, values in RECORDS:
        metrics.write(step, **values)
    metrics.close()
    content = b"".join(path.read_bytes() for path in (tmp_path / "tensorboard").iterdir())
    assert all(name.encode() in content for _, values in RECORDS for name in values)


class Service:
    """Stands in for a service: its id, and what it is told. `away` is raised by the second record."""

    package, away, told = "json", None, []

    def __init__(self, workdir, config, known):
        self.id, self.config = known or "new", config
        self.told.append(("began", known, config))

    def write(self, step, values):
        if self.away and step:
            time.sleep(2)
            raise self.away
        self.told.append((step, values))

    def close(self):
        self.told.append("closed")


@pytest.fixture
def service(monkeypatch):
    made = type("Made", (Service,), {"told": []})
    monkeypatch.setitem(trackers.TRACKERS, "made", made)
    return made


def test_a_service_is_told_everything_in_order_and_knows_its_run_again(tmp_path, service):
    write(tmp_path, "made")
    write(tmp_path, "made", [], first_step=1)
    assert service.told == [("began", "", CONFIG), *RECORDS, "closed", ("began", "new", CONFIG), "closed"]


def test_one_that_is_away_delays_nothing_and_ends_nothing(tmp_path, service, capsys):
    service.away = ConnectionError("no route\n to host")
    metrics = progress.Metrics(str(tmp_path), 0, ("made",))
    started = time.monotonic()
    for step in range(50):
        metrics.write(step, loss=1.0)
    assert time.monotonic() - started < 1.5
    metrics.close()
    assert capsys.readouterr().out == "no made from here on: no route to host\n"
    assert len(progress.read_metrics(str(tmp_path))) == 50 and len(service.told) == 2


def test_one_that_takes_for_ever_is_left(tmp_path, service, monkeypatch, capsys):
    monkeypatch.setattr(trackers, "_PATIENCE", 0.2)
    monkeypatch.setattr(service, "close", lambda self: time.sleep(30))
    metrics = progress.Metrics(str(tmp_path), 0, ("made",))
    metrics.close()
    assert "made has not taken all numbers within 0.2 s" in capsys.readouterr().out


def test_a_runs_services_hear_what_its_records_say(tmp_path, service, monkeypatch):
    mesh = meshes.make(jax.devices()[:1])
    monkeypatch.setattr(meshes, "make", lambda: mesh)
    config = tiny.config(images.make_folder(tmp_path / "photos", 4, 4), total_steps=2, run__trackers=("made",))
    assert train.train(config, str(tmp_path / "run")) == 0
    (_, _, told), *records, closed = service.told
    assert told["run"]["trackers"] == ["made"] and closed == "closed" and len(records) > 2
    assert [{"step": step, **values} for step, values in records] == progress.read_metrics(str(tmp_path / "run"))


def test_a_run_that_no_service_can_follow_is_refused_before_it_writes(tmp_path):
    with pytest.raises(UserError, match="there is no 'wand'"):
        train.train(tiny.config(tmp_path, run__trackers=("wand",)), str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("names", "missing", "told"), [
    (("wandbb",), "", r"there is no 'wandbb'; known are wandb, mlflow"),
    (("wandb",), "wandb", r"pip install 'geodesic\[wandb\]'"),
    (("wandb", "mlflow"), "mlflow", r"pip install 'geodesic\[mlflow\]'"),
    (("mlflow",), "", "MLFLOW_TRACKING_URI=... in the environment must say where"),
])
def test_what_cannot_be_is_found_before_the_run(names, missing, told, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None if name == missing else name)
    with pytest.raises(UserError, match=told):
        trackers.check(names)
    trackers.check(())


def test_each_extra_has_its_pin():
    pins = (pathlib.Path(__file__).parents[3] / "requirements-dev.txt").read_text()
    assert all(re.search(f"^{name}(-skinny)?==", pins, re.MULTILINE) for name in ("wandb", "mlflow"))
