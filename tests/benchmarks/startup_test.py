import itertools
import subprocess
import sys

import pytest

from benchmarks import startup

LINES = ["WARNING:jax:Finished tracing init for jit in 0.5 sec\n", "training in runs/x\n", "  start loss about 8\n",
         "step 0: test  map@r 0.4\n", "WARNING:jax:Finished XLA compilation of jit(step) in 10.25 sec\n",
         "step    1/1125  loss  8.1785\n", "WARNING:jax:Finished XLA compilation of jit(late) in 7.0 sec\n"]


def test_a_run_is_read_by_its_lines():
    stopped = []
    found = startup.watch(LINES, now=itertools.count(0, 2).__next__, stop=lambda: stopped.append(1))
    assert found["marks"] == {"state made": 2, "summary told": 4, "step 0 evaluated": 6, "first step's loss": 8}
    assert found["work"] == {"tracing": 0.5, "lowering": 0, "compiling": 10.25} and stopped == [1]
    assert startup.phases(found | {"imports": 1.5}) == {
        "imports": 1.5, "data, state made": 0.5, "summary told": 2, "step 0 evaluated": 2, "first step's loss": 2}
    assert startup.phases(found | {"imports": 3.0})["imports"] == 2
    record = {"config": "c", "cold": found | {"imports": 1.5}, "warm": found | {"imports": 1.0}, "load_average": [1, 3],
              "environment": {"machine": "m", "devices": "d", "python": "3", "packages": {"jax": "0"},
                              "date": "2000-01-01"}}
    assert "| **in all** | **8.00** | **8.00** |" in startup.markdown(record)
    with pytest.raises(ValueError, match=r"ended before its first step: .*step 0: test"):
        startup.watch(LINES[:4])


def test_training_starts_without_what_it_does_not_need():
    """Each of these takes a part of a second at least."""
    heavy = ["torch", "sklearn", "matplotlib", "optuna", "scipy.stats", "scipy.io"]
    code = f"import sys, geodesic.experiments.train; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=startup.ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
