import signal
import subprocess
import sys

import pytest

from geodesic.experiments.process import last_word
from tests.faults.runs import free_address

ABORT = """
import ctypes, os, threading, time
from geodesic.experiments.process import last_word
last_word.watch_abort(last_word.of_a_lost_peer(3, 'it has aborted'))
{how}
time.sleep(30)
"""
HOWS = {
    "a thread of native code": "threading.Thread(target=ctypes.CDLL(None).abort).start()",
    "a thread that holds the interpreter": "threading.Thread(target=ctypes.PyDLL(None).abort).start()",
    "the main thread": "ctypes.CDLL(None).abort()",
    "in the middle of the main thread's own line":
        "write = os.write\n"
        "def slowly(file, text):\n"
        "    threading.Thread(target=ctypes.CDLL(None).abort).start()\n"
        "    time.sleep(0.5)\n"
        "    return write(file, text)\n"
        "os.write = slowly\n"
        "last_word.say(last_word.of_a_lost_peer(3, 'a collective failed'))",
    "and then the main thread learns of it":
        "write = os.write\n"
        "def slowly(file, text):\n"
        "    time.sleep(0.5)\n"
        "    return write(file, text)\n"
        "os.write = slowly\n"
        "threading.Thread(target=ctypes.CDLL(None).abort).start()\n"
        "time.sleep(0.2)\n"
        "last_word.say('error: another line')",
}


@pytest.mark.parametrize("how", HOWS)
def test_an_abort_ends_the_process_with_one_line(how):
    done = subprocess.run([sys.executable, "-c", ABORT.format(how=HOWS[how])], capture_output=True, text=True,
                          timeout=25)
    assert done.returncode == last_word.STATUS == 75
    assert done.stderr.startswith("error: process 3 has lost another one, and ends (")
    assert done.stderr.endswith("go on from the last checkpoint\n") and done.stderr.count("\n") == 1


PAIR = """
import sys, time
from geodesic.experiments.process import hosts, runtime
runtime.start(cpu_devices=1)
hosts._HEARTBEAT_SECONDS = 8
hosts.start(sys.argv[1], 2, int(sys.argv[2]))
print("found", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(("lost", "how"), [
    (0, signal.SIGKILL), pytest.param(1, signal.SIGSTOP, marks=pytest.mark.slow)])
def test_jaxs_own_watch_has_a_last_word(lost, how):
    """Outside of any collective: of process 0 the connection breaks, and of another one the heartbeat does not come."""
    address = free_address()
    pair = [subprocess.Popen([sys.executable, "-c", PAIR, address, str(index)], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True) for index in range(2)]
    try:
        assert [process.stdout.readline() for process in pair] == ["found\n"] * 2
        pair[lost].send_signal(how)
        said = pair[1 - lost].communicate(timeout=50)[1]
        assert pair[1 - lost].returncode == last_word.STATUS
        lines = [line for line in said.splitlines() if line.startswith("error:")]
        assert len(lines) == 1 and f"process {1 - lost} has lost another one" in lines[0]
    finally:
        for process in pair:
            process.kill()
            process.communicate()
