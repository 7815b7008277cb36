"""What neurons stand for: halves, controls that know the answer, regions, and what is refused."""

import os

import numpy as np
import pytest
import sklearn.metrics

import geodesic
from geodesic import datasets, embedders
from geodesic.configs import stored
from geodesic.errors import UserError
from geodesic.experiments.protocols import dissecting
from geodesic.experiments.trained import loading
from tests.experiments import tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dissected")
    config = tiny.config(tiny.faces(folder / "faces", 4, 6), total_steps=1)
    return geodesic.train(config, folder / "run")


@pytest.fixture(scope="module")
def faces(run):
    """Four classes of six pictures, one of which is broken."""
    folder = run.workdir[:-len("run")] + "faces"
    with open(f"{folder}/class1/2.jpg", "r+b") as file:
        file.truncate(150)
    return datasets.build("image_folder", path=folder)


@pytest.fixture(scope="module")
def found(run, faces):
    return dissecting.dissect(run, faces, "stage1", seed=3)


def test_each_class_and_each_set_of_tags_is_halved():
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(5), [4, 4, 5, 6, 7]))
    positive = labels[:, None] == np.arange(5)
    scoring = dissecting.halves(positive, 0)
    counts = np.bincount(labels[scoring])
    assert counts[:2].tolist() == [2, 2] and counts[3] == 3 and {*counts[[2, 4]]} <= {2, 3, 4} and scoring.sum() == 13
    assert (dissecting.halves(positive, 0) == scoring).all() and (dissecting.halves(positive, 1) != scoring).any()
    tags = np.array([[True, True]] * 4 + [[True, False]] * 4 + [[False, False]] * 4)
    assert dissecting.halves(tags, 0).reshape(3, 4).sum(axis=1).tolist() == [2, 2, 2]


def compared(values, labels, classes=12, seed=0):
    positive = labels[:, None] == np.arange(classes)
    scoring = dissecting.halves(positive, seed)
    untrained = np.random.default_rng(9).normal(size=values.shape)
    return dissecting.controls(dissecting.select(values, positive, scoring), values, untrained, positive, scoring, seed)


def test_neurons_that_stand_for_classes_are_purer_than_turned_ones_and_others_are_not():
    rng, labels = np.random.default_rng(1), np.arange(360) % 12
    pure = (labels[:, None] == np.arange(48) % 12) + rng.normal(0, 0.2, (360, 48))
    ours = compared(pure, labels)
    assert ours["neurons"]["share"] == 1 and ours["turned at random"]["share"] < 0.8
    assert ours["neurons"]["above"] > 0.5 and ours["turned at random"]["above"] == pytest.approx(0.05, abs=0.002)
    assert ours["shuffled classes"]["share"] == ours["untrained network"]["share"] == 0
    assert ours["untrained network"]["median"] == pytest.approx(0.5, abs=0.05)
    assert ours["turned at random"]["axes"] >= 2048
    said = dissecting.says(ours)
    assert said.startswith("Single neurons are purer than") and "100.0% of the neurons" in said
    assert "a direction drawn at random" not in said and f"{ours['neurons']['above']:.1%} are purer than 95 %" in said
    turned = pure @ np.linalg.qr(rng.normal(size=(48, 48)))[0]
    theirs = compared(turned, labels)
    assert theirs["difference"]["low"] < 0 < theirs["difference"]["high"]
    assert dissecting.says(theirs).startswith("Single neurons are not measurably purer than")
    assert "a direction drawn at random tells a class as well" in dissecting.says(theirs)


def test_a_sentence_says_when_neurons_are_less_pure_and_when_nothing_is_told():
    noise = np.random.default_rng(0).normal(size=(240, 8))
    ours = compared(noise, np.arange(240) % 4, 4)
    assert ours["neurons"]["share"] == ours["turned at random"]["share"] == 0
    assert dissecting.says(ours).startswith("No neuron reaches an AUC of 0.9, and so it is with axes")
    rows = {"axes": 400, "median": 0.5, "share": 0.3, "above": 0.0}
    other = {"neurons": rows, "turned at random": rows | {"share": 0.45}, "untrained network": rows, "level": 1.0,
             "difference": {"value": -0.15, "low": -0.22, "high": -0.08, "over": "of them"}}
    assert "less pure" in dissecting.says(other) and "-15.0 points (-22.0 to -8.0, 95 % of th" in dissecting.says(other)


@pytest.mark.parametrize("size, tries, over", [
    (20, 10, "of 103 bases turned at random"), (257, 2, "of a bootstrap over axes")])
def test_a_difference_has_the_spread_of_other_bases(size, tries, over):
    """Neurons that are a turned basis themselves are within it, about 19 times of 20."""
    rng, labels = np.random.default_rng(0), np.arange(60) % 3
    found = []
    for seed in range(tries):
        points = 2 * rng.normal(size=(3, size))[labels] / np.sqrt(size) + rng.normal(size=(60, size)) * 0.12
        found.append(compared(points.astype(np.float32), labels, 3, seed)["difference"])
    assert found[0]["over"] == over and sum(one["low"] <= 0 <= one["high"] for one in found) >= 0.8 * tries
    assert all(one["low"] < one["value"] < one["high"] for one in found)
    assert np.mean([one["high"] - one["low"] for one in found]) > 0.05


def test_a_bootstrap_over_axes_is_no_narrower_than_other_bases(monkeypatch):
    rng, labels = np.random.default_rng(5), np.arange(60) % 3
    points = rng.normal(size=(3, 160))[labels] + 0.8 * rng.normal(size=(60, 160))
    turned = compared(points, labels, 3)["difference"]
    monkeypatch.setattr(dissecting, "_SMALL", 100)
    drawn = compared(points, labels, 3)["difference"]
    assert turned["over"] == "of 40 bases turned at random" and drawn["over"] == "of a bootstrap over axes"
    assert 0.9 < (drawn["high"] - drawn["low"]) / (turned["high"] - turned["low"]) < 2
    assert drawn["value"] == pytest.approx(turned["value"], abs=0.03)


