"""The protocol of a probe: what is chosen on what, what is fitted on what, and what is refused."""


import numpy as np
import pytest

import geodesic
from geodesic import datasets
from geodesic.experiments.protocols import probing
from geodesic.experiments.trained import features
from geodesic.metrics import classification, logistic, ridge
from tests.experiments import tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that has learnt nothing, with photographs of five classes of which two look alike."""
    folder = tmp_path_factory.mktemp("probed")
    faces = tiny.faces(folder / "train", 5, 10)
    for name, start in (("test", 0), ("val", 5)):
        for label in range(5):
            (folder / name / f"class{label}").mkdir(parents=True)
            for place in range(start, start + 5):
                other = 4 if label == 3 and place % 2 else label
                (folder / name / f"class{label}" / f"{place}.jpg").write_bytes(
                    (faces / f"class{other}" / f"{place}.jpg").read_bytes() + b" ")
    return geodesic.train(tiny.config(faces, total_steps=1), folder / "run")


@pytest.fixture(scope="module")
def sources(run):
    folder = run.workdir[:-len("run")]
    return {part: datasets.build("image_folder", path=folder + part) for part in ("train", "test", "val")}


def test_everything_is_fitted_on_training_and_validation_images_and_tested_once(run, sources, tmp_path):
    found = probing.probe(run, sources["train"], sources["test"], sources["val"], layers=("stage1", "stage1+embedding"),
                          normalize="raw", folder=str(tmp_path), seed=5)
    record = found.record
    assert record["images"] == {"train": 50, "validation": 25, "test": 25} and record["validated_on"] == "given images"
    assert record["layer"] in ("stage1", "stage1+embedding") and len(record["candidates"]) == 2
    best = max(record["candidates"], key=lambda one: one["validation"])
    assert record["layer"] == best["layer"]
    values = {part: np.concatenate([features.of(run, source, (name,), folder=str(tmp_path))[name].values
                                    for name in record["layer"].split("+")], axis=1)
              for part, source in sources.items()}
    ours = record["results"][f"tiny, {record['layer']}"]
    both = np.concatenate([values["train"], values["val"]]), np.concatenate([sources["train"].labels,
                                                                             sources["val"].labels])
    tested, labels = values["test"], sources["test"].labels
    expected = logistic.fit(*both, ours["logistic"]["c"]).predict(tested)
    np.testing.assert_array_equal(found.predictions, expected)
    assert ours["logistic"]["test"]["value"] == pytest.approx((expected == labels).mean())
    assert ours["logistic"]["test"]["low"] <= ours["logistic"]["test"]["value"] <= ours["logistic"]["test"]["high"]
    assert len(ours["logistic"]["curve"]) == 45 and ours["logistic"]["at_edge"] in (True, False)
    assert ours["logistic"]["c"] in [one["c"] for one in ours["logistic"]["neighbours"]]
    assert ours["knn"]["test"]["value"] == pytest.approx(
        (classification.knn(*both, tested, ours["knn"]["k"]) == labels).mean())
    unit = both[0].astype(np.float64).var(axis=0).sum() * 75 / min(both[0].shape)
    fit = next(ridge.path(*both, [ours["ridge"]["alpha"] * unit]))
    assert ours["ridge"]["test"]["value"] == pytest.approx((fit.predict(tested) == labels).mean())
    assert {*record["results"]} == {f"tiny, {record['layer']}", "untrained network", "raw pixels"}
    assert record["results"]["raw pixels"]["size"] == 32 * 32 * 3
    assert all("few_label" not in record["results"][name] for name in ("untrained network", "raw pixels"))
    control = record["results"]["untrained network"]["logistic"]["curve"]
    assert [one["loss"] for one in control] != [one["loss"] for one in ours["logistic"]["curve"]]


def test_a_fifth_of_each_class_validates_where_nothing_is_given(run, sources, tmp_path):
    found = probing.probe(run, sources["train"], sources["test"], folder=str(tmp_path), controls=False)
    assert found.record["images"] == {"train": 40, "validation": 10, "test": 25}
    assert [(one["layer"], one["normalize"]) for one in found.record["candidates"]] == [("embedding", "raw"),
                                                                                       ("embedding", "unit")]


def test_an_image_that_cannot_be_read_is_left_out_and_said(run, sources, tmp_path):
    broken = datasets.Files([*sources["test"].paths[:-1], str(tmp_path / "broken.jpg")], sources["test"].labels,
                            sources["test"].class_names)
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 broken")
    said = []
    found = probing.probe(run, sources["train"], broken, normalize="raw", folder=str(tmp_path / "features"),
                          controls=False, say=said.append)
    assert found.record["images"]["test"] == 24 and found.places.tolist() == [*range(24)]
    assert sum("left out: cannot read the image" in line for line in said) == 1


def only(source, kept):
    return datasets.Records(source, np.flatnonzero(kept))


@pytest.mark.parametrize(("change", "options", "said"), [
    (lambda s: s, {"layers": ("stage9",)}, "has no layer 'stage9'; it has stem, stage1"),
    (lambda s: s, {"layers": "stage1+neck"}, "has no layer 'neck'"),
    (lambda s: s, {"normalize": "l2"}, "auto, raw, unit; got 'l2'"),
    (lambda s: {"train": only(s["train"], s["train"].labels != 3)}, {},
     "1 of the 5 test classes have no training image, 'class3'"),
    (lambda s: {"train": only(s["train"], s["train"].labels != 3), "test": only(s["test"], s["test"].labels != 3)}, {},
     "1 of the 5 validation classes have no training image, 'class3'"),
    (lambda s: {"train": only(s["train"], s["train"].labels == 3)}, {}, "all 10 training images are of one"),
    (lambda s: {"train": only(s["train"], np.arange(50) % 10 == 0), "val": None}, {},
     "no class has two training images"),
    (lambda s: {"test": s["train"]}, {}, "the test images are the training images"),
])
def test_what_cannot_be_probed_is_said_before_features_are_computed(run, sources, monkeypatch, change, options, said):
    monkeypatch.setattr(features, "of", lambda *_, **__: pytest.fail("features are computed"))
    given = sources | change(sources)
    with pytest.raises(geodesic.UserError, match=said):
        probing.probe(run, given["train"], given["test"], given["val"], **options)
