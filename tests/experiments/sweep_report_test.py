import csv
import json

import numpy as np
import pytest

from geodesic.experiments import sweep, sweep_report
from geodesic.experiments.sweeping import running
from tests.experiments.sweeping.sweeps import flags, write

LARGE_FAILURE = 0.9


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    monkeypatch.setattr(running, "PROGRAMS", (("tests.experiments.sweeping.fake_program",),))
    monkeypatch.setattr(sweep.signal, "signal", lambda *_: None)


def test_from_sweep_to_report(tmp_path, capsys):
    path = write(tmp_path / "s.py", (0.3, 0.5, LARGE_FAILURE), seeds=(0, 1, 2), extra=(
        "paper={'margin=0.5': {'map@r': .77, 'LFW': 99.83}}"))
    assert sweep.main(None, flags(tmp_path, path, dry_run=True)) == 0
    assert "9 trials" in capsys.readouterr().out and not (tmp_path / "runs").exists()
    assert sweep.main(None, flags(tmp_path, path)) == 1
    assert "6 done, 3 failed" in capsys.readouterr().out
    sweep_report.main(None, flags(tmp_path, path))
    markdown, page = ((tmp_path / "runs" / f"report.{end}").read_text() for end in ("md", "html"))
    # The two points differ by .2 with every seed: a mean of .51 and no spread of the difference.
    assert "| margin=0.5 | 0.5100 (0.4852, 0.5348) | +0.2000 (+0.2000, +0.2000) | <0.001 | 0.77 |" in markdown
    assert "* map@r. Above 'margin=0.3': margin=0.5. Below: none. May be chance (p of 0.05 or more): none." in markdown
    assert "| paper: LFW | seeds |" in markdown and "| 99.83 | 3 |" in markdown
    assert "| margin=0.9 | failed |" in markdown and "6 trials done, 3 failed" in markdown
    assert "ArithmeticError: the fake one fails" in page and "geodesic train --config=stored:" in page
    assert "http" not in page.replace("http-equiv", "")  # opens offline
    with open(tmp_path / "runs" / "report.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["metric"] for row in rows] == ["map@r", "recall@1"] * 2
    assert float(rows[2]["difference"]) == pytest.approx(0.2) and rows[2]["values"].startswith("0:0.500000 1:0.510000")


def test_a_baseline_that_is_no_point(tmp_path):
    path = write(tmp_path / "s.py", (0.2,), extra="baseline='margin=9'")
    sweep.main(None, flags(tmp_path, path))
    with pytest.raises(ValueError, match=r"'margin=9' is not a point of the sweep: margin=0\.2"):
        sweep_report.main(None, flags(tmp_path, path))


def test_another_baseline(tmp_path, capsys):
    path = write(tmp_path / "s.py", (0.3, 0.5), seeds=(0, 1))
    sweep.main(None, flags(tmp_path, path))
    sweep_report.main(None, flags(tmp_path, path, baseline="margin=0.5", out=str(tmp_path / "other")))
    assert "* map@r. Above 'margin=0.5': none. Below: margin=0.3." in (tmp_path / "other.md").read_text()


def test_one_seed_tests_nothing(tmp_path, capsys):
    path = write(tmp_path / "s.py", (0.3, 0.5), seeds=(0,))
    sweep.main(None, flags(tmp_path, path))
    sweep_report.main(None, flags(tmp_path, path))
    assert "(p of 0.05 or more): none. Not tested, for want of a second seed: margin=0.5." in (
        tmp_path / "runs" / "report.md").read_text()


def test_before_anything_ran(tmp_path, capsys):
    path = write(tmp_path / "s.py", (0.2,))
    with pytest.raises(FileNotFoundError, match="start it with"):
        sweep_report.main(None, flags(tmp_path, path))
    (tmp_path / "runs").mkdir()
    sweep_report.main(None, flags(tmp_path, path))
    assert "no trial has finished" in capsys.readouterr().out
    assert np.array_equal(list((tmp_path / "runs").iterdir()), [])


def test_a_report_is_of_one_commit(tmp_path, capsys):
    path = write(tmp_path / "s.py", (0.2,), seeds=(0, 1))
    sweep.main(None, flags(tmp_path, path))
    first, _ = sorted((tmp_path / "runs" / "trials").glob("*/trial.json"))

    def edit(commit):
        record = json.loads(first.read_text())
        record["environment"]["commit"] = commit
        first.write_text(json.dumps(record))

    edit("1")
    with pytest.raises(ValueError, match=r"the trials are of 2 commits \(0, 1\), and a report is of one commit, "
                                         r"without changes: give --changed"):
        sweep_report.main(None, flags(tmp_path, path))
    assert not (tmp_path / "runs" / "report.md").exists()
    sweep_report.main(None, flags(tmp_path, path, changed=True))
    for end in ("md", "html"):
        assert "Mind that the trials are of 2 commits (0, 1)." in (tmp_path / "runs" / f"report.{end}").read_text()
    assert "* map@r. Nothing has been run that could be compared with 'margin=0.2'." in (
        tmp_path / "runs" / "report.md").read_text()
    edit("0+changes")
    with pytest.raises(ValueError, match="2 commits"):
        sweep_report.main(None, flags(tmp_path, path))
    path = write(tmp_path / "s.py", (0.2,), seeds=(json.loads(first.read_text())["seed"],))
    with pytest.raises(ValueError, match=r"the code of the trials differs from its commit \(0\+changes\)"):
        sweep_report.main(None, flags(tmp_path, path))
