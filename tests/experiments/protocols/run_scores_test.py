"""A run's own evaluation: what else it says, and what it does not overwrite."""

import contextlib
import json
import shutil

import jax
import numpy as np
import pytest

import geodesic
from geodesic.experiments import report, train
from geodesic.experiments.process import progress
from geodesic.experiments.protocols import run_scores
from geodesic.experiments.training import data
from geodesic.metrics import confidence
from tests.experiments import tiny


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    config = tiny.config(tiny.faces(folder / "faces", 8, 6), train_data__classes=(0, 4), test_data__classes=(4, 8),
                         loss__name="subcenter_arcface", loss__subcenter_arcface__scale=16.0, total_steps=2)
    train.train(config, str(folder / "run"))
    return folder / "run"


def test_what_else_can_be_said_of_the_embeddings(workdir, capsys):
    record = geodesic.evaluate(workdir, baselines=False, also=run_scores.ALSO)
    assert [*record["also"]] == [name for name in run_scores.ALSO if name != run_scores.RETRIEVAL]
    for name, found in record["also"].items():
        assert found["what"] and all(isinstance(value, float) for value in found["scores"].values()), name
    found = record["also"]["outliers"]
    assert found["scores"]["outliers"] == len(found["paths"]) and "24 training images" in found["what"]
    assert "linear_probe: " in capsys.readouterr().out
    assert json.loads((workdir / "evaluation.json").read_text())["also"] == json.loads(json.dumps(record["also"]))
    with pytest.raises(geodesic.UserError, match="no analysis 'helth'; known: health"):
        run_scores.check_also(["helth"])


def test_evaluating_and_reporting_show_how_far_they_are(workdir, monkeypatch):
    moved = {}

    @contextlib.contextmanager
    def bar(what, total):
        moved[what] = -total
        yield lambda done: moved.update({what: moved[what] + done})

    monkeypatch.setattr(progress, "bar", bar)
    run = geodesic.load(workdir)
    geodesic.evaluate(run, overwrite=True)
    report.render(run.config, str(workdir))
    assert {*moved} == {"embedding", "embedding without training", "reading the test images",
                        "reading the training images", "scoring", "drawing the report"}
    assert not any(moved.values())  # each has come to its end


def test_the_names_trained_on_are_those_of_the_workdir(workdir, tmp_path):
    """A class that comes before the others shifts the test classes onto one that was trained on."""
    photos = tmp_path / "photos"
    shutil.copytree(workdir.parent / "faces", photos)
    shutil.copytree(photos / "class7", photos / "aaa")
    shifted = {"train_data.path": str(photos), "test_data.path": str(photos), "test_data.classes": (3, 5)}
    run = geodesic.load(workdir, overrides=shifted)
    scores = run_scores.measure(run, geodesic.datasets.build(**run.config.test_data), baselines=False)
    assert scores.record["protocol"]["classes_trained_on"] == 2  # class2 and class3
    assert "2 of them also trained on" in run_scores.what_was_tested(scores.record)


def test_an_evaluation_of_other_images_is_not_overwritten(workdir):
    geodesic.evaluate(workdir, baselines=False)
    before = (workdir / "evaluation.json").read_bytes()
    other = geodesic.load(workdir, overrides={"test_data.classes": (5, 8)})
    with pytest.raises(geodesic.UserError, match=r"is of other test data .*--overwrite"):
        geodesic.evaluate(other, baselines=False)
    assert (workdir / "evaluation.json").read_bytes() == before
    assert geodesic.evaluate(other, baselines=False, overwrite=True)["protocol"]["classes"] == 3
    geodesic.evaluate(workdir, baselines=False, overwrite=True)


def test_report_and_classification_without_the_training_images_on_three_devices(workdir, monkeypatch):
    faces = workdir.parent / "faces"
    for name in ("class0", "class1", "class2", "class3"):
        (faces / name).rename(workdir.parent / f"away_{name}")
    run = geodesic.load(workdir, devices=jax.devices()[:3], overrides={"test_data.path": str(faces),
                                                                      "test_data.classes": (0, 4)})
    assert run.class_names == ["class0", "class1", "class2", "class3"]
    scores = run.classify(sorted(str(path) for path in (workdir.parent / "away_class1").iterdir()))
    assert scores.shape == (6, 4) and np.isfinite(scores).all()
    record = geodesic.evaluate(run, baselines=True, overwrite=True)  # the same photographs are other records now
    assert [*record["scores"]] == ["raw pixels", "untrained network", "trained, step 2"]
    assert "never trained on" in run_scores.what_was_tested(record)
    assert "<h1" in report.render(run.config, str(workdir))


