import os
import signal
import subprocess
import sys

import pytest

from geodesic.experiments.process import lock

WAIT = ("import sys; from geodesic.experiments.process import lock\n"
        "with lock.held(sys.argv[1], waits=True): print('held', flush=True)")
HOLD = ("import sys; from geodesic.experiments.process import lock\n"
        "with lock.held(sys.argv[1]): print('held', flush=True); input()")


def test_a_second_run_is_refused_and_a_killed_ones_lock_is_free(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(ValueError, match=f"is in use by process {holder.pid} on ") as error, lock.held(str(tmp_path)):
        pass
    assert "another --workdir" in str(error.value)
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with lock.held(str(tmp_path)):
        pass
    with lock.held(str(tmp_path)):  # and what ended well
        pass


def test_who_waits_says_for_whom_and_goes_on_when_that_ends(tmp_path):
    with lock.held(str(tmp_path)):
        waits = subprocess.Popen([sys.executable, "-c", WAIT, str(tmp_path)], stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True)
        assert f"is in use by process {os.getpid()} on " in waits.stderr.readline()
        assert waits.poll() is None
    assert waits.communicate(timeout=60) == ("held\n", "") and waits.returncode == 0
