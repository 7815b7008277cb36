"""What the benchmark makes of what node says; node itself is run in tests/docs_test.py."""

import json
import pathlib
import re
import sys

import jax
import numpy as np
import onnxruntime
import pytest

from benchmarks import export_node
from geodesic.experiments.checkpoints import imported
from geodesic.experiments.trained import loading, network
from tests.experiments import tiny


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [False, True])
def test_the_greatest_difference_of_all_pictures_decides(tmp_path, monkeypatch, capsys, wrong):
    config = tiny.config(tiny.faces(tmp_path / "faces", 4, 4))
    embedder = network.make_embedder(config.embedder, config.head)
    imported.save(str(tmp_path / "run"), config, jax.jit(lambda: network.init_embedder(embedder, 16, seed=0))(), {})
    loading.load(tmp_path / "run").export(tmp_path / "out")

    def node(*words):
        if words[0] == "-p":
            return "v1, onnxruntime-node 2\n"
        assert "InferenceSession.create" in pathlib.Path(words[0]).read_text()
        content = pathlib.Path(words[2]).read_bytes()
        header = re.match(rb"P6\n(\d+) (\d+)\n255\n", content)
        pixels = np.frombuffer(content[header.end():], np.uint8).reshape(1, int(header[2]), int(header[1]), 3)
        pixels = pixels[..., ::-1] if wrong else pixels  # blue first
        row = onnxruntime.InferenceSession(words[1]).run(None, {"images": pixels})[0][0]
        return json.dumps(row.tolist())

    monkeypatch.setattr(export_node, "node", node)
    monkeypatch.setattr(sys, "argv", ["export_node", f"--workdir={tmp_path / 'run'}", f"--exported={tmp_path / 'out'}",
                                      "--pictures=3"])
    with pytest.raises(SystemExit) as ended:
        export_node.main()
    assert ended.value.code == int(wrong)
    shown = capsys.readouterr().out
    assert re.search(r"model\.onnx: 1 - cosine to run\.embed \S+ at most of 3 pictures", shown) and "int8" not in shown
    assert "node v1, onnxruntime-node 2; " in shown
