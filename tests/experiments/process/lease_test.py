"""One run at a time in a workdir of a bucket."""

import json
import os
import subprocess
import sys
import threading

import pytest

from geodesic.errors import UserError
from geodesic.experiments.process import lease, lock, storage
from tests import buckets


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(lease, "RENEWAL", 0.2)
    monkeypatch.setattr(lease, "SILENCE", 1.5)
    monkeypatch.setattr(lease, "_LOOK", 0.1)


def test_a_second_run_is_refused_and_told_by_whom(bucket, quick):
    run = f"{bucket}/run"
    assert not lock.is_held(run)
    with lock.held(run):
        assert lock.is_held(run)
        with pytest.raises(UserError, match=rf"{run} is in use by process {os.getpid()} on .*: a second run"):
            with lock.held(run):
                pass
    assert not lock.is_held(run) and not storage.exists(run)
    with lock.held(run):  # at once
        pass


@pytest.mark.slow
@buckets.s3_and_slowly_gs
def test_who_waits_has_it_after_the_other_or_gives_up(bucket, quick):
    run, asked, over, got = f"{bucket}/run", [], threading.Event(), []

    def wait():
        with lease.held(run, lambda: asked.append(1) or over.is_set()) as mine:
            got.append(mine)

    threads = [threading.Thread(target=wait) for _ in range(2)]
    with lease.held(run) as mine:
        assert mine
        threads[0].start()
        over.wait(3)  # longer than the silence after which a lease is taken: this one is renewed
        assert threads[0].is_alive() and len(asked) > 5 and not got
    threads[0].join(20)
    assert got == [True]
    over.set()
    with lease.held(run):
        threads[1].start()
        threads[1].join(20)
    assert got == [True, False] and not storage.exists(run)


def test_of_two_that_start_at_once_one_has_it(bucket, quick):
    run, got, refused, over = f"{bucket}/run", [], [], threading.Event()

    def start():
        try:
            with lock.held(run):
                got.append(1)
                over.wait(20)
        except UserError as error:
            refused.append(str(error))
            if len(refused) == 3:
                over.set()

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(got) == 1 and len(refused) == 3


def other(run: str, **changes) -> None:
    """A lease that a process of another machine has left behind."""
    left = {"process": 1, "host": "gone", "machine": ["another", "pid:[1]"], "started": 1.0, "id": "x", "time": 0.0}
    storage.write(f"{run}/.lock/000007", json.dumps(left | changes).encode())


@buckets.s3_and_slowly_gs
def test_what_says_nothing_is_taken_over_after_a_while(bucket, quick, capsys):
    run = f"{bucket}/run"
    other(run)
    with lock.held(run):
        assert storage.names(f"{run}/.lock") == ["000008"]
    assert f"{run} is process 1 on gone's; it is taken over if 2 s pass" in capsys.readouterr().out


def test_a_process_of_this_machine_that_is_no_more_is_not_waited_for(bucket, capsys):
    run = f"{bucket}/run"
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    other(run, process=int(ended.stdout), machine=lease._process()["machine"])
    with lock.held(run):
        assert capsys.readouterr().out == ""


def test_another_process_with_the_same_number_is_not_taken_for_it():
    here = lease._process()
    content = lambda **changes: json.dumps({**here, **changes}).encode()
    assert not lease._has_ended(content())
    assert lease._has_ended(content(started=here["started"] - 100))
    assert not lease._has_ended(content(started=here["started"] - 100, machine=[here["machine"][0], "pid:[1]"]))
    assert not lease._has_ended(b"") and not lease._has_ended(b"[]")


def test_who_was_taken_over_ends(bucket, quick, monkeypatch, capfd):
    run, ended = f"{bucket}/run", threading.Event()
    monkeypatch.setattr("os._exit", lambda status: ended.set())
    with lock.held(run):
        lease.check()
        other(run)
        with pytest.raises(PermissionError, match=f"another run has taken it over: '{run}/.lock'"):
            lease.check()
        assert ended.wait(20)
    lease.check()
    assert f"error: {run} was taken over by process 1 on gone while this run said nothing" in capfd.readouterr().err
    assert storage.names(f"{run}/.lock") == ["000001", "000007"]  # what is another's stays
