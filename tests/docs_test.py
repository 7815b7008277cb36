"""What the documents say, run."""

import doctest
import pathlib
import re

import nbclient
import nbformat
import pytest

ROOT = pathlib.Path(__file__).parents[1]
# Training and evaluation print much: "..." stands for any of it, and for nothing.
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def blocks(path: pathlib.Path) -> str:
    """The Python of a page, each block at the line where it stands."""
    lines, inside = [], False
    for line in path.read_text().splitlines():
        fence = line.startswith("```")
        lines.append("" if fence or not inside else line)
        inside = line.startswith("```python") if fence else inside
    return "\n".join(lines) + "\n"


def test_every_line_of_the_python_page(tmp_path, monkeypatch):
    page = ROOT / "docs" / "python.md"
    monkeypatch.chdir(tmp_path)
    test = doctest.DocTestParser().get_doctest(blocks(page), {}, page.name, str(page), 0)
    assert len(test.examples) > 25
    output = []
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    runner.run(test, out=output.append)
    assert runner.failures == 0, "".join(output)


def test_every_block_of_the_python_page_is_of_python():
    text = (ROOT / "docs" / "python.md").read_text()
    assert text.count("```python") == len(re.findall(r"^```$", text, re.MULTILINE))


@pytest.mark.slow
def test_the_tour_runs_and_shows_its_pictures(tmp_path):
    tour = nbformat.read(ROOT / "docs" / "tour.ipynb", as_version=4)
    nbformat.validate(tour)
    expected = [[kind for output in cell.get("outputs", []) for kind in output.get("data", {}) if kind == "image/png"]
                for cell in tour.cells]
    assert sum(map(len, expected)) == 5, "run it with its pictures: jupyter nbconvert --execute --inplace"
    nbclient.NotebookClient(tour, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    found = [[kind for output in cell.get("outputs", []) for kind in output.get("data", {}) if kind == "image/png"]
             for cell in tour.cells]
    assert found == expected