def test_classes_are_chosen_on_one_half_and_scored_on_the_other(run, faces, found):
    assert found.values.shape == (23, 8) and "2.jpg" in found.record["left_out"][0]
    assert (found.record["chosen_on"], found.record["scored_on"]) in ((11, 12), (12, 11))
    pooled = run.embed_source(faces, layer="stage1").embeddings[found.places]
    np.testing.assert_allclose(found.values, pooled, rtol=1e-5)
    labels = faces.labels[found.places]
    for one in found.record["neurons"]:
        values, label = found.values[:, one["neuron"]], found.names.index(one["class"])
        of = lambda half, label, values=values: sklearn.metrics.roc_auc_score(labels[half] == label, values[half])
        assert one["auc_where_chosen"] == pytest.approx(max(of(~found.scoring, other) for other in range(4)), abs=1e-4)
        assert one["auc_where_chosen"] == pytest.approx(of(~found.scoring, label), abs=1e-4)
        assert one["auc"] == pytest.approx(of(found.scoring, label), abs=1e-4)
        assert one["low"] is None or one["low"] < one["auc"] <= one["high"]
        rows = found.strongest[one["neuron"]]
        assert found.scoring[rows].all() and len({*rows}) == 8
        assert values[rows].tolist() == sorted(values[found.scoring], reverse=True)[:8]
        assert one["strongest"][0]["path"] == faces.paths[found.places[rows[0]]]
    assert len(os.listdir(os.path.join(run.workdir, "features"))) == 2  # with those of the untrained network


def test_regions_are_where_a_map_is_half_as_high_as_at_its_highest(run, faces, found, monkeypatch):
    maps = run.embed_source(faces, layer="stage1", pooled=False).embeddings[found.places]
    for neuron, rows in enumerate(found.strongest):
        for rank, row in enumerate(rows):
            map_ = maps[row, :, :, neuron]
            assert (found.regions[neuron, rank] == ((map_ >= map_.max() / 2) & (map_.max() > 0))).all()
    text = found.record["neurons"][0]["strongest"][0]["region"]
    bits = [int(digit, 16) >> place & 1 for digit in text for place in (3, 2, 1, 0)]
    assert bits[:found.regions[0, 0].size] == found.regions[0, 0].reshape(-1).tolist()
    monkeypatch.setattr(dissecting, "_MOST_BYTES", 0)  # where maps are too large to be kept
    again = dissecting.dissect(run, faces, "stage1", seed=3)
    np.testing.assert_allclose(again.values, found.values, rtol=1e-5)
    assert (again.regions == found.regions).mean() > 0.999 and (again.strongest == found.strongest).all()


def test_an_embeddings_regions_are_of_what_each_place_adds(run, faces):
    config = stored.changed(run.config, {"evaluation.average_horizontal_flips": True})
    both = loading.load(run.workdir, config)
    found = dissecting.dissect(both, datasets.Records(faces, np.flatnonzero(faces.labels == 0)))
    rows = np.unique(found.strongest)
    images = both.preprocess([faces.paths[found.places[row]] for row in rows])
    parts = lambda images: np.asarray(embedders.contributions(both.embedder, both.variables, images).parts)
    mean = (parts(images) + parts(images[:, :, ::-1])[:, :, ::-1]) / 2
    np.testing.assert_allclose(mean.sum(axis=(1, 2)), found.values[rows], atol=1e-5)
    agree = [found.regions[neuron, rank] == ((map_ >= map_.max() / 2) & (map_.max() > 0))
             for neuron, shown in enumerate(found.strongest) for rank, row in enumerate(shown)
             for map_ in [mean[np.searchsorted(rows, row), :, :, neuron]]]
    assert np.mean(agree) > 0.999 and found.regions.any(axis=(2, 3)).mean() > 0.9


def test_images_without_classes_have_pictures_and_no_class(run, faces):
    found = dissecting.dissect(run, datasets.Records(faces, np.flatnonzero(faces.labels == 0)), "pool")
    assert found.selected is None and found.regions is None and found.record["controls"] == {}
    assert found.scoring.all() and "class" not in found.record["neurons"][0]
    assert found.record["says"] == "All images are of one class: nothing can be told apart."


def test_tags_are_classes(run, faces):
    kept = datasets.Records(faces, np.flatnonzero(faces.labels < 4))
    kept.tags = np.stack([kept.labels < 2, kept.labels % 2 == 0, np.ones(len(kept), bool)], axis=1)
    kept.tag_names = ["low", "even", "all"]
    found = dissecting.dissect(run, kept, "stage1")
    assert found.usable.tolist() == [0, 1] and {one["class"] for one in found.record["neurons"]} <= {"low", "even"}


@pytest.mark.parametrize("layer, places, line", [
    ("stage9", slice(None), "tiny has no layer 'stage9'; it has stem, stage1, stage2, pool, embedding"),
    ("stage1", [0, 1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 14], "1 of the 3 classes have 2 images or more in both halves"),
    ("stage1", [8] * 4, r"none of the 4 images can be read: .*2\.jpg"),
])
def test_what_cannot_be_told_is_refused_before_anything_is_computed(run, faces, tmp_path, layer, places, line):
    some = datasets.Records(faces, np.arange(len(faces))[places])
    with pytest.raises(UserError, match=line):
        dissecting.dissect(run, some, layer, folder=str(tmp_path / "kept"))
    assert not (tmp_path / "kept").exists()
