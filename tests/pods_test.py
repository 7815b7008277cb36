"""Two processes of four devices train, evaluate, embed and search as one process of eight does."""

import json

import numpy as np
import pytest

from geodesic.experiments.galleries.gallery import Gallery
from geodesic.experiments.trained import embedding_file
from tests.faults.runs import Process, Runs, free_address

STEPS = "--config.total_steps=6"
LAYOUTS = {"one": {"processes": 1, "devices": 8}, "two": {"processes": 2, "devices": 4}}


def program(runs: Runs, name: str, run: str, *options, processes: int, devices: int, status: int = 0) -> list[Process]:
    """Another program on what a run has left, in as many processes; all must end with this status."""
    address = free_address()
    own = lambda index: [f"--coordinator_address={address}", f"--num_processes={processes}", f"--process_id={index}"]
    command = runs.command(run, f"--cpu_devices={devices}", *options)
    command = [part for part in command if not part.startswith("--config=")]
    command[2:3] = ["tests.faults.program", name]
    started = [Process([*command, *(own(index) if processes > 1 else [])], runs.folder / f"{run}.{name}.{index}.log")
               for index in range(processes)]
    for process in started:
        assert process.wait() == status, process.output()
    return started


@pytest.mark.slow
def test_two_processes_store_and_resume_in_a_folder_of_any_name(tmp_path):
    runs = Runs(tmp_path)
    for name in ("plain", "[run] a\\b \udce9"):
        for steps in ("--config.total_steps=6", "--extend_to_epochs=2"):
            for process in runs.finish(name, steps, **LAYOUTS["two"]):
                assert process.status == 0, process.output()
    assert runs.left_by("plain") == runs.left_by("[run] a\\b \udce9") and runs.left_by("plain")["step"] > 6


@pytest.mark.slow
def test_many_processes_do_what_one_does(tmp_path):
    runs, scores, embedded, found, logged = Runs(tmp_path), {}, {}, {}, {}
    for name, layout in LAYOUTS.items():
        record = tmp_path / f"{name}.jsonl"
        for process in runs.finish(name, STEPS, f"--record={record}", **layout):
            assert process.status == 0, process.output()
        logged[name] = runs.left_by(name)["logged"]
        program(runs, "evaluate", name, **layout)
        scores[name] = json.loads((tmp_path / name / "evaluation.json").read_text())["scores"]
        out = tmp_path / f"{name}.npz"
        program(runs, "embed", name, f"--images={runs.images}", f"--out={out}", **layout)
        embedded[name] = embedding_file.read(str(out))
        shown = program(runs, "search", name, f"--embeddings={out}", f"--query={runs.images / 'class1' / '0.jpg'}",
                        f"--out={tmp_path / name}.png", **layout)
        found[name] = shown[0].output().count("class1")
        assert all("nearest by cosine" not in process.output() for process in shown[1:])  # one of them speaks
    assert len(logged["one"]) == len(logged["two"]) > 3
    for (step, loss, score), (other_step, other_loss, other_score) in zip(*logged.values(), strict=True):
        assert (step, loss is None, score is None) == (other_step, other_loss is None, other_score is None)
        assert loss is None or loss == pytest.approx(other_loss, rel=1e-5)
        assert score is None or score == pytest.approx(other_score, abs=1e-6)
    for name, values in scores["one"].items():
        for metric, value in values.items():
            other = scores["two"][name][metric]  # a list says which rates so few pairs cannot show
            assert other == (pytest.approx(value, abs=1e-6) if isinstance(value, float) else value)
    assert embedded["one"].paths == embedded["two"].paths and len(embedded["one"].paths) == 40
    np.testing.assert_allclose(embedded["one"].embeddings, embedded["two"].embeddings, atol=1e-5)
    assert found["one"] == found["two"] > 0


@pytest.mark.slow
def test_many_processes_add_to_one_gallery(tmp_path):
    runs, kept = Runs(tmp_path), {}
    for name, layout in LAYOUTS.items():
        runs.finish(name, "--config.total_steps=2", **LAYOUTS["one"])
        options = (f"--images={runs.images}", f"--gallery={tmp_path / name}.gallery")
        extra = runs.images / "class0" / "broken.jpg"
        extra.write_bytes(b"no picture")
        first, *others = program(runs, "embed", name, *options, **layout)
        assert "skipped: " in first.output() and "40 added; 40 row(s) in" in first.output()
        assert not any("row(s)" in process.output() for process in others)  # one of them speaks
        extra.unlink()
        changed = runs.images / "class0" / "0.jpg"
        content = changed.read_bytes()
        changed.write_bytes((runs.images / "class1" / "0.jpg").read_bytes())
        again = program(runs, "embed", name, *options, **layout)[0].output()
        assert "0 added, 1 embedded anew, as they had changed, 39 as they were; 40 row(s) in" in again
        changed.write_bytes(content)
        held = Gallery(f"{tmp_path / name}.gallery").held()
        kept[name] = (sorted(held.places), held.vectors([held.places[one] for one in sorted(held.places)]))
        options = (f"--images={runs.images}", f"--gallery={runs.images}")
        for process in program(runs, "embed", name, *options, status=1, **layout):  # found by the first, told to all
            assert "is there, and is no gallery" in process.output() and "Traceback" not in process.output()
    assert kept["one"][0] == kept["two"][0]
    np.testing.assert_allclose(kept["one"][1], kept["two"][1], atol=1e-5)


@pytest.mark.slow
def test_accumulation_steps_of_many_processes_are_those_of_one(tmp_path):
    """A loss of pairs depends on which images make a part."""
    runs, logged = Runs(tmp_path), {}
    options = ("--config.loss.name=multi_similarity", "--config.sampling.name=pk", "--config.batch_size=16",
               "--config.sampling.images_per_class=4", "--config.accumulation_steps=2",
               "--config.embedder.batch_norm=synchronised")
    for name, layout in LAYOUTS.items():
        for process in runs.finish(name, STEPS, *options, **layout):
            assert process.status == 0, process.output()
        logged[name] = [loss for _, loss, _ in runs.left_by(name)["logged"] if loss is not None]
    assert logged["one"] == pytest.approx(logged["two"], rel=1e-5) and len(logged["one"]) > 3


@pytest.mark.slow
def test_an_error_of_the_first_is_everyones_and_nobody_hangs(tmp_path):
    """The workdir of another configuration: found by process 0, told to all."""
    runs = Runs(tmp_path)
    runs.finish("run", STEPS)
    for process in runs.start("run", STEPS, "--config.seed=1", processes=2, devices=1):
        assert process.wait(120) != 0
        assert "Traceback" not in process.output()
    assert "holds a run of another configuration: seed 0 (now 1)" in (tmp_path / "run.0.log").read_text()
