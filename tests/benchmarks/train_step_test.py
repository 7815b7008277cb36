import json

from benchmarks import train_step
from tests.experiments import tiny  # noqa: F401  it registers the embedder


def test_a_step_runs_and_its_facts_are_those_of_the_program():
    run, facts = train_step.ours("tiny", "native", (2, 16), train=False, dtype="bfloat16")
    assert run().shape == (2, 16)
    assert facts["traffic"] > facts["least_traffic"] > 2 * 16 * 16 * 3 * 2 and facts["flops"] > 0


def test_rows_of_before_and_of_now(tmp_path):
    environment = {"devices": "d", "machine": "m", "packages": {"jax": "0"}, "date": "2000-01-01"}
    old = {"embedder": "a", "batch": 8, "size": 32, "mode": "train", "seconds": {"auto": [2.0], "torch": [1.0]},
           "compile_seconds": {"auto": 3.0}, "torch": "0", "environment": environment}
    (tmp_path / "x.json").write_text(json.dumps([old]))
    rows = train_step.read_rows(tmp_path / "x.json")
    new = rows[0] | {"dtype": "bfloat16", "peak_flops": 1e9, "seconds": old["seconds"] | {"torch.compile": [0.5]},
                     "facts": {"auto": {"flops": 1e9, "traffic": 3e9, "least_traffic": 1e9}}}
    text = train_step.markdown([*rows, new])
    assert "| train | auto | 2.000 (2.000 to 2.000) | 1.000 (1.000 to 1.000) | 2.00 |  |  |  |  |  |  | 3 |" in text
    assert "| train bfloat16 | auto |" in text
    assert "| 0.500 (0.500 to 0.500) | 4.00 | 50% of 1 GFLOP/s | 3.00 / 1.00 |" in text
    assert train_step.read_rows(tmp_path / "none.json") == []
