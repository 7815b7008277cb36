"""The folder of a run: what lies where in it, and the check that a resumed run is the same run."""

import hashlib
import json
import os
import pathlib


def config_path(workdir: str) -> str:
    return os.path.join(workdir, "config.json")


def metrics_path(workdir: str) -> str:
    return os.path.join(workdir, "metrics.jsonl")


def evaluation_path(workdir: str) -> str:
    return os.path.join(workdir, "evaluation.json")


def checkpoints_path(workdir: str) -> str:
    return os.path.join(os.path.abspath(workdir), "checkpoints")


def open_for(workdir: str, config) -> None:
    """Creates `workdir` with this configuration in it, or checks that it holds the same one.

    Fields of `config.run` may differ. Raises ValueError, naming the first differing fields, for another run's
    folder and for a folder that is not empty and not a run's.
    """
    path = config_path(workdir)
    wanted = as_dict(config)
    if os.path.exists(path):
        with open(path) as file:
            stored = json.load(file)
        differing = sorted(name for name, value in _flat(wanted).items()
                           if not name.startswith("run.") and _flat(stored).get(name, "absent") != value)
        if differing:
            first = ", ".join(f"{name} {_flat(stored).get(name, 'absent')} (now {_flat(wanted)[name]})" for name in differing[:3])
            more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
            raise ValueError(f"{workdir} holds a run of another configuration: {first}{more}. "
                             f"Give the same configuration to resume it, or another --workdir")
    elif os.path.isdir(workdir) and os.listdir(workdir):
        raise ValueError(f"{workdir} is not empty and holds no run: give an empty or new --workdir")
    os.makedirs(workdir, exist_ok=True)
    write_json(path, wanted)


def as_dict(config) -> dict:
    return json.loads(config.to_json())


def config_hash(config) -> str:
    """12 hex digits that name the configuration, `run` left out."""
    values = {key: value for key, value in as_dict(config).items() if key != "run"}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


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


def _flat(values: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
