"""Trials as a Slurm job array, through submitit."""

import os
import subprocess
import sys

import submitit

from geodesic.errors import UserError


class Job:
    """What a node of the cluster runs: one trial, by its number. Preempted, it is queued again and goes on."""

    def __init__(self, sweep: str, workdir: str):
        self.folder = os.getcwd()  # what paths in the sweep's file go by
        self.command = [sys.executable, "-m", "geodesic.experiments.sweep", f"--sweep={os.path.abspath(sweep)}",
                        f"--workdir={os.path.abspath(workdir)}"]

    def __call__(self, number: int) -> int:
        return subprocess.run([*self.command, f"--trial={number}"], cwd=self.folder, check=False).returncode

    def checkpoint(self, number: int) -> submitit.helpers.DelayedSubmission:
        """Called by submitit when Slurm takes the node away or the time is over."""
        return submitit.helpers.DelayedSubmission(self, number)


def submit(sweep: str, workdir: str, numbers: list[int], workers: int, options: dict,
           cluster: str = "slurm") -> list[submitit.Job]:
    """Submits the trials with these numbers as one array, of which `workers` run at once; 0 = all.

    options: of submitit's executor, such as timeout_min, slurm_partition, gpus_per_node, cpus_per_task.
    Raises UserError for an option that submitit does not know, and where there is no Slurm.
    """
    try:
        executor = submitit.AutoExecutor(folder=os.path.join(workdir, "slurm"), cluster=cluster)
        executor.update_parameters(name="geodesic", slurm_array_parallelism=workers or len(numbers), **options)
        return executor.map_array(Job(sweep, workdir), numbers)
    except (NameError, RuntimeError, AssertionError, FileNotFoundError) as error:
        raise UserError(f"could not submit to {cluster}: {' '.join(str(error).split())}") from error
