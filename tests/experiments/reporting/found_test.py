"""What was found, whatever the names: markup is text, and a name in no encoding comes through."""

import csv
import io
import json
import re

import numpy as np
import PIL.Image

from geodesic.experiments.galleries.searching import Found, Hit
from geodesic.experiments.reporting import found

ODD = "caf\udce9 [bold]$x$ <b>&.jpg"
READ = lambda path: np.full((20, 30, 3), 90, np.uint8)


def results(tmp_path):
    hits = [Hit("1", str(tmp_path / "a" / ODD), "<i>Ann</i> :smile:", 0.75, True),
            Hit("two", "", "", 0.25, False)]
    return [Found(str(tmp_path / "q.jpg"), hits, "<i>Ann</i> :smile:"), Found(str(tmp_path / "r.jpg"), [], "unknown")]


def test_a_table_and_csv_and_json_show_names_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    shown = found.text(results(tmp_path), "table", "how")
    assert shown.startswith(f"paths are below {tmp_path}\n") and shown.endswith("how\n")
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines() if line[0] == "│"]
    assert cells == [["q.jpg", "<i>Ann</i> :smile:", "1", "0.7500", "<i>Ann</i> :smile:", f"a/{ODD}"],
                     ["", "", "2", "0.2500", "", "two"], ["r.jpg", "unknown", "", "", "", ""]]
    rows = [*csv.DictReader(io.StringIO(found.text(results(tmp_path), "csv", "how")))]
    assert [(row["id"], row["known"], row["cosine"]) for row in rows] == [
        ("1", "yes", "0.750000"), ("two", "no", "0.250000")]
    assert rows[0]["path"] == str(tmp_path / "a" / ODD)
    one, other = json.loads(found.text(results(tmp_path), "json", "how"))["queries"]
    assert one["hits"][0]["path"] == str(tmp_path / "a" / ODD) and one["hits"][1]["rank"] == 2
    assert other == {"query": str(tmp_path / "r.jpg"), "answer": "unknown", "hits": []}


def test_a_page_and_a_sheet(tmp_path):
    found.write(str(tmp_path / "page.html"), results(tmp_path), READ, "how <b>")
    page = (tmp_path / "page.html").read_text()
    assert "&lt;i&gt;Ann&lt;/i&gt; :smile:" in page and "<i>Ann" not in page and "how &lt;b&gt;; framed" in page
    assert len(re.findall('<figure class="found (query|hit|miss)"', page)) == 4 and "<b>unknown</b>" in page
    found.write(str(tmp_path / "sheet.png"), results(tmp_path), READ, "how")
    assert PIL.Image.open(tmp_path / "sheet.png").size[0] > 200
    found.write(str(tmp_path / "none.png"), results(tmp_path)[1:], READ, "how")
    assert (tmp_path / "none.png").exists()
    hit = Hit("1", "a.jpg", "Ann", 0.75, None)  # without a threshold nothing stands before the query
    found.write(str(tmp_path / "plain.html"), [Found("q.jpg", [hit], None)], READ, "how")
    page = (tmp_path / "plain.html").read_text()
    assert '<div class="row"><figure class="found query"' in page and 'class="answer"' not in page


def test_rows_of_no_file(tmp_path):
    rows = [{"id": "n", "path": "", "label": "x", "metadata": {"age": 3}, "digest": "0"}]
    assert "age 3" in found.rows_text(rows, "table")
    assert found.rows_text(rows, "csv").splitlines()[1].startswith("n,,x,")
    assert found.rows_text([], "table").endswith("0 row(s)\n")


def test_columns_in_which_nothing_stands_are_left_out(tmp_path):
    path = str(tmp_path / "a" / "1.jpg")
    rows = [{"id": path, "path": path, "label": "x", "metadata": {}, "digest": "0"}]
    head = lambda rows: re.findall(r"\w+", found.rows_text(rows, "table").splitlines()[2])
    assert head(rows) == ["id", "label"]
    assert head([*rows, {**rows[0], "id": "n", "metadata": {"age": 3}}]) == ["id", "picture", "label", "metadata"]
