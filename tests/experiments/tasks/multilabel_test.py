"""Images of several classes: red above, blue below, both or neither, from the manifest to the report."""

import numpy as np
import PIL.Image
import pytest
from sklearn.metrics import average_precision_score

import geodesic
from geodesic import datasets
from geodesic.errors import UserError
from geodesic.experiments import report, tasks, train
from geodesic.experiments.process import progress
from geodesic.experiments.tasks import multilabel
from geodesic.experiments.trained import loading
from tests.experiments import tiny
from tests.experiments.train_test import StopAt, one_device  # noqa: F401


def pictures(folder, count=48):
    """A manifest with a train and a test split: of four pictures one is red, one blue, one both, and one grey."""
    folder.mkdir()
    rng, lines = np.random.default_rng(0), ["path,labels,split"]
    for place in range(count):
        red, blue = place % 4 in (0, 2), place % 4 in (1, 2)
        pixels = rng.integers(60, 120, (16, 16, 3), np.uint8)
        pixels[:8, :, 0] += 130 * red
        pixels[8:, :, 2] += 130 * blue
        PIL.Image.fromarray(pixels).save(folder / f"{place}.png")
        there = (("red", red), ("blue", blue), ("grey", not red and not blue))
        names = "|".join(name for name, shown in there if shown)
        lines.append(f"{place}.png,{names},{'train' if place < count * 3 // 4 else 'test'}")
    (folder / "m.csv").write_text("\n".join(lines) + "\n")
    return str(folder / "m.csv")


def config(path, **changes):
    made = tiny.config(path, task="multilabel", loss__name="sigmoid", total_steps=40, optimizer__learning_rate=0.05,
                       evaluation__every_epochs=4.0, augment__horizontal_flip=0.5, **changes)
    for part in ("train", "test"):
        made[f"{part}_data"].update(name="manifest", path=f"{path}#{part}")
    return made


def test_a_batch_has_the_tags_of_its_own_images(one_device, tmp_path):  # noqa: F811
    made = config(pictures(tmp_path / "photos"))
    batches = multilabel.Batches(multilabel.train_source(made), made)
    for _ in range(3):
        batch = next(batches)
        red, blue = batch["image"][:, :8, :, 0].mean((1, 2)) > 150, batch["image"][:, 8:, :, 2].mean((1, 2)) > 150
        np.testing.assert_array_equal(batch["tags"], np.stack([blue, ~red & ~blue, red], axis=1))
    batches.close()
    assert "tags" not in next(tasks.get("embedding").batches(datasets.build(**made.train_data), made))


def test_classes_are_learnt_watched_evaluated_and_reported(one_device, tmp_path, capsys):  # noqa: F811
    made = config(pictures(tmp_path / "photos"), run__keep_best="macro_ap")
    assert train.train(made, str(tmp_path / "run"), StopAt()) == 0
    scores = [entry["macro_ap"] for entry in progress.read_metrics(str(tmp_path / "run")) if "macro_ap" in entry]
    assert scores[-1] > 0.9 and "average_precision  mAP" in capsys.readouterr().out
    run = loading.load(tmp_path / "run")
    record = geodesic.evaluate(run, baselines=False)["classification"]
    test = datasets.build(**made.test_data)
    probabilities = run.classify(test)
    assert run.class_names == ["blue", "grey", "red"] == test.class_names
    for name in ("macro", "micro"):
        expected = average_precision_score(test.tags, probabilities, average=name)
        assert record["metrics"][f"{name}_ap"]["value"] == pytest.approx(expected)
    assert scores[-1] == pytest.approx(record["metrics"]["macro_ap"]["value"])
    assert "no temperature: each class has a probability of its own" in capsys.readouterr().out
    page = report.render(run.config, run.workdir)
    assert "<h3>Average precision of each class</h3>" in page and ">macro_ap</div>" in page
    both = next(place for place, tags in enumerate(test.tags) if tags.sum() == 2)
    assert {name for name, _ in run.predict(test.paths[both], top=2)[0]} == {"red", "blue"}


def test_what_has_no_several_classes_is_refused(one_device, tmp_path):  # noqa: F811
    path = pictures(tmp_path / "photos")
    for changes, told in (({"loss__name": "softmax"}, "takes a loss of several classes for each image, sigmoid; got"),
                          ({"augment__mixup_alpha": 0.2}, "are not mixed"),
                          ({"evaluation__evaluators": (("accuracy", 1.0), ("average_precision", 1.0)), "task":
                            "classification", "loss__name": "softmax"}, "average_precision is of a loss and of test")):
        made = config(path)
        for name, value in changes.items():
            *sections, field = name.split("__")
            (made[sections[0]] if sections else made)[field] = value
        with pytest.raises(UserError, match=told):
            train.train(made, str(tmp_path / "run"), StopAt())
    made = config(path)
    made.train_data.update(name="image_folder", path=str(tiny.faces(tmp_path / "faces")))
    with pytest.raises(UserError, match=r"those of the training data .* have one each"):
        train.train(made, str(tmp_path / "run"), StopAt())
    assert not (tmp_path / "run").exists()
