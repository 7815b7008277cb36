"""The benchmark of a detector's step, small, beside a peer that a few lines stand in for."""

import json
import sys

import pytest

from benchmarks import detection_step, turns
from tests.experiments import tiny  # noqa: F401, registers the network

PEER = """
from benchmarks import served
import json
print("a line of somebody's")
print(json.dumps({"torch": "none"}), flush=True)
served.serve(lambda: 1.5)
"""


@pytest.mark.slow
def test_it_measures_and_tells(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(turns, "WARM", 1)
    monkeypatch.setattr(detection_step, "PEERS", ("torchvision",))
    monkeypatch.setattr(sys, "argv", ["detection_step", "--rounds=2", "--batch=2", "--height=64", "--width=64",
                                      "--embedder=resnet8", f"--peers={tmp_path / 'python'}",
                                      f"--out={tmp_path / 'd'}"])
    (tmp_path / "peer.py").write_text(PEER)
    (tmp_path / "python").write_text(f"#!/bin/sh\nexec {sys.executable} {tmp_path}/peer.py\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setenv("PYTHONPATH", str(detection_step.ROOT))
    detection_step.main()
    record = json.loads((tmp_path / "d.json").read_text())
    assert {name: len(answers) for name, answers in record["answers"].items()} == {
        "fcos": 2, "retinanet": 2, "torchvision": 2}
    for head in detection_step.OURS:
        first, second = record["answers"][head]
        assert first["seconds"] > 0 and first["peak_bytes"] > 2 ** 27 and second["loss"] != first["loss"]
    page = (tmp_path / "d.md").read_text()
    assert page in capsys.readouterr().out and "resnet8 with P3 to P7, 2 pictures of 64 x 64" in page
    assert "| fcos | " in page and "| torchvision | " in page