@pytest.fixture(scope="module")
def classifying(tmp_path_factory):
    """A run that classifies, watched on other images of its four classes."""
    folder = tmp_path_factory.mktemp("classified")
    config = tiny.config(tiny.faces(folder / "faces", 4, 8), task="classification", loss__name="softmax",
                         total_steps=12, optimizer__learning_rate=0.05)
    for part in ("train", "test"):
        config[f"{part}_data"].update(test_share=0.5, part=part)
    train.train(config, str(folder / "run"))
    return folder / "run"


def test_a_classifier_is_evaluated_and_reported(classifying, capsys):
    capsys.readouterr()
    record = geodesic.evaluate(classifying, baselines=False)
    told, found = capsys.readouterr().out, record["classification"]
    run = geodesic.load(classifying)
    test = data.test_source(run.config)
    probabilities = run.classify(test)
    expected = {"top1": (probabilities.argmax(axis=1) == test.labels).mean(),
                "nll": confidence.negative_log_likelihood(np.log(probabilities), test.labels).mean(),
                "calibration_error": confidence.calibration_error(probabilities, test.labels)}
    for name, value in expected.items():
        assert found["metrics"][name]["value"] == pytest.approx(value, abs=1e-4), name
        assert f"{found['metrics'][name]['value']:.4f}" in told
    assert json.loads((classifying / "evaluation.json").read_text())["classification"] == json.loads(json.dumps(found))
    if "problem" in found:  # what so few images give is not the same everywhere
        assert run.temperature is None and "calibrated" not in found
    else:
        assert run.temperature == found["temperature"] == pytest.approx(confidence.temperature(
            np.log(probabilities), test.labels), rel=1e-3)
    page = report.render(run.config, str(classifying))
    assert "<h2>Classification</h2>" in page and ">top1</div>" in page
    assert "<h3>Surest errors</h3>" in page and "reliability diagram" in page
    assert record["scores"] == {} and "map@r" not in told and "--also=retrieval" in page and "map@r" not in page


def test_a_classifier_is_scored_by_retrieval_where_it_is_asked(classifying):
    run = geodesic.load(classifying)
    record = geodesic.evaluate(run, baselines=False, also=("retrieval",))
    assert 0 < record["scores"]["trained, step 12"]["map@r"] <= 1 and "top1" in record["classification"]["metrics"]
    page = report.render(run.config, str(classifying))
    assert page.index(">top1</div>") < page.index(">map@r</div>")
    watched = geodesic.load(classifying, overrides={"evaluation.evaluators": (("test", 1.0), ("accuracy", 1.0))})
    assert run_scores.scores_retrieval(watched.config) and not run_scores.scores_retrieval(run.config)


def test_a_classifier_is_scored_on_test_data_of_one_image_a_class(classifying, tmp_path):
    faces = classifying.parent / "faces"
    for folder in faces.iterdir():
        (tmp_path / folder.name).mkdir()
        first = min(folder.iterdir())
        shutil.copy(first, tmp_path / folder.name / first.name)
    run = geodesic.load(classifying, overrides={"test_data.path": str(tmp_path), "test_data.test_share": 0.0,
                                                "test_data.part": "train"})
    record = geodesic.evaluate(run, overwrite=True)
    answers = run.classify(data.test_source(run.config)).argmax(axis=1)
    assert record["classification"]["metrics"]["top1"]["value"] == np.mean(answers == np.arange(4))
    with pytest.raises(geodesic.UserError, match="no class has two"):
        geodesic.evaluate(run, baselines=False, also=("retrieval",), overwrite=True)


def test_another_layer_is_evaluated_and_the_classifier_is_asked_with_its_own(classifying):
    def top1(run):
        test = data.test_source(run.config)
        return run_scores.measure(run, test, baselines=False).record["classification"]["metrics"]["top1"]["value"]

    other = geodesic.load(classifying, overrides={"evaluation.layer": "stage1"})
    assert top1(other) == top1(geodesic.load(classifying))
