"""A detector's run, killed again and again, and in two processes: as one that nothing happened to, of either head,
and where a frozen trunk's maps are kept."""

import json
import random

import pytest

from geodesic.experiments.process import progress
from tests.experiments import drawn
from tests.faults.runs import Process, Runs, free_address

HEADS = {"fcos": (), "retinanet": ("--config.detection.head=retinanet", "--config.loss.name=retinanet"),
         "fcos on kept maps": ("--config.detection.kept_views=2", "--config.optimizer.trunk_learning_rate_factor=0.0")}
LAYOUTS = {"one": {"processes": 1, "devices": 8}, "two": {"processes": 2, "devices": 4}}


class DetectorRuns(Runs):
    """Runs of drawn_config in a folder."""

    def __init__(self, folder, head: str):
        super().__init__(folder)
        self.drawn, self.head = drawn.data(folder / "drawn"), HEADS[head]

    def command(self, run: str, *options) -> list[str]:
        command = super().command(run, *options, *self.head)
        command[3] = f"--config=tests/experiments/drawn_config.py:{self.drawn}"
        return command

    def logged(self, run: str) -> dict:
        """{(step, name): value} of the losses and scores."""
        return {(record["step"], name): record[name] for record in progress.read_metrics(str(self.folder / run))
                for name in ("loss", "ap", "ar@100") if name in record}


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS)
def test_killed_at_random_moments_it_ends_bit_for_bit_as_if_nothing_had_been(head, tmp_path):
    runs = DetectorRuns(tmp_path, head)
    assert runs.finish("whole", devices=2)[0].status == 0
    for step in (random.randrange(2, 10, 2), random.randrange(12, 22, 2)):
        (process,) = runs.start("killed", devices=2)
        assert process.wait_step(step), process.output()
        process.kill()
    (process,) = runs.finish("killed", devices=2)
    assert process.status == 0, process.output()
    whole, killed = runs.left_by("whole"), runs.left_by("killed")
    assert whole["step"] == 24 and {name: whole[name] for name in ("digests", "data")} == {
        name: killed[name] for name in ("digests", "data")}
    assert runs.logged("whole").items() <= runs.logged("killed").items() and len(runs.logged("whole")) > 15


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS)
def test_two_processes_do_what_one_does(head, tmp_path):
    """Train, evaluate and detect."""
    runs, found = DetectorRuns(tmp_path, head), {}
    for name, layout in LAYOUTS.items():
        for process in runs.finish(name, **layout):
            assert process.status == 0, process.output()
        evaluated = asked(runs, name, "evaluate", layout)
        asked(runs, name, "detect", layout, f"--images={runs.drawn}/test", "--threshold=0.02",
              f"--out={tmp_path / name}.json")
        found[name] = json.loads((tmp_path / f"{name}.json").read_text())
        assert sum("ar@100" in process.output() for process in evaluated) == 1  # one of them speaks
    one, two = (runs.logged(name) for name in LAYOUTS)
    assert one.keys() == two.keys() and len(one) > 15
    assert one == pytest.approx(two, rel=1e-4, abs=1e-4)
    scores = [json.loads((tmp_path / name / "evaluation.json").read_text())["detection"]["metrics"] for name in LAYOUTS]
    assert {name: entry["value"] for name, entry in scores[0].items()} == pytest.approx(
        {name: entry["value"] for name, entry in scores[1].items()}, abs=2e-3)
    assert len(found["one"]) == pytest.approx(len(found["two"]), abs=2) and len(found["one"]) > 5
    for here, there in zip(found["one"][:3], found["two"][:3], strict=True):
        assert here["file_name"] == there["file_name"] and here["score"] == pytest.approx(there["score"], abs=1e-3)


def asked(runs: DetectorRuns, run: str, name: str, layout: dict, *options) -> list[Process]:
    """A program on what a run has left, in as many processes; all must end well."""
    address, count = free_address(), layout["processes"]
    own = lambda index: ([f"--coordinator_address={address}", f"--num_processes={count}", f"--process_id={index}"]
                         if count > 1 else [])
    command = [*runs.command(run)[:2], "tests.faults.program", name, f"--workdir={runs.folder / run}",
               f"--cpu_devices={layout['devices']}", *options]
    started = [Process([*command, *own(index)], runs.folder / f"{run}.{name}.{index}.log") for index in range(count)]
    for process in started:
        assert process.wait() == 0, process.output()
    return started
