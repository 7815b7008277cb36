import jax
import numpy as np
import pytest

from geodesic.experiments import train
from geodesic.experiments.compiled import peaks, profile
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.process import progress
from tests.experiments import tiny
from tests.experiments.compiled.opcodes_test import HLO
from tests.experiments.compiled.trace_test import plane
from tests.experiments.compiled.trace_test import profile as made
from tests.experiments.train_test import StopAt, final_state

COST = {"flops": 2e9, "traffic": 1e9}


@pytest.fixture
def known_peaks(monkeypatch):
    monkeypatch.setattr(peaks, "measure", lambda *_: peaks.Measured(1e12, 4e11))


@pytest.mark.slow
def test_a_run_with_a_profile_is_the_run_without(known_peaks, monkeypatch, tmp_path, capsys):
    mesh = meshes.make(jax.devices()[:1])
    monkeypatch.setattr(meshes, "make", lambda: mesh)
    faces, states, losses = tiny.faces(tmp_path / "faces"), [], []
    for steps in (0, 2):
        config = tiny.config(faces, total_steps=6, run__profile_steps=steps)
        assert train.train(config, str(tmp_path / f"{steps}"), StopAt()) == 0
        states.append(final_state(config, tmp_path / f"{steps}", mesh)[0])
        losses.append([record.get("loss") for record in progress.read_metrics(str(tmp_path / f"{steps}"))])
    text = capsys.readouterr().out
    assert text.count("profile of step 4 to 5, in ") == text.count("mean of 2 steps, 1 device(s)") == 1
    assert "of 1,000 measured here" in text and "conv" in text.split("longest, ms a step")[1]
    assert losses[0] == losses[1]
    jax.tree.map(np.testing.assert_array_equal, *states)
    assert not (tmp_path / "0" / "profile").exists()


def test_a_trace_ends_with_its_run(tmp_path, capsys):
    """One that an error left open would not let the next one start."""
    for _ in range(2):
        profiler = profile.Profiler(str(tmp_path), tiny.config(run__profile_steps=3), None)
        assert [profiler.after(step, np.zeros(())) for step in (1, 2, 3, 4)] == [False, False, True, False]
        profiler.cancel()
        assert not profiler.end(over=True) and not profiler.after(5, None)
    profiler = profile.Profiler(str(tmp_path), tiny.config(run__profile_steps=3), None)
    assert not profiler.after(1, None) and not profiler.end() and not profiler.end(over=True)
    assert "not profiled, as the run ends before its 4. step" in capsys.readouterr().out


def breakdown():
    """Two steps of 50 microseconds on two GPUs, one of which starts late."""
    host = plane("/host:CPU", {"python": [("next batch", 0, 10, None)]})
    ops = lambda late: [("k1", 10 + late, 40 - late, "gemm"), ("k2", 60, 20, "fusion.1"), ("nccl", 80, 20, "start")]
    gpus = [plane(f"/device:GPU:{i}", {"Stream #1": ops(20 * i)}) for i in range(2)]
    return profile.analyse(made(host, *gpus), HLO, steps=2)


def test_rows_add_up_to_the_step():
    found = breakdown()
    assert found.rows == pytest.approx({"matrix": 0.015, "memory": 0.010, "collective": 0.010, "input": 0.005,
                                        "idle": 0.010})
    assert found.step == pytest.approx(0.050)
    assert [(name, kind) for _, name, kind, _ in found.longest] == [
        ("gemm", "matrix"), ("fusion.1", "other"), ("start", "collective")]


def test_rates_and_their_shares(known_peaks):
    device = jax.devices()[0]  # two fake devices of one CPU share its peak
    text = profile.tell(breakdown(), COST, device, "float32")
    assert "matrix units             0.015   30.0%" in text
    assert "4 GFLOP a step as the compiler counts, 8e+04 GFLOP/s, 8000.0% of 1,000 measured here" in text


def test_a_trace_without_instructions_says_so():
    with pytest.raises(ValueError, match="no instructions"):
        profile.analyse(made(plane("/host:CPU", {"python": [("next batch", 0, 10, None)]})), HLO, 1)
