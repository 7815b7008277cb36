import numpy as np
import pytest

from benchmarks import probe
from geodesic.experiments.protocols import fitting


def test_a_single_value_is_held_against_scikit_learn():
    rng, labels = np.random.default_rng(0), np.arange(60) % 4
    rows = lambda: fitting.Rows(rng.normal(size=(60, 8)) + 2 * np.eye(8)[labels], labels)
    found = probe.single(0.5, rows(), rows(), rounds=2)
    assert found["loss"] == pytest.approx(found["peer_loss"], rel=1e-4)
    assert found["loss"] <= found["peer_loss"] * (1 + 1e-6) and found["same_answers"] >= 0.98
    assert len(found["ours_seconds"]) == len(found["peer_seconds"]) == 2
    record = {"rows": [50, 60, 60], "sweep_seconds": [1.0, 1.5], "refit_seconds": [0.25, 0.5], "classes": 4, "size": 8,
              "evaluations": 1234, "c": 0.5, "validation": 0.75, "test": 0.5, "single": [found], "optimum": found,
              "machine": "M", "load": [0.5, 1.0], "date": "D", "commit": "X"}
    page = probe.table(record)
    assert "**1.0 s** (1.5 s of processor), 1,234 evaluations" in page
    assert "50 images that fit and 10 that validate" in page and "| 0.5 |" in page
    assert f"is {found['loss'] / found['peer_loss'] - 1:+.1e}, and {found['same_answers']:.4f} of the answers" in page
    assert f"{found['loss'] / found['peer_loss'] - 1:+.1e} | {found['same_answers']:.4f} |" in page
