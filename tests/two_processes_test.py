import socket
import subprocess
import sys

import pytest

from geodesic import losses


@pytest.mark.slow
def test_two_processes_of_four_devices_equal_one():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        address = f"localhost:{probe.getsockname()[1]}"
    command = [sys.executable, "-m", "tests.two_processes", address]
    processes = [subprocess.Popen([*command, str(index)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                 for index in range(2)]
    try:
        outputs = [process.communicate(timeout=900)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()  # jax catches gentler signals
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, output
        done = [line.split()[0] for line in output.splitlines()]
        assert [name for name in done if name in losses.LOSSES] == sorted(losses.LOSSES)
