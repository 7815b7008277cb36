import itertools
import time

from benchmarks import turns


def test_in_turns_and_the_first_does_not_count(monkeypatch):
    called = []
    clock = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(time, "process_time", itertools.count(step=3).__next__)
    wall, processor = turns.measure({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, rounds=2)
    assert called == ["a", "b"] * 3
    assert wall == {"a": [1, 1], "b": [1, 1]} and processor == {"a": [3, 3], "b": [3, 3]}


def test_what_takes_half_a_minute_is_counted_once(monkeypatch):
    clock = itertools.count(step=31)
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    assert turns.measure({"a": lambda: None}, rounds=3)[0] == {"a": [31]}
    assert turns.show([3.0, 1.0, 2.0]) == "2.000 (1.000 to 3.000)"
