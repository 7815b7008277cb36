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
    assert "| resnet8 | neck | 32 | 29 | 3.0 | 0.5 | 2.5e-07 | 1.0e-13 |\n| resnet18 " in page
    assert "| 1 | 0.300 (0.200 to 0.400) | 0.200 (0.100 to 0.200) | 1.50 |" in page
    assert "Not run yet: resnet34, resnet50, " in page
    assert "| 1 |" not in export.described(record | {"whole": None})


@pytest.mark.slow
def test_last_scales_of_residual_branches_are_small_and_statistics_those_of_the_pictures():
    pictures = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    variables = export.variables_of("resnet8", pictures)
    block = variables["params"]["stage1_block1"]
    assert block["bn2"]["scale"].max() == np.float32(0.2) and block["bn1"]["scale"].min() == 1
    assert 0 < np.abs(variables["batch_stats"]["bn1"]["mean"]).max()
    assert {*export.without_neck(variables)["params"]} == {*variables["params"]} - {"neck"}
