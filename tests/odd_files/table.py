"""The kinds of odd files by name, and the table of what comes of each."""

import datetime
import os
import pathlib
import time

import jax

from geodesic.experiments.process import workdir
from tests.odd_files import folders, pictures, runs, tables, weights
from tests.odd_files.place import Place, Row, Shared

PARTS = {"Pictures": pictures.ROWS, "Names and folders": folders.ROWS, "Tables": tables.ROWS, "Weights": weights.ROWS,
         "Runs": runs.ROWS}
ROWS: dict[str, Row] = {name: row for rows in PARTS.values() for name, row in rows.items()}
_LONGEST = 420


def do(name: str, folder: pathlib.Path, shared: Shared) -> dict:
    """Tries one row. Whatever goes wrong in it is a FAIL with its reason."""
    started = time.monotonic()
    try:
        gives, passed = ROWS[name].check(Place(folder / name, shared)), True
    except Exception as error:
        gives, passed = f"{type(error).__name__}: {error}", False
    gives = " ".join(os.fsencode(gives).decode("utf-8", "backslashreplace").split())
    result = {"name": name, "given": ROWS[name].given, "gives": gives, "why": ROWS[name].why,
              "result": "PASS" if passed else "FAIL", "seconds": time.monotonic() - started}
    print(f"{result['result']}  {name}: {result['given']} -> {gives}", flush=True)
    return result


def write(path: pathlib.Path, results: list[dict]) -> None:
    environment = workdir.environment(jax.devices())
    packages = {"jax": jax.__version__, "numpy": environment["packages"]["numpy"]}
    lines = ["# Odd files", "",
             "Files, names, tables and weights as people have them, each made small by the tests and given to the "
             "programs. A row passes where every value is the right one, or where the file is refused in one line. "
             f"{sum(result['result'] == 'PASS' for result in results)} of {len(results)} pass. Written by "
             "`python -m tests.odd_files --out=benchmarks/results/odd_files.md`.", "",
             f"{datetime.datetime.now(datetime.UTC).date().isoformat()}, commit {environment['commit']}, "
             f"{environment['machine']}, Python {environment['python']}, "
             + ", ".join(f"{name} {version}" for name, version in packages.items()) + "."]
    by_name = {result["name"]: result for result in results}
    cell = lambda text: text.replace("|", "\\|").replace("<", "&lt;").replace("$", "\\$")
    cut = lambda text: text if len(text) <= _LONGEST else text[:_LONGEST] + " ..."
    for part, rows in PARTS.items():
        lines += ["", f"## {part}", "", "| row | input | what it gives | |", "|---|---|---|---|"]
        for name in rows:
            row = by_name[name]
            gives = cell(cut(row["gives"])) + (f" *{cell(row['why'])}*" if row["why"] else "")
            lines.append(f"| {name} | {cell(row['given'])} | {gives} | {row['result']} |")
    lines += ["", "In italics: why the rule is this one."]
    workdir.write_atomically(str(path), ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace"))
