"""Runs a sweep: every trial that is not done yet. The same command again does only what is missing.

    geodesic sweep --sweep=margins --workdir=runs/margins [--workers=2]
    geodesic sweep --sweep=... --workdir=... --dry_run
    geodesic sweep --sweep=... --workdir=... --launcher=slurm --slurm=timeout_min=600,gpus_per_node=1
    geodesic sweep --sweep=... --workdir=... --trial=$JOB_COMPLETION_INDEX

`geodesic sweep_report` shows how it stands, while it runs and after. The workdir may lie in a bucket (gs://, s3://): of
the sweeps there, one runs at a time.
"""

import contextlib
import os
import shlex
import signal
import time

import rich.table
from absl import flags

from geodesic.errors import UserError
from geodesic.experiments.process import cli, config_files, console, lock, progress, storage
from geodesic.experiments.sweeping import local, running, search, slurm, trials


def define_flags() -> None:
    flags.DEFINE_string("sweep", "", "The sweep: a file with a get_sweep() or the name of one of configs/sweeps, and "
                        ":ARGUMENT where it takes one.")
    flags.DEFINE_bool("dry_run", False, "Print the trials, their folders and what would run; start nothing.")
    flags.DEFINE_integer("workers", 0, "Trials at once; 0 = one for each GPU or four cores (Slurm: all).")
    flags.DEFINE_float("trial_memory_gib", 0.0, "A trial that takes more is stopped and has failed; 0 = no limit.")
    flags.DEFINE_integer("trial", -1, "Run this one trial, by its number in --dry_run; for JobSet, xpk and the like.")
    flags.DEFINE_enum("launcher", "local", ["local", "slurm"], "Where trials run.")
    flags.DEFINE_list("slurm", [], "name=value options of submitit, such as timeout_min=600,slurm_partition=gpu.")
    flags.DEFINE_string("storage", "", "A search's Optuna storage; default: SQLite in --workdir. Many hosts need "
                                       "a server's URL.")


def main(_, values) -> int:
    """Exit status 0 where all trials are done, 1 where one is not, 143 where the sweep was stopped."""
    sweep = trials.load_sweep(values.sweep)
    if sweep.search:
        return _search(sweep, values)
    if values.launcher == "slurm" and storage.is_remote(values.workdir):
        raise UserError(f"--launcher=slurm keeps its jobs' files in --workdir, on a disk that all nodes share; for "
                        f"{values.workdir} let each task of an array of your own run --trial=$SLURM_ARRAY_TASK_ID")
    expanded = trials.expand(sweep, values.workdir)
    if values.trial >= len(expanded):
        raise UserError(f"--trial={values.trial}: the sweep has trials 0 to {len(expanded) - 1}")
    if values.dry_run:
        return _show_plan(expanded)
    chosen = range(len(expanded)) if values.trial < 0 else [values.trial]
    states = dict(zip(chosen, _states([expanded[number] for number in chosen]), strict=True))
    missing = [number for number, state in states.items() if state != "done"]
    print(f"{len(expanded)} trials, {len(missing)} to run, in {values.workdir}", flush=True)
    if values.launcher == "slurm":
        return _submit(values, [number for number in missing if states[number] != "running"])
    # On a disk sweeps share trials, by the locks of these. --trial is one process of many.
    one_alone = storage.is_remote(values.workdir) and values.trial < 0
    with lock.held(values.workdir) if one_alone else contextlib.nullcontext():
        return _run(expanded, missing, values)


def _states(expanded: list[trials.Trial]) -> list[str]:
    return [record["state"] for record in storage.each(running.read, expanded)]


def _run(expanded: list[trials.Trial], missing: list[int], values) -> int:
    stop = running.Stop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):  # USR2 is what submitit has Slurm send
        signal.signal(number, stop.ask)
    started, workers = time.monotonic(), values.workers or local.default_workers()
    ended = []

    def tell(trial: trials.Trial, record: dict) -> None:
        ended.append(trial)
        eta = (time.monotonic() - started) / len(ended) * (len(missing) - len(ended))
        print(f"[{len(ended)}/{len(missing)}] {describe(trial, record)}  ETA {progress.duration(eta)}", flush=True)

    local.run([expanded[number] for number in missing], workers, values.trial_memory_gib, stop, tell)
    if stop.asked:
        print("stopped; the same command goes on from there", flush=True)
        return 128 + signal.SIGTERM
    left = [(expanded[number], running.read(expanded[number])) for number in missing]
    states = [record["state"] for _, record in left]
    undone = [describe(trial, record) for trial, record in left if record["state"] not in ("done", "failed")]
    report = shlex.join(["geodesic", "sweep_report", f"--sweep={values.sweep}", f"--workdir={values.workdir}"])
    print(f"{states.count('done')} done, {states.count('failed')} failed; `{report}` has the table")
    if undone:
        print(f"{len(undone)} undone: {'; '.join(undone)}")
    return int(states.count("done") < len(states))


def describe(trial: trials.Trial, record: dict) -> str:
    """One line: what became of it, and its scores or why it failed."""
    text = f"{record['state']}: {trial.label}, seed {trial.seed} ({trial.hash})"
    if record["state"] == "failed":
        return f"{text}: {record['reason']}: {record['last_lines'][-1] if record['last_lines'] else 'no output'}"
    scores = record["scores"] if "scores" in record else {}
    return "  ".join([text, *(f"{name} {scores[name]:.3f}" for name in ("map@r", "recall@1") if name in scores)])


def _submit(values, missing: list[int]) -> int:
    options = {}
    for option in values.slurm:
        name, equals, value = option.partition("=")
        if not equals:
            raise UserError(f"--slurm takes name=value,...; got {option!r}")
        options[name] = int(value) if value.isdigit() else value
    os.makedirs(values.workdir, exist_ok=True)
    file, colon, argument = values.sweep.partition(":")
    path = config_files.find(file, "get_sweep") + colon + argument
    jobs = slurm.submit(path, values.workdir, missing, values.workers, options) if missing else []
    print(f"submitted {len(jobs)} jobs: {', '.join(job.job_id for job in jobs)}")
    return 0


def _search(sweep, values) -> int:
    if values.launcher == "slurm" or values.trial >= 0:
        raise UserError("a search asks for one trial after another: start `geodesic sweep` with one --storage on "
                        "as many hosts as you like, instead of --launcher=slurm or --trial")
    if values.dry_run:
        print(f"a search of {sweep.search.trials} trials for {'more' if sweep.search.maximise else 'less'} "
              f"{sweep.search.metric} over {', '.join(sweep.search.space)}")
        return 0
    stop = running.Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop.ask)
    best = search.run(sweep, values.workdir, values.storage, values.workers or local.default_workers(),
                      values.trial_memory_gib, stop,
                      lambda trial, record: print(describe(trial, record), flush=True))
    if stop.asked:
        print("stopped; the same command goes on from there", flush=True)
        return 128 + signal.SIGTERM
    print(f"best: {best}" if best else "no trial has finished")
    return int(not best)


def _show_plan(expanded: list[trials.Trial]) -> int:
    table = rich.table.Table("number", "folder", "state", "seed", "point", title=f"{len(expanded)} trials")
    for number, (trial, state) in enumerate(zip(expanded, _states(expanded), strict=True)):
        table.add_row(str(number), trial.hash, f"bad value: {trial.problem}" if trial.problem else
                      state if state in ("done", "running") else f"{state}, would run", str(trial.seed), trial.label)
    console.plain().print(table)
    return 0


if __name__ == "__main__":
    cli.run(main, define_flags, required=("sweep", "workdir"), configured=False, alone=True,
            buckets=("workdir",))
