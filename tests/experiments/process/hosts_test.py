"""What one process can know of many; tests/pods_test.py starts two."""

import jax
import numpy as np
import pytest

from geodesic.experiments.process import hosts
from geodesic.experiments.process import mesh as meshes


@pytest.fixture
def started(monkeypatch):
    """What jax.distributed is told, in an environment that tells of nothing."""
    for name in ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID", "SLURM_STEP_NUM_TASKS",
                 "OMPI_COMM_WORLD_SIZE", "TPU_WORKER_HOSTNAMES"):
        monkeypatch.delenv(name, raising=False)
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda **options: calls.append(options))
    monkeypatch.setattr(jax.config, "update", lambda *_: None)
    return calls


def test_alone_nothing_is_started(started, monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    monkeypatch.setenv("SLURM_NTASKS", "8")  # of a batch script: its steps are not this process
    assert not hosts.start() and not started


def test_flags_and_their_variables(started, monkeypatch):
    hosts.start("host:1", 4, 3)
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "pod-0:2")
    monkeypatch.setenv("JAX_NUM_PROCESSES", "2")
    monkeypatch.setenv("JAX_PROCESS_ID", "0")
    hosts.start()
    assert [(call["coordinator_address"], call["num_processes"], call["process_id"]) for call in started] == \
        [("host:1", 4, 3), ("pod-0:2", 2, 0)]


@pytest.mark.parametrize("variable", ["SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"])
def test_launchers_that_jax_knows(started, monkeypatch, variable):
    monkeypatch.setenv(variable, "2")
    hosts.start()
    assert len(started) == 1 and "coordinator_address" not in started[0]


@pytest.mark.parametrize("given", [("host:1", 0, -1), ("", 2, 1), ("host:1", 2, 2), ("host:1", 0, 0)])
def test_half_a_description_is_refused(started, given):
    with pytest.raises(ValueError, match="several processes need --coordinator_address=host:port"):
        hosts.start(*given)
    assert not started


def test_a_variable_that_is_no_number(started, monkeypatch):
    monkeypatch.setenv("JAX_NUM_PROCESSES", "two")
    with pytest.raises(ValueError, match=r"JAX_NUM_PROCESSES='two' in the environment: expected a number"):
        hosts.start()


def test_a_program_of_one_process_is_refused_to_many(monkeypatch):
    hosts.must_be_alone("geodesic prepare")
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    with pytest.raises(ValueError, match=r"prepare is for one process, and this is one of 4: start it once"):
        hosts.must_be_alone("geodesic prepare")


def test_alone_agreement_is_immediate():
    agreement = hosts.Agreement(meshes.make())
    assert [agreement.largest(number) for number in (0, 0, 15, 15)] == [0, 0, 15, 15]
    assert hosts.from_first({"a": [1]}) == {"a": [1]} and hosts.is_first()
    np.testing.assert_array_equal(hosts.add(np.asarray([2 ** 63, 1], np.uint64)), np.asarray([2 ** 63, 1], np.uint64))


def test_the_first_ones_error_is_everyones():
    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match=r"^no$"):
        hosts.first_does(fail)


def test_only_what_tells_of_a_lost_process_is_called_so():
    lost = jax.errors.JaxRuntimeError("UNKNOWN: Gloo all-reduce failed: Connection reset\n by peer")
    assert "process 0 has lost another one, and ends (UNKNOWN: Gloo" in hosts.lost_peer(lost)
    assert hosts.lost_peer(jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")) == ""
    assert hosts.lost_peer(RuntimeError("connection")) == ""
