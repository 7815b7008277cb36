"""The benchmark of a gallery, small, beside a peer that NumPy stands in for."""

import json
import sys
import types

import numpy as np
import pytest

from benchmarks import gallery, turns


class Flat:
    """As FAISS's IndexFlatIP."""

    def __init__(self, size: int):
        self._rows, self.ntotal = np.zeros((0, size), np.float32), 0

    def add(self, rows) -> None:
        self._rows, self.ntotal = rows.copy(), len(rows)

    def search(self, queries, k: int):
        scores = queries @ self._rows.T
        places = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, places, axis=1), places


@pytest.mark.slow
def test_it_measures_and_tells(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "faiss", types.SimpleNamespace(IndexFlatIP=Flat))
    monkeypatch.setattr(turns, "need", lambda peer: None)
    monkeypatch.setattr(turns, "WARM", 0)
    monkeypatch.setattr(gallery, "_OTHERS", 50)
    monkeypatch.setattr(gallery.importlib.metadata, "version", lambda name: "1")
    monkeypatch.setattr(sys, "argv", ["gallery", "--rows=1500", "--rounds=2", "--index=ivf_flat",
                                      f"--out={tmp_path / 'g'}"])
    gallery.main()
    record = json.loads((tmp_path / "g.json").read_text())
    assert record["search"]["queries_with_the_same_ten"] == 1.0
    assert {name: len(seconds) for name, seconds in record["search"]["seconds"].items()} == {
        "1, ours": 2, "1, FAISS": 2, "100, ours": 2, "100, FAISS": 2}
    beside = record["edits_beside_searches"]
    assert len(beside["others"]) == 50 and len(beside["add"]) == len(record["edits"]["remove"]) == 5
    assert 0 < beside["opened"] < 60 and beside["memory_gib"] > 0
    made, = record["indexes"]
    assert made["rows"] == 1500 and made["recall@10"] == pytest.approx(1, abs=0.05) and len(made["seconds"]) == 2
    assert "The other process asked 50 queries" in (tmp_path / "g.md").read_text()
    page = (tmp_path / "g.md").read_text()
    assert page in capsys.readouterr().out and "The same ten rows in the same order for 100.0%" in page
    assert "1,500 rows x 512, float32" in page and "| 100 | " in page and "ivf_flat, 32 probes: recall@10 " in page
