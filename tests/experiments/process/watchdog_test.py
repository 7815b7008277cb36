import subprocess
import sys
import time

from geodesic.experiments.process import watchdog

HANG = """
import sys, threading, time
from geodesic.experiments.process import watchdog
def forgotten_lock():
    threading.Event().wait()
with watchdog.Watchdog(0.3, sys.argv[1]) as watch:
    time.time = lambda: 0.0
    for _ in range(3):
        with watch.phase("step"):
            time.sleep(0.02)
    with watch.phase("loader"):
        {hang}
"""


def hang(folder, how):
    return subprocess.run([sys.executable, "-c", HANG.format(hang=how), str(folder)], capture_output=True, text=True,
                          timeout=60)


def test_a_hang_ends_the_process_with_its_stacks(tmp_path):
    done = hang(tmp_path, "forgotten_lock()")
    assert done.returncode == watchdog.STATUS
    assert "error: no progress for 0.3 s" in done.stderr and "the loader hangs" in done.stderr
    for stacks in (done.stderr, (tmp_path / "stalled.txt").read_text()):
        assert "in forgotten_lock" in stacks and "most recent call first" in stacks


def test_native_code_that_keeps_the_interpreter_does_too(tmp_path):
    # A regular expression that backtracks for ever, without letting go of the interpreter.
    done = hang(tmp_path, "__import__('re').match('(a+)+b', 'a' * 60)")
    assert done.returncode not in (0, watchdog.STATUS)
    assert "Timeout" in done.stderr and "most recent call first" in done.stderr


def test_progress_keeps_it_quiet(tmp_path):
    with watchdog.Watchdog(2.0, str(tmp_path)) as watch:
        for _ in range(9):
            time.sleep(0.25)
            watch.beat()
    with watchdog.Watchdog(0, str(tmp_path)):
        time.sleep(0.1)
    assert not list(tmp_path.iterdir())


def test_a_patient_phase_may_take_long_and_what_follows_may_not(tmp_path):
    done = hang(tmp_path, "with watch.patient('scoring'): time.sleep(1.5)\n        print('scored', flush=True)\n"
                          "        forgotten_lock()")
    assert done.stdout == "scored\n" and done.returncode == watchdog.STATUS and "the loader hangs" in done.stderr
