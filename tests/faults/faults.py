"""The faults of a run: each is done to it so many times, and what comes of it is counted.

Every function takes the runs, a seeded random generator and the number of tries, and returns (survived, lost, how):
tries that came out as they must, what was lost, and what was done.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

from geodesic.experiments.process import last_word
from tests.faults.runs import ROOT, Process, Runs

STEPS = 24
_NO_ROOM = re.compile("the checkpoint of step .* cannot be written: No space left on device")


def sigkill(runs: Runs, random, tries: int):
    seconds, survived = runs.whole()["seconds"], 0
    for attempt in range(tries):
        run, killed = f"kill{attempt}", False
        while not killed:
            shutil.rmtree(runs.folder / run, ignore_errors=True)
            process, = runs.start(run, "--step_seconds=0.1")
            time.sleep(random.uniform(0.05, 1.0) * seconds)
            killed = process.status is None
            process.kill()
        again, = runs.finish(run)
        same = again.status == 0 and runs.same(run)
        if not same:
            print(f"try {attempt}: status {again.status}\n{again.output()}", flush=True)
        survived += same
        shutil.rmtree(runs.folder / run)
    return survived, "the steps since the last checkpoint, done again", \
        "at a random moment from the start of the program to its end, then the same command: final state, place in " \
        "the data and every recorded loss compared bit for bit with an undisturbed run"


def sigterm_one_of_two(runs: Runs, random, tries: int):
    layout = {"processes": 2, "devices": 1}
    runs.whole(**layout)
    survived = 0
    for attempt in range(tries):
        run = f"term{attempt}"
        processes = runs.start(run, "--step_seconds=0.1", **layout)
        processes[0].wait_for("pid ")
        time.sleep(random.uniform(0.5, 6.0))
        processes[attempt % 2].send(signal.SIGTERM)
        ended = [process.wait() for process in processes]
        stopped = ended == [143, 143] and "stopped at step" in processes[0].output()
        again = runs.finish(run, **layout)
        survived += (stopped or ended == [0, 0]) and again[0].status == 0 and runs.same(run, **layout)
        shutil.rmtree(runs.folder / run)
    return survived, "nothing: both save the same step and end with status 143", \
        "to either one of two processes, at a random moment of compilation, training or evaluation"


def peer_killed(runs: Runs, random, tries: int):
    layout = {"processes": 2, "devices": 1}
    runs.whole(**layout)
    survived, longest = 0, 0.0
    for attempt in range(tries):
        run = f"peer{attempt}"
        processes = runs.start(run, "--step_seconds=0.1", **layout)
        processes[0].wait_step(2 * random.randrange(1, 10))
        processes[attempt % 2].kill()
        killed = time.monotonic()
        other = processes[1 - attempt % 2]
        status, errors, said = other.wait(180), other.errors(), other.output()  # the run that follows has the same log
        longest = max(longest, time.monotonic() - killed)
        again = runs.finish(run, **layout)
        told = status == last_word.STATUS and len(errors) == 1 and "has lost another" in errors[0]
        if not told:
            print(f"try {attempt}: status {status}\n{said}", flush=True)
        survived += told and again[0].status == 0 and runs.same(run, **layout)
        shutil.rmtree(runs.folder / run)
    return survived, "the steps since the last checkpoint, done again", \
        f"SIGKILL to either one of two processes: the other ends with one line and status 75 (the slowest after " \
        f"{longest:.0f} s)"


def disk_full(runs: Runs, random, tries: int):
    """A tmpfs of 3 MiB, filled while the run goes on."""
    expected = runs.whole()
    mount = runs.folder / "small"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", mount], check=True)
    survived = 0
    try:
        for attempt in range(tries):
            run, filler = f"small/full{attempt}", mount / "filler"
            log = runs.folder / f"full{attempt}.log"
            log.unlink(missing_ok=True)
            process = _start_logged(runs, run, log)
            process.wait_step(2 * random.randrange(1, 5))
            # A checkpoint that is given up or removed leaves room: filled again and again.
            while process.status is None and not _NO_ROOM.search(process.output()):
                fill(filler)
            reported, first = bool(_NO_ROOM.search(process.output())), process.output()
            if attempt % 2 == 0:  # room again: the run has gone on, and nothing is missing at its end
                filler.unlink(missing_ok=True)
                ended = process.wait() == 0
            else:                 # no room to the end: one line, and the same command when there is some
                while process.status is None:
                    fill(filler)
                ended = process.status == 1 and len(process.errors()) == 1 and "make room" in process.errors()[0]
                first = process.output()
                filler.unlink(missing_ok=True)
                ended &= _start_logged(runs, run, log).wait() == 0
            left = runs.left_by(run)
            same = reported and ended and all(left[key] == expected[key] for key in left)
            if not same:
                print(f"try {attempt}: reported {reported}, ended {ended}\n{first}\n{log.read_text()}", flush=True)
            survived += same
            shutil.rmtree(runs.folder / run)
    finally:
        subprocess.run(["umount", mount], check=True)
    return survived, "checkpoints for which there was no room", \
        "a tmpfs of 3 MiB filled to the last byte during training and kept full until a save has failed, or (every " \
        "second try) until the run has ended; then emptied"


def fill(path: pathlib.Path) -> None:
    """To the last byte; what was there stays."""
    time.sleep(0.02)
    with open(path, "ab", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue


def _start_logged(runs: Runs, run: str, log: pathlib.Path):
    """Its log lies elsewhere: on the full disk there would be no room for it."""
    return Process(runs.command(run, "--step_seconds=0.2"), log)


def folder_vanishes(runs: Runs, random, tries: int):
    survived = 0
    for attempt in range(tries):
        run = f"gone{attempt}"
        process, = runs.start(run, "--step_seconds=0.2")
        process.wait_step(2 * random.randrange(2, 9))
        shutil.rmtree(runs.folder / run / "checkpoints", ignore_errors=True)
        survived += process.wait() == 0 and runs.same(run)
        shutil.rmtree(runs.folder / run)
    return survived, "the checkpoints that were in it", "the folder of checkpoints deleted during training"


def not_a_number(runs: Runs, random, tries: int):
    survived = 0
    for attempt in range(tries):
        step, run = random.randrange(1, STEPS + 1), f"nan{attempt}"
        process, = runs.start(run, f"--poison={step}", "--step_seconds=0.1")
        if attempt % 2:
            process.wait_for("will be skipped")
            process.kill()
            process, = runs.finish(run, f"--poison={step}")
        status, undisturbed = process.wait(), f"{run}-once"
        # The same batch skipped from another checkpoint: nothing else may change.
        runs.finish(undisturbed, f"--poison={step}", "--config.run.checkpoint_every_steps=5")
        skipped = json.loads((runs.folder / run / "skipped.json").read_text())["steps"]
        left = [runs.left_by(name)["digests"] for name in (run, undisturbed)]
        survived += status == 0 and skipped == [step] and left[0] == left[1] != runs.whole()["digests"]
        for name in (run, undisturbed):
            shutil.rmtree(runs.folder / name)
    return survived, "the batch, which is recorded and skipped; the steps since the checkpoint, done again", \
        "NaN in the pixels of a random step's batch; every second run is also killed after it went back"


def loader_dies(runs: Runs, random, tries: int):
    def told(process, run: str) -> bool:
        return process.status == 1 and "a thread of the loader dies here" in process.output()

    survived = _told_and_went_on(runs, random, tries, "loader_dies", "--step_seconds=0.05", told)
    return survived, "the steps since the last checkpoint, done again", \
        "an exception in a thread of the loader: the run ends and says so; the same command goes on"


def _told_and_went_on(runs: Runs, random, tries: int, fault: str, option: str, told) -> int:
    """How often the run ended as `told` says, and the same command then ended as an undisturbed run."""
    survived = 0
    for attempt in range(tries):
        run = f"{fault}{attempt}"
        process, = runs.finish(run, f"--{fault}={random.randrange(12, STEPS)}", option)
        ended_so = told(process, run)
        again, = runs.finish(run)
        survived += ended_so and again.status == 0 and runs.same(run)
        shutil.rmtree(runs.folder / run)
    return survived


def worker_killed(runs: Runs, random, tries: int):
    survived = 0
    for attempt in range(tries):
        run = f"worker{attempt}"
        process, = runs.start(run, "--config.run.loader_workers=1", "--step_seconds=0.5")
        process.wait_step(2 * random.randrange(1, 8))
        workers = process.workers()
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        ended = process.wait()
        went_on = workers and ended == 0 and "a loader worker has died" in process.output()
        if not (went_on and runs.same(run)):
            print(f"try {attempt}: {len(workers)} workers, status {ended}\n{process.output()}", flush=True)
        survived += bool(went_on) and runs.same(run)
        shutil.rmtree(runs.folder / run)
    return survived, "nothing", "SIGKILL to every process of the loader (run.loader_workers=1: that of the training, " \
        "and that of an evaluation where there is one) at a random step; compared with a run whose loader has threads"


def loader_hangs(runs: Runs, random, tries: int):
    def told(process, run: str) -> bool:
        stacks = (runs.folder / run / "stalled.txt").read_text()
        # Test images go through the same decoder: an evaluation may be the first to wait.
        named = re.search("the (loader|evaluation) hangs", stacks) and "in decode" in stacks
        return process.status == 75 and bool(named)

    survived = _told_and_went_on(runs, random, tries, "loader_hangs", "--config.run.stall_timeout_seconds=10", told)
    return survived, "the steps since the last checkpoint, done again", \
        "a thread of the loader that waits for ever: after run.stall_timeout_seconds (here 10) the run ends with " \
        "status 75 and the stack of what hangs; the same command goes on"


def clock_changes(runs: Runs, random, tries: int):
    survived = 0
    for attempt in range(tries):
        run = f"clock{attempt}"
        process, = runs.start(run, "--clock", "--step_seconds=0.1", "--config.run.stall_timeout_seconds=60")
        if attempt % 2:
            process.wait_step(2 * random.randrange(1, 10))
            process.kill()
            process, = runs.finish(run, "--clock")
        survived += process.wait() == 0 and runs.same(run)
        shutil.rmtree(runs.folder / run)
    return survived, "a jump forward during a save may cost that checkpoint (orbax's timeouts go by this clock): a " \
        "line says so, and the next save tries again", "time.time of the process, not the machine's clock, set " \
        "forward or back by up to 12 days before every fifth step; every second run is also killed"


def two_in_one_workdir(runs: Runs, random, tries: int):
    survived = 0
    for attempt in range(tries):
        run = f"twice{attempt}"
        first, = runs.start(run, "--step_seconds=5")  # it will not end before the second has started
        first.wait_step(random.randrange(1, 3))
        second = subprocess.run(runs.command(run), capture_output=True, text=True, cwd=ROOT)
        refused = second.returncode == 1 and "is in use by process" in second.stderr and first.status is None
        first.send(signal.SIGTERM)
        stopped = first.wait() == 143
        again, = runs.finish(run)
        survived += refused and stopped and again.status == 0 and runs.same(run)
        shutil.rmtree(runs.folder / run)
    return survived, "nothing: the second is refused, the first goes on", "the same command while the first one runs"


def other_devices(runs: Runs, random, tries: int):
    """8 devices, then 4, 1, and two processes of 4: what each saw, in order."""
    expected = runs.folder / "expected.jsonl"
    runs.finish("one-device", f"--record={expected}")
    survived = 0
    for attempt in range(tries):
        run, record = f"devices{attempt}", runs.folder / f"devices{attempt}.jsonl"
        layouts = ({"devices": 8}, {"devices": 4}, {"devices": 1}, {"processes": 2, "devices": 4})
        ends = [*sorted(random.sample(range(2, 11), 3)), None]
        went_on = True
        for layout, end in zip(layouts, ends, strict=True):
            processes = runs.start(run, f"--record={record}", *(["--step_seconds=0.3"] if end else []), **layout)
            if end:
                processes[0].wait_step(2 * end)
                processes[0].send(signal.SIGTERM)
            went_on &= {process.wait() for process in processes} == {143 if end else 0}
        survived += went_on and global_batches(record) == global_batches(expected)
        shutil.rmtree(runs.folder / run)
    return survived, "nothing", "one run on 8 devices, then 4, 1, and 2 processes x 4, stopped by SIGTERM in " \
        f"between: checksums of all images and labels of all {STEPS} batches, in order, against one device's"


def global_batches(record: pathlib.Path) -> list[list[int]]:
    """Of every step, in the order drawn, the checksums of the global batch's rows. Raises where a step is missing."""
    steps = {}
    for line in record.read_text().splitlines():
        entry = json.loads(line)
        rows = steps.setdefault(entry["step"], {})
        for place, value in enumerate(entry["rows"], start=entry["first"]):
            assert place not in rows, f"row {place} of step {entry['step']} was drawn twice"
            rows[place] = value
    assert sorted(steps) == list(range(1, STEPS + 1)), sorted(steps)
    return [[steps[step][place] for place in range(len(steps[step]))] for step in sorted(steps)]
