import types

import jax
import pytest

from benchmarks import compiled
from geodesic.errors import UserError
from geodesic.experiments import plan, tasks
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.training import model
from tests.experiments import tiny


@pytest.mark.parametrize("row", compiled.ROWS, ids=lambda row: row.name)
def test_every_row_is_a_step_that_can_be_built(row):
    config = compiled.configuration(row)
    mesh = meshes.make(jax.devices()[:4])
    built = model.build(config, tasks.get(config.task), compiled.CLASSES, config.batch_size, mesh)
    assert built.embedder.dtype == "bfloat16"


def test_facts_of_a_step_compiled_here_and_its_page():
    config = tiny.config(loss__num_classes=64)
    found = compiled.facts(plan.compile_step(config, meshes.make(jax.devices()[:2])))
    assert found["traffic"] > found["least_traffic"] > 0 and found["flops"] > 0 and found["cycles"] == 0
    row = compiled.Row("a step", "tiny", 16, 8)._asdict() | found | {"flops": 1e12, "traffic": 819e6}
    record = {"rows": {"a step": row}, "compiler": "a compiler 1",
              "environment": {"packages": {"jax": "0"}, "date": "2000-01-01"}}
    text = compiled.markdown({"v5e": record, "h200": record})
    assert "| a step | 8, 16 | 0.8: 1.0 |" in text and "| 1.00: 5.1 | 0.0 |" in text and "1.50 GHz" in text
    assert "| a step | 8, 16 | 0.8: 0.2 |" in text and text.count("GHz") == 1


def test_cycles_in_loops_count_every_turn():
    text = """HloModule m
%body (p: f32[2]) -> f32[2] {
  %p = f32[2]{0} parameter(0)
  ROOT %a = f32[2]{0} fusion(%p), kind=kLoop, calls=%f, backend_config={"estimated_cycles":"10"}
}
ENTRY %main (q: f32[2]) -> f32[2] {
  %q = f32[2]{0} parameter(0)
  %b = f32[2]{0} fusion(%q), kind=kLoop, calls=%f, backend_config={"estimated_cycles":"7"}
  ROOT %w = f32[2]{0} while(%b), condition=%c, body=%body, backend_config={"known_trip_count":{"n":"3"}}
}
"""
    assert compiled.cycles(text) == 37


def test_an_unknown_row_is_told():
    options = types.SimpleNamespace(one=-1, rows=["resnet1001"], target="v5e")
    with pytest.raises(UserError, match="no row resnet1001; there are resnet101, "):
        compiled.main(None, options)
