"""The folder of a run: what lies where in it, and the check that a resumed run is the same run."""

import datetime
import functools
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess

from geodesic.configs import stored
from geodesic.errors import UserError

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
    return os.path.join(os.path.abspath(workdir), "checkpoints")


def check(workdir: str, config) -> None:
    """Whether a run of this configuration may be in `workdir`.

    Fields of `config.run` may differ, and where the data lie. Raises UserError, naming the first differing fields,
    for another run's folder and for a folder that is not empty and not a run's.
    """
    path = config_path(workdir)
    if os.path.exists(path):
        differing = stored.differing(stored.read(path), config)
        if differing:
            first = ", ".join(f"{name} {there} (now {here})" for name, (there, here) in [*differing.items()][:3])
            more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
            raise UserError(f"{workdir} holds a run of another configuration: {first}{more}. "
                             f"Give the same configuration to resume it, or another --workdir")
    elif os.path.isdir(workdir) and {*os.listdir(workdir)} - {LOCK}:
        raise UserError(f"{workdir} is not empty and holds no run: give an empty or new --workdir")


def open_for(workdir: str, config) -> None:
    """Creates `workdir` with this configuration in it. Raises as `check` does."""
    check(workdir, config)
    os.makedirs(workdir, exist_ok=True)
    write_json(config_path(workdir), stored.as_dict(config))


def environment(devices) -> dict[str, object]:
    """What a number depends on besides configuration and data."""
    packages = ("jax", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "opencv-python-headless")
    return {"date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "commit": _commit(),
            "python": platform.python_version(), "machine": f"{_processor()}, {os.cpu_count()} cores",
            "devices": f"{len(devices)} x {devices[0].device_kind}",
            "packages": {name: importlib.metadata.version(name) for name in packages}}


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):  # not Linux, or not x86
        return platform.machine()


def _commit() -> str:
    """Of this code, "+changes" where the tree differs from it; "unknown" outside of a git checkout."""
    git = ["git", "-C", os.path.dirname(__file__)]
    try:
        run = functools.partial(subprocess.run, capture_output=True, text=True, check=True, timeout=10)
        commit = run([*git, "rev-parse", "--short=12", "HEAD"]).stdout.strip()
        return commit + ("+changes" if run([*git, "status", "--porcelain"]).stdout.strip() else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def write_json(path: str, values) -> None:
    write_atomically(path, (json.dumps(values, indent=2) + "\n").encode())


def write_atomically(path: str, content: bytes) -> None:
    """The whole file or none of it: a crash or a full disk leaves what was there."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
