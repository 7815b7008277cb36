import errno
import os

import pytest

from geodesic.experiments.process import progress


def test_records_past_the_restored_step_are_redone(tmp_path):
    folder = str(tmp_path)
    metrics = progress.Metrics(folder, 0)
    for step in (1, 2, 3):
        metrics.write(step, loss=float(step))
    metrics.close()
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 4, "lo')  # cut short by a crash
    resumed = progress.Metrics(folder, 2)
    resumed.write(3, loss=30.0)
    resumed.close()
    assert [record["loss"] for record in progress.read_metrics(folder)] == [1, 2, 30]


def test_a_run_from_the_start_keeps_nothing(tmp_path):
    """Killed before its first checkpoint: the evaluation of step 0 will be done again."""
    for _ in range(2):
        metrics = progress.Metrics(str(tmp_path), 0)
        metrics.write(0, **{"map@r": 0.5})
        metrics.close()
    assert len(progress.read_metrics(str(tmp_path))) == 1


def test_no_metrics_yet(tmp_path):
    assert progress.read_metrics(str(tmp_path)) == []


def test_the_clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    clock = progress.Clock(10, 110, batch_size=4)
    now[0] = 5.0
    with clock.paused():
        now[0] = 100.0   # an evaluation
    clock.waiting(2.0)
    now[0] = 105.0
    values = clock.read(30)  # 20 steps in 10 s
    assert values == {"images_per_second": 8.0, "data_wait": 0.2, "eta_seconds": 40.0}
    assert clock.read(30) == {}


def test_durations():
    assert [progress.duration(s) for s in (0, 59.6, 3600, 86399)] == ["0:00", "1:00", "1:00:00", "23:59:59"]


def test_what_a_full_disk_refuses_waits_for_room(tmp_path, monkeypatch, capsys):
    metrics = progress.Metrics(str(tmp_path), 0)
    write, full = os.write, [True]

    def limited(file, content):
        if full[0]:
            if len(content) > 10:
                return write(file, content[:10])  # what still fits
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, content)

    monkeypatch.setattr("os.write", limited)
    for step in (1, 2):
        metrics.write(step, loss=float(step))
    full[0] = False
    metrics.write(3, loss=3.0)
    metrics.close()
    assert [record["loss"] for record in progress.read_metrics(str(tmp_path))] == [1, 2, 3]
    assert capsys.readouterr().out.count("the metrics cannot be written: No space left on device") == 1


def test_tensorboard_gets_the_scalars(tmp_path):
    for first in (0, 1):  # within one second
        metrics = progress.Metrics(str(tmp_path), first)
        metrics.write(first + 1, loss=0.5, other=float("nan"))
        metrics.close()
    files = list((tmp_path / "tensorboard").iterdir())
    assert len(files) == 2
    for path in files:
        assert b"loss" in path.read_bytes() and b"other" not in path.read_bytes()


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_is_for_a_terminal(terminal, monkeypatch, capsys):
    monkeypatch.setenv("TTY_INTERACTIVE", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", str(int(terminal)))
    with progress.bar("reading photographs", 3) as advance:
        for _ in range(3):
            advance(1)
    out, err = capsys.readouterr()
    assert out == "" and ("reading photographs" in err and "3/3" in err) == terminal


def test_lines_have_a_rate_and_the_time_to_go(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    advance = progress.lines("features of train images", 1000)
    for count in (400, 100, 100):  # the first are of an earlier call
        advance(count)
        now[0] += 20
    assert capsys.readouterr().out.splitlines() == ["features of train images: 500/1,000  5.0 img/s  ETA 1:40",
                                                    "features of train images: 600/1,000  5.0 img/s  ETA 1:20"]
