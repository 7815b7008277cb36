import json
import subprocess
import sys

import pytest

from geodesic.experiments.process import goodput, watchdog


@pytest.fixture
def clock(monkeypatch):
    """Both clocks, set by hand."""
    now = [1000.0]
    monkeypatch.setattr(goodput, "time", type("Clock", (), {"monotonic": lambda: now[0], "time": lambda: now[0]}))
    return now


def spend(spent, clock, *phases):
    """(phase, seconds) one after the other, through a watchdog as a run does it."""
    watch = watchdog.Watchdog(0, ".", spent.phase)
    for name, seconds in phases:
        if name:
            with watch.phase(name):
                clock[0] += seconds
        else:
            clock[0] += seconds


def seconds(folder) -> dict:
    return {name: value for name, value in goodput.read(str(folder))["seconds"].items() if value}


def test_every_second_has_its_kind(tmp_path, clock, capsys):
    with goodput.Goodput(str(tmp_path)) as spent:
        spend(spent, clock, ("", 3), ("start", 10), ("", 2), ("loader", 1), ("compilation", 20), ("", 0.5),
              ("loader", 4), ("step", 50), ("", 9.5), ("save", 2), ("evaluation", 30), ("scores of lfw", 8))
        spent.finished = True
    assert seconds(tmp_path) == {"start": 35.0, "input": 5.0, "steps": 60.0, "saving": 2.0, "evaluation": 38.0}
    assert goodput.read(str(tmp_path))["ended"] == "finished"
    assert capsys.readouterr().out == ("goodput 43% of 2:20: steps 1:00; start 0:35, input 0:05, saving 0:02, "
                                       "evaluation 0:38, restarts 0:00 (1 start)\n")


def test_a_phase_in_another_is_its_own(tmp_path, clock):
    with goodput.Goodput(str(tmp_path)) as spent:
        watch = watchdog.Watchdog(0, ".", spent.phase)
        with watch.phase("loader"):
            pass
        with watch.phase("evaluation"):
            clock[0] += 1
            with watch.phase("save"):
                clock[0] += 2
            clock[0] += 4
    assert seconds(tmp_path) == {"evaluation": 5.0, "saving": 2.0}


def test_a_killed_run_keeps_its_time_and_loses_what_it_makes_again(tmp_path, clock, capsys):
    spent = goodput.Goodput(str(tmp_path)).__enter__()
    spend(spent, clock, ("loader", 1), ("step", 20))
    spent.saved(10)
    spend(spent, clock, ("loader", 1), ("step", 7), ("loader", 11))  # the last word, ten seconds after the one before
    spend(spent, clock, ("step", 5))  # and here it is killed: nobody hears of these
    clock[0] += 100
    with goodput.Goodput(str(tmp_path)) as spent:
        spent.resumed(10)
        spend(spent, clock, ("start", 4), ("loader", 1), ("step", 3))
    # 100 s until it started again, the 7 s of steps after the checkpoint, the 5 s unheard of.
    assert seconds(tmp_path) == {"start": 4.0, "input": 14.0, "steps": 23.0, "restarts": 112.0}
    assert goodput.read(str(tmp_path))["ended"] == "stopped"
    assert "restarts 1:52 (2 starts)" in capsys.readouterr().out


def test_from_the_beginning_all_steps_are_lost_and_without_a_mark_none(tmp_path, clock):
    with goodput.Goodput(str(tmp_path)) as spent:
        spend(spent, clock, ("loader", 1), ("step", 20))
        spent.resumed(7)
        assert spent._seconds["steps"] == 20
        spent.resumed(0)
    assert seconds(tmp_path) == {"input": 1.0, "restarts": 20.0}


def test_the_time_until_a_finished_run_is_extended_is_not_lost(tmp_path, clock):
    with goodput.Goodput(str(tmp_path)) as spent:
        spend(spent, clock, ("loader", 1), ("step", 20))
        spent.finished = True
    clock[0] += 1e6
    with goodput.Goodput(str(tmp_path)):
        pass
    assert "restarts" not in seconds(tmp_path)


def test_an_error_is_remembered_and_a_clock_set_back_is_no_time(tmp_path, clock):
    with pytest.raises(OSError), goodput.Goodput(str(tmp_path)) as spent:
        spent.phase("loader")
        raise OSError
    assert goodput.read(str(tmp_path))["ended"] == "failed"
    clock[0] -= 500
    with goodput.Goodput(str(tmp_path)):
        pass
    assert seconds(tmp_path) == {}


def test_only_so_many_marks_are_kept(tmp_path, clock):
    with goodput.Goodput(str(tmp_path)) as spent:
        spent.phase("loader")
        for step in range(100):
            spent.saved(step)
    assert [int(step) for step in goodput.read(str(tmp_path))["marks"]] == [*range(84, 100)]


def test_a_process_that_does_not_write_leaves_nothing(tmp_path):
    with goodput.Goodput(str(tmp_path / "none"), writes=False) as spent:
        spent.phase("loader")
    assert not (tmp_path / "none").exists() and goodput.read(str(tmp_path)) == {}


def test_a_damaged_file_counts_from_here(tmp_path, clock):
    (tmp_path / "goodput.json").write_text('{"sec')
    with goodput.Goodput(str(tmp_path)) as spent:
        spend(spent, clock, ("start", 3), ("loader", 0))
    assert seconds(tmp_path) == {"start": 3.0}


def test_a_start_that_is_refused_leaves_nothing(tmp_path, clock):
    with pytest.raises(ValueError), goodput.Goodput(str(tmp_path)) as spent:
        spend(spent, clock, ("start", 100))
        raise ValueError
    assert not [*tmp_path.iterdir()]


def test_the_imports_of_a_program_are_part_of_its_start(tmp_path):
    code = """
import sys, time
time.sleep(0.5)
from geodesic.experiments.process import cli, goodput
def main(config, values):
    for _ in range(2):  # the second time, it has been told
        with goodput.Goodput(values.workdir) as spent:
            spent.phase("loader")
cli.run(main, configured=False)
"""
    subprocess.run([sys.executable, "-c", code, f"--workdir={tmp_path}"], check=True)
    record = json.loads((tmp_path / "goodput.json").read_text())
    assert 0.5 < record["seconds"]["start"] < 30 and record["starts"] == 2
