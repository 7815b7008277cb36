"""What one process can know of many; tests/pods_test.py starts two."""

import types

import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils

from geodesic.experiments.process import accelerators, hosts, last_word
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
    monkeypatch.setattr(last_word, "watch_abort", lambda line: None)
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


@pytest.mark.parametrize(("kind", "usable", "asked"), [
    ("TPU", True, True), ("TPU", False, False), ("GPU", True, False)])
def test_a_tpu_tells_of_its_hosts_but_to_a_program_that_runs_alone(started, monkeypatch, kind, usable, asked):
    """Where jax cannot use it, it knows of no hosts either, and `accelerators.check` says what is missing."""
    monkeypatch.setattr(accelerators, "found", lambda: (kind, "/dev/vfio/0"))
    monkeypatch.setattr(accelerators, "can_use", lambda _: usable)
    monkeypatch.setattr(hosts.jax, "config", types.SimpleNamespace(jax_platforms="tpu,cpu", update=lambda *_: None))
    hosts.start(alone=True)
    assert not started
    hosts.start()
    assert len(started) == asked


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


LOST = [
    "UNKNOWN: Gloo all-reduce failed: [external/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer\n"
    " [127.0.0.1]:39618",
    "FAILED_PRECONDITION: Gloo AllGather failed: Connection reset by peer",
    "UNKNOWN: Gloo context initialization failed: DEADLINE_EXCEEDED: GetKeyValue() timed out with key: cpu:gloo/0,1/2",
    "INTERNAL: NCCL operation ncclGroupEnd() failed: remote process exited or there was a network error",
    "DEADLINE_EXCEEDED: Barrier timed out. Id: q::0. # of tasks that reached the barrier: 1/2.",
    "UNAVAILABLE: The following tasks are unhealthy (stopped sending heartbeats): /job:jax_worker/task:1",
    "ABORTED: The TPU pod slice has been reset",
    "INTERNAL: Agent is in error [type.googleapis.com/tensorflow.CoordinationServiceError='']",
]
OTHER = [
    "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 17179869184 bytes.",
    "INTERNAL: no kernel for /data/connection/NCCL/barrier.png",
    "INTERNAL: the coordination of barriers is unavailable",
    "INVALID_ARGUMENT: Gloo needs a name",
    "NOT_FOUND: UNAVAILABLE: no such file",
    "the connection is UNAVAILABLE: Gloo",
]


@pytest.mark.parametrize("message", LOST)
def test_an_error_of_xlas_that_tells_of_a_lost_process(message):
    line = hosts.lost_peer(jax.errors.JaxRuntimeError(message))
    assert line.startswith(f"error: process 0 has lost another one, and ends ({' '.join(message.split())[:60]}")
    assert "\n" not in line
    assert hosts.lost_peer(RuntimeError(message)) == ""
    assert hosts.lost_peer(ValueError(message)) == (line if ": Gloo " in message or ": NCCL " in message else "")


@pytest.mark.parametrize("message", OTHER)
def test_words_alone_tell_of_nothing(message):
    assert hosts.lost_peer(jax.errors.JaxRuntimeError(message)) == hosts.lost_peer(ValueError(message)) == ""


@pytest.mark.parametrize("message", [LOST[0], OTHER[0]])
def test_a_value_error_counts_where_jaxs_gather_between_hosts_raises_it(message, monkeypatch):
    def fail(*_, **__):
        raise ValueError(message)

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(multihost_utils, "_handle_array_process_allgather", fail)
    with pytest.raises(ValueError, match=message.split()[0]) as error:
        multihost_utils.process_allgather(np.ones(2))
    assert bool(hosts.lost_peer(error.value)) == (message == LOST[0])
