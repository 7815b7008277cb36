"""The programs as a user runs them: in their own processes, on real files."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

from geodesic.experiments.trained import embedding_file
from tests import forked
from tests.experiments import tiny

ROOT = pathlib.Path(__file__).parents[1]


def command(program, *options):
    return [sys.executable, "-m", f"geodesic.experiments.{program}", *map(str, options)]


def run(program, *options, status=0):
    """The output of a program, which must exit with `status`."""
    done = forked.program(program, *options)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def fails(program, *options) -> str:
    """The one line of a program that must refuse."""
    output = run(program, *options, status=1)
    assert "Traceback" not in output, output
    lines = [line for line in output.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and output.rstrip().endswith(lines[0]), output
    return lines[0]


# The shipped quickstart, shrunk: the same configuration file, fewer steps, one evaluation.
SHRUNK = ("--config=configs/quickstart.py", "--config.total_steps=3", "--config.input.image_size=32",
          "--config.run.log_every_steps=1")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "workdir"
    output = run("train", *SHRUNK, f"--workdir={folder}")
    return folder, output


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """A folder of small photographs, one of them truncated."""
    folder = tiny.faces(tmp_path_factory.mktemp("faces"), 3, 3)
    broken = folder / "class1" / "0.jpg"
    broken.write_bytes(broken.read_bytes()[:150])
    return folder


@pytest.fixture(scope="module")
def embedded(trained, faces):
    out = trained[0].parent / "faces.parquet"
    return out, run("embed", f"--workdir={trained[0]}", f"--images={faces}", f"--out={out}")


def test_train_says_what_it_will_do_and_does_it(trained):
    folder, output = trained
    for fact in ("devices", "parameters", "GFLOP per image", "batch", "3 (0.2 epochs of 18.75 steps)", "train data",
                 "test data ", "schedule", "start loss"):
        assert fact in output
    expected = float(re.search(r"about ([\d.]+) expected", output)[1])
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [record for record in records if "loss" in record]
    assert steps[0]["loss"] == pytest.approx(expected, rel=0.1)
    assert [record["step"] for record in steps] == [1, 2, 3]
    assert {"accuracy", "learning_rate", "images_per_second", "data_wait"} <= steps[2].keys()
    assert re.search(r"step 3/3  loss .* accuracy .* lr .* img/s .* data wait .* ETA", output)
    assert list((folder / "tensorboard").iterdir())


def test_train_again_does_nothing(trained):
    before = (trained[0] / "metrics.jsonl").read_bytes()
    assert "finished" in run("train", *SHRUNK, f"--workdir={trained[0]}")
    assert (trained[0] / "metrics.jsonl").read_bytes() == before


def test_evaluate_then_report(trained):
    folder = trained[0]
    output = run("evaluate", f"--workdir={folder}")
    record = json.loads((folder / "evaluation.json").read_text())
    assert list(record["scores"]) == ["raw pixels", "PCA-100", "untrained network", "trained, step 3"]
    metrics = {"recall@1", "precision@1", "r_precision", "map@r", "tar@far=0.01", "tar@far=0.001", "eer"}
    assert all(metrics <= scores.keys() for scores in record["scores"].values())
    assert record["protocol"]["images"] == 100 and record["protocol"]["classes"] == 10
    assert f"{record['scores']['raw pixels']['map@r']:.3f}" in output
    followed = json.loads((folder / "records" / "orl_faces.json").read_text())["metrics"]["map@r"]["value"]
    assert followed == pytest.approx(record["scores"]["trained, step 3"]["map@r"])
    assert "the run is of no row of configs/papers" in run("compare", folder, status=3)
    run("report", f"--workdir={folder}")
    page = (folder / "report.html").read_text()
    assert len(re.findall(r'<figure class="query"', page)) == 4 * 5 + 9     # four galleries, and the hubs
    for section in ("Best queries", "Worst queries", "Random queries", "Near misses", "Hubs", "nearest other class",
                    "protocol orl_faces, step 3", "ROC and DET", "t-SNE of 100"):
        assert section in page
    assert len(page) < 3e6
    assert "AT&amp;T Laboratories Cambridge" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)     # opens offline
    assert "$" not in re.sub(r"data:[^\"]*", "", page)          # nothing left unfilled


def test_detect_is_of_detectors(trained, faces):
    folder, _ = trained
    assert fails("detect", f"--workdir={folder}", f"--images={faces}") == (
        f"error: {folder} is no detector, but a run of --config.task=embedding")


def test_neurons_are_of_a_layer(trained):
    line = fails("neurons", f"--workdir={trained[0]}", "--layer=stage9")
    assert line.startswith("error: resnet8 has no layer 'stage9'; it has stem, stage1, ")


def test_predict_names_pictures_and_skips_a_broken_one(trained, faces, tmp_path):
    folder, broken = trained[0], faces / "class1" / "0.jpg"
    output = run("predict", f"--workdir={folder}", f"--images={faces}", "--top=2", f"--out={tmp_path / 'named.csv'}",
                 f"--sheet={tmp_path / 'named.html'}")
    assert f"skipped: cannot read the image {broken}" in output and "8 picture(s) named in" in output
    rows = (tmp_path / "named.csv").read_text().splitlines()
    assert len(rows) == 1 + 8 * 2 and all(row.split(",")[2].startswith("s") for row in rows[1:])  # s1 .. s30
    assert (tmp_path / "named.html").read_text().count('<figure class="named">') == 8
    assert fails("predict", f"--workdir={folder}", f"--images={broken}").startswith("error: none of the 1 pictures of")


def test_embed_reports_and_skips_a_broken_image(embedded, faces):
    out, output = embedded
    assert f"skipped: cannot read the image {faces / 'class1' / '0.jpg'}" in output
    content = embedding_file.read(str(out))
    assert len(content.paths) == 8 and content.embeddings.shape == (8, 512)
    assert str(faces / "class1" / "0.jpg") not in content.paths
    np.testing.assert_allclose(np.linalg.norm(content.embeddings, axis=1), 1, rtol=1e-5)


def test_search_ranks_and_draws(trained, embedded, faces, tmp_path):
    query = faces / "class2" / "1.jpg"
    sheet = tmp_path / "found.png"
    output = run("search", f"--workdir={trained[0]}", f"--embeddings={embedded[0]}", f"--query={query}",
                 f"--out={sheet}", "--k=3")
    ranks = re.findall(r"│\s+(\d)\s+│\s+([\d.]+)\s+│\s+(\S+)", output)
    assert [rank for rank, _, _ in ranks] == ["1", "2", "3"]
    assert float(ranks[0][1]) >= float(ranks[1][1]) >= float(ranks[2][1])
    assert "class2/1.jpg" not in [path for _, _, path in ranks]  # the query itself
    assert PIL.Image.open(sheet).size[0] > 300


def test_search_with_a_folder_of_queries(trained, embedded, faces, tmp_path):
    output = run("search", f"--workdir={trained[0]}", f"--embeddings={embedded[0]}", f"--query={faces / 'class1'}",
                 f"--out={tmp_path / 'found.png'}", "--k=2")
    assert "skipped: cannot read" in output
    assert len(re.findall(r"│\s+1\s+│", output)) == 2


def test_search_refuses_another_models_embeddings(trained, embedded, faces, tmp_path):
    other = tmp_path / "other"
    run("train", *SHRUNK, "--config.seed=1", f"--workdir={other}")
    line = fails("search", f"--workdir={other}", f"--embeddings={embedded[0]}", f"--query={faces}",
                 f"--out={tmp_path / 'x.png'}")
    assert "another model" in line and "checkpoint" in line
    assert not (tmp_path / "x.png").exists()


BAD_TRAINING = {
    "--config.loss.arcface.margn=0.3": 'Did you mean "margin"',
    "--config.lerning=1": "no field 'lerning'",
    "--config.batch_size=many": "batch_size",
    "--config.embedder.name=resnet1O1": "unknown embedder 'resnet1O1'; known: ",
    "--config.loss.name=arcfase": "unknown loss 'arcfase'; known: ",
    "--config.optimizer.name=sdg": "unknown optimizer 'sdg'; known: sgd, adamw, rmsprop",
    "--config.schedule.name=linear": "unknown schedule 'linear'; known: ",
    "--config.train_data.name=orl": "unknown source 'orl'; known: ",
    "--config.loss.num_classes=20": "is out of range for 20 classes",
    "--config.input.fit=squash": "stretch or center_crop",
    "--config.embedder.layer=stage9": "no layer 'stage9'",
    "--confg=x": "Unknown command line flag 'confg'",
}


@pytest.mark.parametrize("option", BAD_TRAINING)
def test_a_bad_option_is_one_line_and_writes_nothing(option, tmp_path):
    folder = tmp_path / "run"
    assert BAD_TRAINING[option] in fails("train", *SHRUNK, f"--workdir={folder}", option)
    assert not folder.exists()


def test_a_batch_that_does_not_divide_is_refused(tmp_path):
    line = fails("train", *SHRUNK, f"--workdir={tmp_path / 'run'}", "--cpu_devices=8", "--config.batch_size=36")
    assert "batch_size 36 does not divide into 8 devices" in line
    assert not (tmp_path / "run").exists()


def test_a_truncated_image_stops_training_with_its_path(faces, tmp_path):
    data = [f"--config.{part}.{field}={value}" for part in ("train_data", "test_data")
            for field, value in (("name", "image_folder"), ("path", faces), ("classes", "(0, 0)"))]
    line = fails("train", *SHRUNK, *data, f"--workdir={tmp_path / 'run'}", "--config.batch_size=9")
    assert f"cannot read the image {faces / 'class1' / '0.jpg'}" in line


def test_a_workdir_of_another_configuration_is_left_alone(trained):
    folder = trained[0]
    before = (folder / "config.json").read_bytes()
    line = fails("train", *SHRUNK, f"--workdir={folder}", "--config.loss.arcface.margin=0.4")
    assert "loss.arcface.margin 0.3 (now 0.4)" in line
    assert (folder / "config.json").read_bytes() == before


def test_a_folder_that_is_no_workdir_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    assert "holds no run" in fails("train", *SHRUNK, f"--workdir={tmp_path}")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_checkpoint_of_another_model_is_refused(trained, tmp_path):
    line = fails("evaluate", f"--workdir={trained[0]}", "--config.embedder.embedding_size=64")
    assert "is of another model" in line and "(512,)" in line and "(64,)" in line


@pytest.mark.parametrize("program", ["evaluate", "report", "scorecard"])
def test_no_run_at_all_is_said(program, tmp_path):
    assert "no run in" in fails(program, f"--workdir={tmp_path / 'nowhere'}")


def test_a_missing_checkpoint_is_said(trained, tmp_path):
    (tmp_path / "config.json").write_bytes((trained[0] / "config.json").read_bytes())
    assert "no checkpoint in" in fails("evaluate", f"--workdir={tmp_path}")
    assert "no checkpoint of step 2" in fails("evaluate", f"--workdir={trained[0]}", "--step=2")


def test_embed_refuses_what_it_cannot_do(trained, faces, tmp_path):
    workdir, out = f"--workdir={trained[0]}", tmp_path / "out.npz"
    (tmp_path / "empty").mkdir()
    assert "no image in" in fails("embed", workdir, f"--images={tmp_path / 'empty'}", f"--out={out}")
    assert ".parquet or .npz" in fails("embed", workdir, f"--images={faces}", f"--out={tmp_path / 'out.csv'}")
    assert "--images=... is required" in fails("embed", workdir, f"--out={out}")
    out.write_text("precious")
    assert "exists" in fails("embed", workdir, f"--images={faces}", f"--out={out}")
    assert out.read_text() == "precious"


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_stops_cleanly_and_the_same_command_goes_on(number, tmp_path):
    options = (*SHRUNK, f"--workdir={tmp_path / 'run'}", "--config.total_steps=100000")
    process = subprocess.Popen(command("train", *options), cwd=ROOT, stdout=subprocess.PIPE, text=True,
                               env=os.environ | {"PYTHONUNBUFFERED": "1"})
    for line in process.stdout:
        if line.startswith("step 2/") or "step      2/" in line:
            process.send_signal(number)
            break
    rest = process.stdout.read()
    assert process.wait(timeout=120) == 128 + number, rest
    step = int(re.search(r"stopped at step (\d+)", rest)[1])
    assert (tmp_path / "run" / "checkpoints" / str(step)).is_dir()
