import functools
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from geodesic.datasets import workers


def example(place, fail_at=-1):
    if place == fail_at:
        raise ValueError(f"cannot read the image {place}")
    return {"place": np.int64(place), "worker": np.int64(os.getpid())}


def test_batches_come_in_order_and_a_killed_worker_loses_none():
    batches = workers.Batches(example, 12, 3, processes=2, ahead=4)
    seen = []
    for number, batch in enumerate(batches):
        seen.append(batch["place"])
        if number in (2, 6):
            os.kill(int(batch["worker"][0]), signal.SIGKILL)
    np.testing.assert_array_equal(np.concatenate(seen), np.arange(36))


@pytest.mark.slow
def test_a_program_ends_after_one_of_its_workers_was_killed():
    """The others have more to do than their queue holds, and would be waited for."""
    program = ("import os, signal; from geodesic.datasets import workers; from tests.datasets import workers_test\n"
               "batches = workers.Batches(workers_test.example, 40, 1, processes=2, ahead=12)\n"
               "for batch in batches:\n"
               "    if int(batch['place'][0]) in (3, 9, 15): os.kill(int(batch['worker'][0]), signal.SIGKILL)\n")
    done = subprocess.run([sys.executable, "-c", program], timeout=120, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_an_example_raises_is_raised_here():
    batches = workers.Batches(functools.partial(example, fail_at=4), 4, 3, processes=1, ahead=1)
    assert next(batches)["place"].tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="cannot read the image 4"):
        next(batches)


def die(place):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_workers_that_always_die_are_given_up():
    with pytest.raises(ChildProcessError, match="died 3 times in a row"):
        next(workers.Batches(die, 2, 1, processes=1, ahead=1))
