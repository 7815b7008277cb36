import itertools
import os
import sys
import time

import pytest

from benchmarks import turns


def test_in_turns_and_the_first_two_do_not_count(monkeypatch):
    called = []
    clock = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(time, "process_time", itertools.count(step=3).__next__)
    wall, processor = turns.measure({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, rounds=2)
    assert called == ["a", "b"] * 4
    assert wall == {"a": [1, 1], "b": [1, 1]} and processor == {"a": [3, 3], "b": [3, 3]}


def test_what_takes_half_a_minute_is_counted_once(monkeypatch):
    clock = itertools.count(step=31)
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    assert turns.measure({"a": lambda: None}, rounds=3)[0] == {"a": [31]}
    assert turns.show([3.0, 1.0, 2.0]) == "2.000 (1.000 to 3.000)"


def build(number):
    if number < 0:
        raise ArithmeticError("negative")
    return (lambda: os._exit(3) if number else None), {"process": os.getpid()}


def test_elsewhere():
    run = turns.Elsewhere(build, 0)
    assert run.facts["process"] != os.getpid()
    (seconds,) = turns.measure({"a": run}, rounds=1)[0]["a"]
    assert 0 <= seconds < 5
    run.close()
    with pytest.raises(RuntimeError, match="ArithmeticError: negative"):
        turns.Elsewhere(build, -1)
    with pytest.raises(RuntimeError, match="ended with status 3"):
        turns.Elsewhere(build, 1).timed()


def test_a_peer_that_is_not_there_is_one_line():
    turns.need("json")
    with pytest.raises(SystemExit, match=r"^error: no_such_peer is not installed; "):
        turns.need("no_such_peer")


@pytest.mark.parametrize(("commit", "given", "goes_on"), [
    ("abc", [], True), ("abc+changes", [], False), ("abc+changes", ["--changed"], True),
    ("abc+changes", ["--out={elsewhere}"], True), ("version 0.1.0", [], True)])
def test_a_result_to_be_committed_is_of_one_commit(monkeypatch, tmp_path, commit, given, goes_on):
    monkeypatch.setattr("geodesic.experiments.process.workdir.commit", lambda: commit)
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(sys, "argv", ["program", *(one.format(elsewhere=tmp_path / "x") for one in given)])
    if goes_on:
        assert turns.options("what it is", rounds=5, out=str(turns.RESULTS / "x")).rounds == 5
        return
    with pytest.raises(SystemExit, match=r"error: the code differs from its commit \(abc\+changes\), and a result"):
        turns.options("what it is", rounds=5, out=str(turns.RESULTS / "x"))
