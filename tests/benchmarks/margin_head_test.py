import jax
import numpy as np
import pytest

from benchmarks import margin_head, margin_head_torch
from geodesic.experiments.process import mesh as meshes

CLASSES, BATCH, SIZE = 64, 4, 8


@pytest.fixture(scope="module")
def arguments():
    rng = np.random.default_rng(0)
    return (rng.standard_normal((CLASSES, SIZE), np.float32), rng.standard_normal((BATCH, SIZE), np.float32),
            rng.integers(0, CLASSES, BATCH).astype(np.int32))


def test_forms_compute_the_same_as_torch(arguments):
    mesh = meshes.make(jax.devices()[:1])
    values = {form: float(jax.jit(margin_head.value(form, CLASSES, BATCH, mesh))(*arguments, jax.random.key(0)))
              for form in margin_head.FORMS}
    assert values["plain"] == pytest.approx(values["sharded"], rel=1e-5)
    assert values["plain"] == pytest.approx(values["streamed"], rel=1e-5)
    assert values["partial_fc"] < values["plain"]  # fewer classes to tell apart from
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    peers = margin_head_torch.steps(*arguments, margin_head.SCALE, margin_head.MARGIN, 0.1)
    assert peers["torch, plain"]() == pytest.approx(values["plain"], rel=1e-5)
    assert peers["torch, partial_fc"]() < values["plain"]


def test_what_is_compiled_for_many_devices(monkeypatch):
    monkeypatch.setattr(margin_head, "FORMS", ("sharded", "partial_fc"))
    mesh = meshes.make(jax.devices()[:2])
    found = margin_head.looked_at(CLASSES, BATCH, SIZE, mesh)
    assert set(found) == {"sharded", "partial_fc"} and found["partial_fc"]["rate"] == pytest.approx(5 / 32)
    assert found["sharded"]["moved"]["all-gather"] == 4 * (BATCH * SIZE + BATCH)  # embeddings and labels, no logits


def test_a_sample_holds_the_batch():
    assert margin_head.rate(10**6, 1024, 8) == margin_head.RATE
    assert 0.1024 < margin_head.rate(10**4, 1024, 1) < 0.103
    assert margin_head.rate(6, 4, 2) == 1


def test_page():
    found = {"temporaries": 2**30, "moved": {"all-gather": 2**20}}
    row = {"classes": 10, "one": {"sharded": found, "partial_fc": found | {"rate": 0.1}}, "split": {"sharded": found}}
    seconds = {"sharded": [1.0, 2.0, 3.0], "partial_fc": [1.0], "torch, plain": [2.0, 2.0, 2.0],
               "torch, plain, heap kept": [1.0, 1.0, 1.0], "torch, partial_fc": [4.0]}
    record = {"batch": 4, "size": 8, "rows": [row | {"seconds": seconds, "processor_seconds": seconds}, row],
              "torch": "0", "rounds": 3, "load_average": [0.5, 1.5],
              "environment": {"machine": "m", "devices": "d", "packages": {"jax": "0"}, "date": "2000-01-01"}}
    text = margin_head.markdown(record)
    assert ("| 10 | sharded | 2.000 (1.000 to 3.000) | 2.000 (2.000 to 2.000) | 1.00 | 1.000 (1.000 to 1.000) | 2.00 | "
            "1.000 | 1.000 |") in text
    assert "| 10 | partial_fc (sample 0.1) | 1.000 (1.000 to 1.000) | 4.000 (4.000 to 4.000) | 0.25 |  |  |" in text
    assert "| 10 | sharded |  |  |  |  |  | 1.000 |" in text
    assert "Load average 0.5 at the start and 1.5 at the end" in text
