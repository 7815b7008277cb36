import logging
import os
import platform
import subprocess
import sys

import pytest

from geodesic.experiments.process import runtime

# A block that was used and freed is used again: pages are not mapped anew. The first block may lie elsewhere.
PROGRAM = """
import resource, sys
import numpy as np
from geodesic.experiments.process import runtime
if sys.argv[1] == "keep":
    runtime.keep_heap()
faults = []
for _ in range(4):
    before = resource.getrusage(resource.RUSAGE_SELF)
    np.ones(2**24, np.float32)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before.ru_minflt)
print(faults[-1], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="these are switches of glibc")
def test_what_was_freed_is_used_again():
    run = lambda how: map(int, subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True,
                                              check=True).stdout.split())
    (kept, size), (mapped, usual) = run("keep"), run("leave")
    assert kept < 10 < mapped  # at least the block's pages of 2 MiB
    assert size < usual + 40 * 2**10  # KiB: half of the machine's memory was not touched


@pytest.mark.parametrize(("logger", "path", "text", "shown"), [
    ("absl", "/lib/site-packages/orbax/checkpoint/_src/futures/future.py", "run() raised an exception", False),
    ("absl", "/lib/site-packages/grain/loader.py", "a worker has died; see /data/orbax/log", True),
    ("asyncio", "/lib/asyncio/base_events.py", "Task exception was never retrieved\nfuture: <Task finished "
     "coro=<save() done, defined at /lib/site-packages/orbax/checkpoint/x.py:1>>", False),
    ("asyncio", "/lib/asyncio/base_events.py", "Task exception was never retrieved\nfuture: <Task finished>", True),
    ("jax", "/lib/site-packages/jax/_src/xla_bridge.py", "no GPU found, falling back to CPU", True),
])
def test_orbaxs_chatter_alone_is_hidden(logger, path, text, shown, caplog):
    runtime.start()  # again: the tests have done so already
    record = logging.LogRecord(logger, logging.ERROR, path, 1, text, None, None)
    with caplog.at_level(logging.ERROR):
        logging.getLogger(logger).addHandler(caplog.handler)
        try:
            logging.getLogger(logger).handle(record)
        finally:
            logging.getLogger(logger).removeHandler(caplog.handler)
    assert (record in caplog.records) == shown


@pytest.mark.parametrize(("encoding", "printed"), [("utf-8:strict", b"caf\xe9 \xc3\xbc.jpg\n"),
                                                   ("ascii:strict", b"caf\xe9 \\xfc.jpg\n")])
def test_a_files_name_in_no_encoding_is_printed_as_it_is(encoding, printed):
    code = ("import sys; from geodesic.experiments.process import runtime; runtime.start(); "
            "[print('caf\\udce9 \\xfc.jpg', file=stream) for stream in (sys.stdout, sys.stderr)]")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True,
                          env={**os.environ, "PYTHONIOENCODING": encoding})
    assert done.stdout == done.stderr == printed
