"""Result records: a number with everything that it depends on, as JSON of a versioned schema.

A record lies in its run's workdir, `records/PROTOCOL.json`. `read` refuses, in one line, what is not a record of this
version: a number whose protocol is not known compares with nothing.
"""

import datetime
import json
import math
import os
import shlex
import sys
import time

from geodesic.configs import stored
from geodesic.errors import UserError
from geodesic.experiments.process import hosts, storage, workdir

SCHEMA = "geodesic.result"
VERSION = 1

# How the step that was measured was chosen.
LAST, VALIDATION, TEST, GIVEN = "last", "best on validation", "best on test", "given by hand"
SELECTIONS = (LAST, VALIDATION, TEST, GIVEN)

_NUMBER = (int, float)
# Field -> its type, or the fields of what it holds. A record may hold more; it must hold these.
_FIELDS = {
    "schema": str, "version": int,
    "protocol": {"name": str, "task": str, "data": str, "split": str, "complete": bool, "image_size": int,
                 "resize": int, "fit": str, "average_horizontal_flips": bool, "models": int, "test": dict},
    "selection": {"rule": str, "on": str, "candidates": list},
    "metrics": dict, "definitions": dict, "counts": dict,
    "seed": int, "paper": str, "config_hash": str, "config": dict,
    "checkpoint": {"step": int, "digest": str},
    "code": {"commit": str, "dirty": bool},
    "packages": dict, "hardware": {"devices": str, "machine": str},
    "interval": {"level": _NUMBER, "over": str, "resamples": int},
    "wall_clock_seconds": _NUMBER, "date": str, "command": str,
}
_METRIC = {"value": _NUMBER, "low": _NUMBER, "high": _NUMBER}


def make(config, devices, *, protocol: dict, selection: dict, metrics: dict, definitions: dict, counts: dict,
         checkpoint: dict, interval: dict, started: float) -> dict:
    """A complete record of this moment. started: `time.monotonic()` when the evaluation began.

    metrics: name -> {"value", "low", "high"}; low and high are None where the interval is not known.
    Raises UserError where a part does not fit the schema: an invalid record is not written.
    """
    environment = workdir.environment(devices)
    commit, _, changes = environment["commit"].partition("+")
    record = {
        "schema": SCHEMA, "version": VERSION, "protocol": protocol, "selection": selection, "metrics": metrics,
        "definitions": definitions, "counts": counts, "seed": config.seed, "paper": config.paper,
        "config_hash": stored.hash_of(config), "config": stored.as_dict(config), "checkpoint": checkpoint,
        "code": {"commit": commit, "dirty": bool(changes)},
        "packages": environment["packages"] | {"python": environment["python"]},
        "hardware": {"devices": environment["devices"], "machine": environment["machine"]},
        "interval": interval, "wall_clock_seconds": round(time.monotonic() - started, 3),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "command": command(),
    }
    problem = _problem(record)
    if problem:
        raise UserError(f"the record would not be valid: {problem}")
    return record


def command() -> str:
    """This process's command, as it can be typed again."""
    program = os.path.splitext(os.path.basename(sys.argv[0]))[0]
    return shlex.join(["geodesic", program, *sys.argv[1:]])


def folder(run: str) -> str:
    return os.path.join(run, "records")


def path(run: str, protocol: str) -> str:
    return os.path.join(folder(run), f"{protocol}.json")


def followed(record: dict) -> str:
    """What a record is of, for its file and for whoever reads it: the protocol, and whether its images were turned."""
    return record["protocol"]["name"] + (".quarter_turns" if record["protocol"].get("quarter_turns") else "")


def title(record: dict) -> str:
    """What a record's table is headed by."""
    return (f"{record['protocol']['data']}, protocol {followed(record)}, step {record['checkpoint']['step']} "
            f"({record['selection']['rule']})")


def write(run: str, record: dict) -> str:
    """Where it lies now. Whole or not at all. A record selected on the test set does not take an honest one's place,
    nor does one of turned images that of images as they are.
    """
    chosen_on_test = record["selection"]["rule"] == TEST
    name = path(run, followed(record) + (".selected_on_test" if chosen_on_test else ""))
    hosts.first_does(lambda: workdir.write_json(name, record))
    return name


def read(name: str) -> dict:
    """Raises FileNotFoundError, or UserError in one line for a file that is no record of this version."""
    try:
        record = workdir.read_json(name)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no record {name!r}: geodesic evaluate --protocol=... writes one") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{name} is no result record: it is not JSON ({error})") from error
    problem = _problem(record)
    if problem:
        raise UserError(f"{name} is no result record of version {VERSION}: {problem}. Evaluate the run again")
    return record


def find(name: str) -> list[str]:
    """The record files of a run, of a folder of records, or the file itself. Raises FileNotFoundError without one."""
    if storage.is_file(name):
        return [name]
    # Only a folder called so holds nothing but records.
    inside = name if os.path.basename(storage.absolute(name)) == "records" else folder(name)
    found = sorted(file for file in storage.names(inside) if file.endswith(".json"))
    if not found:
        raise FileNotFoundError(f"no record in {name!r}: geodesic evaluate --protocol=... writes one")
    return [os.path.join(inside, file) for file in found]


def _problem(record) -> str:
    """What is wrong with it, or ""."""
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        return f"it does not say schema {SCHEMA!r}"
    if record.get("version") != VERSION:
        return f"it is of version {record.get('version')!r}"
    problem = check_fields(record, _FIELDS, "")
    if problem:
        return problem
    if record["selection"]["rule"] not in SELECTIONS:
        return f"selection.rule {record['selection']['rule']!r} is not one of {', '.join(SELECTIONS)}"
    for name, values in record["metrics"].items():
        problem = check_metric(name, values)
        if problem:
            return problem
        if name not in record["definitions"]:
            return f"metric {name!r} has no definition"
    return "" if record["metrics"] else "it holds no metric"


def check_fields(values: dict, fields: dict, prefix: str) -> str:
    for name, kind in fields.items():
        if name not in values:
            return f"{prefix}{name} is missing"
        value = values[name]
        if isinstance(kind, dict):
            problem = (check_fields(value, kind, f"{prefix}{name}.") if isinstance(value, dict)
                       else f"{prefix}{name} is {type(value).__name__}, expected an object")
            if problem:
                return problem
        elif not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            wanted = "a number" if kind is _NUMBER else kind.__name__
            return f"{prefix}{name} is {type(value).__name__}, expected {wanted}"
    return ""


def check_metric(name: str, values) -> str:
    if not isinstance(values, dict):
        return f"metric {name!r} is {type(values).__name__}, expected value, low and high"
    for key, kind in _METRIC.items():
        value = values.get(key, "missing")
        if value is None and key != "value":
            continue  # no interval is known
        if not isinstance(value, kind) or isinstance(value, bool) or not math.isfinite(value):
            return f"metric {name!r}: {key} is {value!r}, expected a finite number"
    return ""
