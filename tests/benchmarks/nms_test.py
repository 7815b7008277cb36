import json
import sys

import pytest

from benchmarks import nms, turns


@pytest.mark.slow
def test_it_measures_and_tells(tmp_path, monkeypatch, capsys):
    """Ours and OpenCV's keep the same boxes, or it ends."""
    monkeypatch.setattr(turns, "WARM", 0)
    monkeypatch.setattr(nms, "CANDIDATES", (50, 200))
    monkeypatch.setattr(sys, "argv", ["nms", "--rounds=2", "--batch=2", "--height=64", "--width=96",
                                      f"--out={tmp_path / 'n'}"])
    nms.main()
    record = json.loads((tmp_path / "n.json").read_text())
    assert len(record["detect"]) == 4 and [row["candidates"] for row in record["nms"]] == [50, 200]
    assert all(len(seconds) == 2 for row in record["nms"] for seconds in row["seconds"].values())
    page = (tmp_path / "n.md").read_text()
    assert page in capsys.readouterr().out and "2 pictures of 96 x 64 pixels" in page and "| 200 | " in page
