"""What a run in a bucket tells while it goes on."""

import pathlib
import threading

import pytest

from geodesic.experiments.process import appending, goodput, progress, storage


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(appending, "_SECONDS", 0.05)
    yield
    appending.flush()


def test_records_are_parts_and_come_back_in_order(bucket, monkeypatch):
    monkeypatch.setattr(appending, "_PART", 40)
    run = f"{bucket}/run"
    assert progress.read_metrics(run) == []
    for first in (0, 3):
        metrics = progress.Metrics(run, first)
        for step in range(first + 1, 7):
            metrics.write(step, loss=float(step * (1 + first)))
        metrics.close()
    assert [record["loss"] for record in progress.read_metrics(run)] == [1, 2, 3, 16, 20, 24]
    names = storage.names(f"{run}/metrics")
    assert len(names) > 2 and all(name.startswith("000002-") for name in names)
    progress.Metrics(run, 0).close()
    assert progress.read_metrics(run) == []


def test_a_run_that_moves_keeps_its_records(bucket, tmp_path):
    """From a disk into a bucket, and back."""
    def told(workdir, first):
        metrics = progress.Metrics(workdir, first)
        metrics.write(first + 1, loss=float(first + 1))
        metrics.close()

    folder, run = str(tmp_path / "run"), f"{bucket}/run"
    told(folder, 0)
    storage.send(folder, run)
    told(run, 1)
    assert [record["loss"] for record in progress.read_metrics(run)] == [1, 2]
    assert not storage.exists(f"{run}/metrics.jsonl")
    back = str(tmp_path / "back")
    storage.fetch(run, back)
    assert [record["loss"] for record in progress.read_metrics(back)] == [1, 2]
    told(back, 2)
    assert [record["loss"] for record in progress.read_metrics(back)] == [1, 2, 3]


def test_tensorboards_files_are_those_of_a_disk(bucket, tmp_path, monkeypatch):
    """Byte for byte, but for times: the parts, one after the other."""
    monkeypatch.setattr("time.time", lambda: 1e9)
    monkeypatch.setattr(appending, "_PART", 300)
    for workdir in (f"{bucket}/run", str(tmp_path)):
        board = progress._Board(f"{workdir}/tensorboard", 0)
        for step in range(20):
            board.write(step, {"loss": 0.5})
        board.close()
    appending.flush()
    (file,) = pathlib.Path(tmp_path, "tensorboard").iterdir()
    names = storage.names(f"{bucket}/run/tensorboard")
    assert len(names) > 2
    assert b"".join(storage.read(f"{bucket}/run/tensorboard/{name}") for name in names) == file.read_bytes()


def test_nothing_waits_for_the_bucket_and_the_last_word_counts(bucket, monkeypatch, capsys):
    write, open_again = storage.write, threading.Event()

    def slow(path, content):
        if not open_again.is_set():
            raise storage.LostError(110, f"{path} could not be reached")
        write(path, content)

    monkeypatch.setattr(storage, "write", slow)
    for number in range(5):
        appending.soon(f"{bucket}/word", b"%d" % number)
    with pytest.raises(OSError, match="could not be reached"):
        appending.flush()
    open_again.set()
    appending.flush()
    assert storage.read(f"{bucket}/word") == b"4"


def test_goodput_is_kept_across_starts(bucket):
    run = f"{bucket}/run"
    for _ in range(2):
        with goodput.Goodput(run) as spent:
            spent.phase("loader")
            spent.finished = True
    assert goodput.read(run)["starts"] == 2 and goodput.read(run)["ended"] == "finished"
