import statistics
import time

import numpy as np
import pytest

from benchmarks import export


def test_the_page_has_a_row_for_each_export():
    row = {"embedder": "resnet8", "above": "neck", "image_size": 32, "nodes": 29, "bytes": 3 * 2**20, "seconds": 0.52,
           "parity": {"relative": 2.5e-7, "one_minus_cosine": 1e-13, "runtime": "onnxruntime 1"}}
    file = {"nodes": 128, "bytes": 2**20, "seconds": 2.0, "parity": row["parity"]}
    record = {"rows": [row | {"embedder": "resnet18"}, row], "onnx": "1", "load": [0.5, 1.5], "seconds": 60.0,
              "made": {"machine": "M", "date": "D", "commit": "X", "packages": {"jax": "0"}},
              "whole": {"embedder": "resnet50", "image_size": 224,
                        "files": {"model.onnx": file, "model.stablehlo": file},
                        "seconds": {"1": {"geodesic": [0.2, 0.4, 0.3], "onnxruntime": [0.1, 0.2, 0.2]}}}}
    page = export.described(record)
    assert "| resnet8 | neck | 32 | 29 | 3.0 | 0.5 | 2.5e-07 | 1.0e-13 |  |  |\n| resnet18 " in page
    assert "Milliseconds" not in page
    times = {str(batch): {"geodesic": [batch / 1000] * 3, "onnxruntime": [0.002] * 3} for batch in (1, 32)}
    measured = export.described(record | {"rows": [row | {"latency": times | {"load": 0.25}}]})
    assert "| 2.5e-07 | 1.0e-13 | 1.0 / 2.0 | 32.0 / 2.0 |\n" in measured
    assert "medians of 3 rounds" in measured and "`python -m benchmarks.export --latency=3`" in measured
    assert "| 1 | 0.300 (0.200 to 0.400) | 0.200 (0.100 to 0.200) | 1.50 |" in page
    assert "Not run yet: resnet34, resnet50, " in page
    assert "| 1 |" not in export.described(record | {"whole": None})


def test_latencies_are_medians_of_a_call():
    slept = {"geodesic": lambda: time.sleep(0.01), "onnxruntime": lambda: time.sleep(0.2)}
    found = export.seconds_of_a_call(slept, 3)
    assert [len(times) for times in found.values()] == [3, 3]
    assert 0.01 <= min(found["geodesic"]) and 0.2 <= min(found["onnxruntime"])  # seconds of one call, not of a turn
    assert statistics.median(found["geodesic"]) < 0.08
    assert export.milliseconds({"geodesic": [0.0123, 0.0456, 0.0111], "onnxruntime": [2.0]}) == "12.3 / 2000.0"


@pytest.mark.slow
def test_last_scales_of_residual_branches_are_small_and_statistics_those_of_the_pictures():
    pictures = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    variables = export.variables_of("resnet8", pictures)
    block = variables["params"]["stage1_block1"]
    assert block["bn2"]["scale"].max() == np.float32(0.2) and block["bn1"]["scale"].min() == 1
    assert 0 < np.abs(variables["batch_stats"]["bn1"]["mean"]).max()
    assert {*export.without_neck(variables)["params"]} == {*variables["params"]} - {"neck"}
