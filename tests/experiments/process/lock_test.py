import os
import signal
import subprocess
import sys

import pytest

from geodesic.experiments.process import lock

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
