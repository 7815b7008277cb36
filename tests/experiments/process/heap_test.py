import platform
import subprocess
import sys

import pytest

# A block that was used and freed is used again: pages are not mapped anew. The first block may lie elsewhere.
PROGRAM = """
import resource, sys
import numpy as np
from geodesic.experiments.process import heap
if sys.argv[1] == "keep":
    heap.keep()
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
