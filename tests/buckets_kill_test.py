"""The quickstart in a bucket, killed again and again and gone on with by another number of processes: as on a disk."""

import os
import random
import subprocess
import sys
import threading

import pytest

from tests import buckets, buckets_test

_KILLS = 20
_PRINTED_EVERY = 5


def _processes(workdir: str, count: int) -> list[subprocess.Popen]:
    """One process of two devices, or two of one: the sum of two numbers has one rounding, whichever comes first."""
    command = [sys.executable, "-u", "-m", "geodesic.experiments.train", "--config=quickstart", f"--workdir={workdir}",
               f"--cpu_devices={2 // count}", f"--config.run.log_every_steps={_PRINTED_EVERY}",
               "--config.run.checkpoint_every_steps=20", "--config.run.keep_best=map@r"]
    port = buckets._free_port()
    many = [f"--coordinator_address=127.0.0.1:{port}", "--num_processes=2"]
    return [subprocess.Popen([*command, *(count > 1) * [*many, f"--process_id={index}"]], stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, env={**os.environ, "NPROC": "32"})
            for index in range(count)]


def _end(processes: list[subprocess.Popen]) -> list[str]:
    readers, said = [], [""] * len(processes)
    for index, process in enumerate(processes):
        def read(index=index, process=process):
            said[index] = process.stdout.read()
        readers.append(threading.Thread(target=read))
        readers[-1].start()
    for process, reader in zip(processes, readers, strict=True):
        process.wait()
        reader.join()
    return said


@pytest.mark.slow
def test_the_quickstart_killed_at_random_moments_ends_as_on_a_disk(bucket, tmp_path, capsys):
    run, disk, draw = f"{bucket}/run", str(tmp_path / "run"), random.Random(bucket.partition(":")[0])
    (whole,) = _processes(disk, 1)
    (said,) = _end([whole])
    assert whole.returncode == 0, said
    lives = []
    for kill in range(_KILLS):
        count = 1 + kill % 2
        processes = _processes(run, count)
        left, last = draw.randrange(1, 20), ""  # lines: 20 lives do not make the 1,125 steps
        for line in processes[0].stdout:
            if line.startswith("step "):
                left, last = left - 1, line.split()[1]
            if left <= 0:
                break
        else:
            pytest.fail(f"life {kill + 1} ended by itself after {last!r}")
        threading.Event().wait(draw.random() * 0.5)
        for process in processes:
            process.kill()
        _end(processes)
        lives.append(f"{count} process(es) to step {last}")
    ended = _processes(run, 2)
    said = _end(ended)
    assert [process.returncode for process in ended] == [0, 0], said
    with capsys.disabled():
        print("\n" + bucket, *lives, said[0].splitlines()[-1], sep="\n  ")
    assert buckets_test.result(run) == buckets_test.result(disk)
