"""The folder of a run: what lies where in it, how its files are written, and what machine and code it is of."""

import datetime
import functools
import importlib.metadata
import json
import os
import platform
import subprocess

from geodesic.experiments.process import appending, storage

# Held by the run that writes there (lock.py).
LOCK = ".lock"


def config_path(workdir: str) -> str:
    return os.path.join(workdir, "config.json")


def metrics_path(workdir: str) -> str:
    return os.path.join(workdir, "metrics.jsonl")


def evaluation_path(workdir: str) -> str:
    return os.path.join(workdir, "evaluation.json")


def evaluation_arrays_path(workdir: str) -> str:
    return os.path.join(workdir, "evaluation.npz")


def checkpoints_path(workdir: str) -> str:
    return os.path.join(storage.absolute(workdir), "checkpoints")


def environment(devices) -> dict[str, object]:
    """What a number depends on besides configuration and data."""
    packages = ("jax", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "opencv-python-headless")
    return {"date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "commit": commit(),
            "python": platform.python_version(), "machine": f"{_processor()}, {os.cpu_count()} cores",
            "devices": f"{len(devices)} x {devices[0].device_kind}",
            "packages": {name: importlib.metadata.version(name) for name in packages}}


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):  # not Linux, or not x86
        return platform.machine()


def commit() -> str:
    """The commit of this code, "+changes" where its files differ from it; its version where it is no git checkout.

    Files that git does not know, and results, change nothing that is computed.
    """
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    try:
        run = functools.partial(subprocess.run, capture_output=True, text=True, check=True, timeout=10)
        git = lambda *words: run(["git", "-C", root, *words]).stdout.strip()
        # Installed, this code may lie inside of the checkout of somebody's own project.
        if os.path.realpath(git("rev-parse", "--show-toplevel")) != os.path.realpath(root):
            return _version()
        changes = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results")
        return git("rev-parse", "--short=12", "HEAD") + ("+changes" if changes else "")
    except (OSError, subprocess.SubprocessError):
        return _version()


def _version() -> str:
    return f"version {importlib.metadata.version('geodesic')}"


def write_json(path: str, values, soon: bool = False) -> None:
    """soon: in a bucket, do not wait for it."""
    write = appending.soon if soon and storage.is_remote(path) else write_atomically
    write(path, (json.dumps(values, indent=2) + "\n").encode())


def read_json(path: str):
    """Raises FileNotFoundError, and ValueError where it is no JSON."""
    return json.loads(storage.read(path).decode())


def write_atomically(path: str, content: bytes) -> None:
    """The whole file or none of it: a crash or a full disk leaves what was there."""
    storage.write(path, content)
