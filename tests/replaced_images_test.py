import socket
import subprocess
import sys

import pytest

from tests.experiments import tiny


@pytest.mark.slow
def test_both_hosts_know_what_either_had_to_replace_and_stop_together(tmp_path):
    """20 images, two of them damaged: a host meets one in some epochs and the other in others."""
    folder = tiny.faces(tmp_path)
    for name in ("class1/2.jpg", "class3/0.jpg"):
        (folder / name).write_bytes((folder / name).read_bytes()[:100])
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        address = f"localhost:{probe.getsockname()[1]}"
    command = [sys.executable, "-m", "tests.replaced_images", address]
    processes = [subprocess.Popen([*command, str(index), str(folder)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True) for index in range(2)]
    try:
        outputs = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()  # jax catches gentler signals
    for output in outputs:
        assert "state {'step': 100, 'bad': [6, 12]}" in output, output
        assert "refused 2 of 20 training images cannot be read, more than invalid_data_tolerance_percent 9" in output
