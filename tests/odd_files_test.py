"""Odd files of every kind, as `python -m tests.odd_files` gives them to the programs."""

import pathlib
import re

import pytest

from geodesic.errors import UserError
from tests.odd_files import table
from tests.odd_files.place import Row, Shared


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return Shared(tmp_path_factory.mktemp("odd_files") / "shared")


@pytest.mark.slow
@pytest.mark.parametrize("name", table.ROWS)
def test_right_or_refused(shared, tmp_path, name):
    result = table.do(name, tmp_path, shared)
    assert result["result"] == "PASS", result["gives"]


@pytest.mark.parametrize(("check", "result", "gives"), [
    (lambda place: place.tell(f"a {place.folder}/b\n caf\udce9"), "PASS", r"a b caf\\xe9"),
    (lambda place: place.refusal(_raise, UserError("x")), "PASS", "refused: x"),
    (lambda place: place.refusal(_raise, TypeError("x")), "FAIL", "TypeError: x"),
    (lambda place: place.refusal(lambda: None), "FAIL", "AssertionError: it was not refused"),
    (lambda place: place.command("inspect_data"), "FAIL", r"AssertionError: \(1, .*error: give --config"),
    (lambda place: place.error("inspect_data"), "PASS", "error: give --config"),
])
def test_what_is_wrong_is_a_fail(tmp_path, monkeypatch, capsys, check, result, gives):
    monkeypatch.setitem(table.ROWS, "row", Row("a file", check))
    found = table.do("row", tmp_path, Shared(tmp_path))
    assert found["result"] == result and re.match(gives, found["gives"]), found
    assert capsys.readouterr().out.startswith(f"{result}  row: a file -> ")


def test_the_table_has_every_row(tmp_path):
    results = [{"name": name, "given": row.given, "gives": f"{name} | <b>", "why": row.why, "result": "PASS"}
               for name, row in table.ROWS.items()]
    results[3]["result"] = "FAIL"
    table.write(tmp_path / "t.md", results)
    lines = (tmp_path / "t.md").read_text().splitlines()
    for place, (name, row) in enumerate(table.ROWS.items()):
        line, = (line for line in lines if line.startswith(f"| {name} |"))
        assert f"{name} \\| &lt;b>" in line and line.endswith("| FAIL |" if place == 3 else "| PASS |")
        assert row.why.replace("$", "\\$") in line
    assert f"{len(results) - 1} of {len(results)} pass" in "".join(lines)


def test_the_written_table_is_of_these_rows():
    written = pathlib.Path(__file__).parents[1] / "benchmarks" / "results" / "odd_files.md"
    names = re.findall(r"^\| (\w+) \|.*\| PASS \|$", written.read_text(), re.MULTILINE)
    assert names == [*table.ROWS]


def _raise(error):
    raise error
