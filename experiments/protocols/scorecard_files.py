"""Scorecards as files: where they lie, what a file must hold to be one, and how their figures are written."""

import json
import os

from geodesic.errors import UserError
from geodesic.experiments.process import storage, workdir
from geodesic.experiments.protocols import record

SCHEMA, VERSION = "geodesic.scorecard", 1
NAMES = ("scorecard.json", "scorecard.csv", "scorecard.html")
_FIELDS = {
    "schema": str, "version": int, "workdir": str,
    "protocol": {"source": str, "records": str, "images": int, "classes": int},
    "contestants": {"run": {"name": str, "digest": str, "config_hash": str, "step": int}},
    "scores": list, "what": dict, "intervals": dict, "left_out": list, "curves": dict,
    "speed": {"batch": int, "rates": dict}, "seed": int, "environment": {"date": str, "commit": str, "devices": str},
}
_ROW = {"task": str, "metric": str, "better": str, "of": dict}


def folder(run: str) -> str:
    return os.path.join(run, "scorecard")


def read(name: str) -> dict:
    """Raises FileNotFoundError, or UserError in one line for a file that is no scorecard of this version."""
    try:
        found = workdir.read_json(name)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no scorecard {name!r}: geodesic scorecard writes one") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{name} is no scorecard: it is not JSON ({error})") from error
    problem = _problem(found)
    if problem:
        raise UserError(f"{name} is no scorecard of version {VERSION}: {problem}. Make it again")
    return found


def found(names: list[str]) -> dict[str, dict]:
    """The scorecards among these names, each of a workdir or of a file: name -> record. Raises UserError as `read`."""
    files = {name: name if storage.is_file(name) else os.path.join(folder(name), NAMES[0]) for name in names}
    return {name: read(file) for name, file in files.items() if (
        _says_so(file) if file == name else storage.is_file(file))}


def _says_so(file: str) -> bool:
    try:
        content = workdir.read_json(file)
    except (UnicodeDecodeError, json.JSONDecodeError):
        return False
    return isinstance(content, dict) and content.get("schema") == SCHEMA


def _problem(found) -> str:
    """What is wrong with it, or ""."""
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        return f"it does not say schema {SCHEMA!r}"
    if found.get("version") != VERSION:
        return f"it is of version {found.get('version')!r}"
    problem = record.check_fields(found, _FIELDS, "")
    for place, row in enumerate(found["scores"] if not problem else ()):
        what = f"scores[{place}]"
        problem = problem or (record.check_fields(row, _ROW, f"{what}.") if isinstance(row, dict)
                              else f"{what} is {type(row).__name__}, expected an object")
        for name, values in () if problem else row["of"].items():
            problem = problem or record.check_metric(f"{row['task']}, {row['metric']} of {name}", values)
    return problem or ("" if found["scores"] else "it holds no score")


def number(value: float) -> str:
    """A figure of any size, to four digits.

    Example:
        >>> from geodesic.experiments.protocols import scorecard_files
        >>> [scorecard_files.number(value) for value in (0.98765, 11.2345, 25557032, 1234.5, -2.5, 1.0)]
        ['0.9877', '11.23', '25,557,032', '1,234', '-2.5', '1']
    """
    if round(value, 6) == round(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}" if abs(value) >= 1 else f"{value:.4f}"


def cell(metric: dict | None) -> str:
    """A figure with its interval, where there is one."""
    if metric is None:
        return ""
    span = "" if metric["low"] is None else f" [{number(metric['low'])}, {number(metric['high'])}]"
    return number(metric["value"]) + span
