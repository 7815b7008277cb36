"""Every kind of protocol from its images to its record, with a network that has learnt next to nothing."""

import itertools
import json
import pathlib
import pickle
import shutil
import types

import numpy as np
import pytest

import geodesic
from geodesic.configs import protocols
from geodesic.datasets import alignment, decoding
from geodesic.experiments.protocols import comparison, follow, record
from geodesic.experiments.protocols import task as tasks
from tests.datasets import images
from tests.datasets.sources import ijb_test
from tests.experiments import tiny
from tests.experiments.protocols.goldens import lake_runs


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two steps, both kept, and the folder of its images: train and test hold the same five classes."""
    root = tmp_path_factory.mktemp("protocols")
    tiny.faces(root / "photos" / "train", 5, 4)
    shutil.copytree(root / "photos" / "train", root / "photos" / "test")
    config = tiny.config(root / "photos" / "train", loss__name="softmax", total_steps=2, run__checkpoint_every_steps=1,
                         test_data__path=str(root / "photos" / "test"))
    geodesic.train(config, root / "run")
    return config, root


def followed(run, protocol, data="", **changes):
    """The record, read back from the file."""
    config, root = run
    flags = dict(workdir=str(root / "run"), protocol=protocol, data=str(data), step=-1, select="last",
                 select_on_test=False, concatenate=[], quarter_turns=False)
    written = follow.run(config, types.SimpleNamespace(**flags | changes))
    marked = written["selection"]["rule"] == record.TEST
    name = written["protocol"]["name"] + (".quarter_turns" if changes.get("quarter_turns") else "")
    name += ".selected_on_test" if marked else ""
    assert record.read(record.path(str(root / "run"), name)) == json.loads(json.dumps(written))
    assert all(protocols.definition(metric) == text for metric, text in written["definitions"].items())
    return written


def test_classification_is_marked_where_the_images_are_others(run, capsys):
    written = followed(run, "grocery_classification", run[1] / "photos")
    assert written["metrics"].keys() == {"top1", "mean_per_class_accuracy", "calibration_error",
                                         "adaptive_calibration_error", "nll", "brier"}
    assert written["counts"] == {"images": 20, "classes": 5}
    assert not written["protocol"]["complete"] and "MARKED: these are not the images" in capsys.readouterr().out
    assert written["checkpoint"]["step"] == 2 and written["selection"]["rule"] == "last"
    assert written["protocol"]["image_size"] == 16 and written["protocol"]["fit"] == "center_crop"
    low, value, high = (written["metrics"]["top1"][key] for key in ("low", "value", "high"))
    assert 0 <= low <= value <= high <= 1


def test_retrieval_with_a_gallery_of_other_labels(run, tmp_path):
    """Two of three queries are pixel for pixel in the gallery, whose classes come in another order."""
    for name, seed in (("a", 1), ("b", 2), ("c", 3)):
        (tmp_path / f"{name}.jpg").write_bytes(images.encoded(images.pixels(seed)))
        (tmp_path / f"{name}2.jpg").write_bytes(images.encoded(images.pixels(seed)))
    (tmp_path / "list_eval_partition.txt").write_text(
        "5\nimage_name item_id evaluation_status\na.jpg id_1 query\nb.jpg id_2 query\nc.jpg id_3 query\n"
        "b2.jpg id_2 gallery\na2.jpg id_1 gallery\n" + "".join(f"c2.jpg id_{9 + i} gallery\n" for i in range(60)))
    written = followed(run, "in_shop", tmp_path)
    assert written["counts"] == {"images": 3, "classes": 3, "queries": 2, "queries_without_match": 1, "gallery": 62}
    assert written["metrics"]["recall@1"]["value"] == written["metrics"]["map@r"]["value"] == 1


def test_models_side_by_side(run):
    written = followed(run, "grocery_retrieval", _disjoint(run), concatenate=[str(run[1] / "run")])
    assert written["protocol"]["models"] == 2
    single = followed(run, "grocery_retrieval", _disjoint(run))
    assert written["metrics"]["map@r"]["value"] == pytest.approx(single["metrics"]["map@r"]["value"])
    with pytest.raises(ValueError, match="no run in"):
        followed(run, "grocery_retrieval", _disjoint(run), concatenate=["nowhere"])


def _disjoint(run) -> pathlib.Path:
    """A folder whose test part has classes past the 41 of training."""
    root = run[1] / "disjoint"
    if not root.exists():
        for label in range(81):
            (root / "test" / f"class{label:02}").mkdir(parents=True)
            for index in range(2 if label > 75 else 1):
                (root / "test" / f"class{label:02}" / f"{index}.jpg").write_bytes(
                    images.encoded(images.pixels(10 * label + index)))
    return root


def test_selection_is_written_down_and_a_test_selection_is_apart(run, capsys):
    chosen = followed(run, "grocery_retrieval", _disjoint(run), select="validation")
    assert chosen["selection"]["rule"] == "best on validation"
    assert [candidate["step"] for candidate in chosen["selection"]["candidates"]] == [1, 2]
    marked = followed(run, "grocery_retrieval", _disjoint(run), select_on_test=True)
    assert marked["selection"]["rule"] == "best on test" and "selected on the test set" in capsys.readouterr().out
    best = max(candidate["score"] for candidate in marked["selection"]["candidates"])
    assert marked["metrics"]["map@r"]["value"] == pytest.approx(best)
    assert followed(run, "grocery_retrieval", _disjoint(run), step=1)["selection"]["rule"] == "given by hand"


def test_selection_refuses_what_is_reported(run):
    with pytest.raises(ValueError, match=r"20 images of config\.test_data are among those to be reported"):
        followed(run, "grocery_classification", run[1] / "photos", select="validation")
    with pytest.raises(ValueError, match="exclude each other"):
        followed(run, "grocery_classification", run[1] / "photos", select="validation", select_on_test=True)
    with pytest.raises(ValueError, match="leave out --select"):
        followed(run, "grocery_classification", run[1] / "photos", step=1, select_on_test=True)


def test_ten_folds_of_pairs(run, tmp_path):
    """The same picture twice, or two pictures: every threshold above 0 and below the rest is right."""
    pairs = [(images.pixels(seed), images.pixels(seed if seed % 2 else seed + 100)) for seed in range(20)]
    encoded = [images.encoded(image) for pair in pairs for image in pair]
    (tmp_path / "lfw.bin").write_bytes(pickle.dumps((encoded, [bool(seed % 2) for seed in range(20)])))
    written = followed(run, "lfw", tmp_path)
    assert written["metrics"]["accuracy_10fold"]["value"] > 0.5 and written["interval"]["over"] == "folds"
    assert written["protocol"]["average_horizontal_flips"] and written["protocol"]["image_size"] == 112
    assert written["counts"] == {"images": 40, "pairs": 20}
    assert followed(run, "lfw", tmp_path / "lfw.bin")["metrics"] == written["metrics"]  # the file itself


def test_ten_folds_of_a_list_of_faces_by_their_landmarks(run, tmp_path, monkeypatch):
    """Every file is the same photograph of twenty people: which of them it stands for, the landmarks alone say."""
    people = [images.pixels(person, 112, 112) for person in range(20)]
    lines = [np.concatenate(people[start:start + 5], axis=1) for start in range(0, 20, 5)]
    group = images.encoded(np.concatenate(lines), "PNG")
    rows = ["path,label,landmarks"]
    for person, number in itertools.product(range(20), (1, 2)):
        (tmp_path / f"P{person}_000{number}.jpg").write_bytes(group)
        points = alignment.TEMPLATE + 112 * np.array([person % 5, person // 5])
        rows.append(f"P{person}_000{number}.jpg,P{person}," + " ".join(map("{:.4f}".format, points.ravel())))
    lines = [line for fold in range(10) for line in
             (f"P{2 * fold}\t1\t2", f"P{2 * fold}\t1\tP{2 * fold + 1}\t2")]
    (tmp_path / "pairs.txt").write_text("\n".join(["10\t1", *lines]) + "\n")
    (tmp_path / "faces.csv").write_text("\n".join(rows) + "\n")
    protocol = protocols.get("lfw").copy_and_resolve_references()
    protocol.images = 40  # a list may name an image in several pairs: two for each pair, as a .bin has them
    monkeypatch.setitem(protocols.PROTOCOLS, "lfw", protocol)
    written = followed(run, "lfw", f"{tmp_path}/pairs.txt#{tmp_path}/faces.csv")
    assert written["protocol"]["complete"]
    assert written["metrics"]["accuracy_10fold"]["value"] >= 0.9  # without them, a half
    assert written["counts"] == {"images": 30, "pairs": 20}


def test_templates_and_their_switches(run, tmp_path):
    root = ijb_test.folder(tmp_path)
    values = [followed(run, name, root.parent)["metrics"] for name in ("ijb_b", "ijb_b_n0d1f1")]
    assert values[0].keys() == {"tar@far=0.001", "tar@far=0.0001", "tar@far=1e-05", "tar@far=1e-06"}
    assert values[0]["tar@far=0.0001"]["value"] == 1  # template 7 against itself


def _omniglot(tmp_path):
    """25 characters of one background and one evaluation alphabet each, six drawers."""
    names = [f"images_{which}/Alphabet/character{index:02}" for which in ("background", "evaluation")
             for index in range(25)]
    rng = np.random.default_rng(0)
    ink = rng.random((50, 105, 105)) < 0.5
    drawn = np.repeat(ink, 6, axis=0).reshape(300, -1) ^ (rng.random((300, 105 * 105)) < 0.02)
    np.savez(tmp_path / "omniglot.npz", bits=np.packbits(drawn, axis=1), label=np.repeat(np.arange(50), 6),
             names=np.array(names))
    return tmp_path / "omniglot.npz"


def test_omniglots_trials(run, tmp_path, monkeypatch, capsys):
    data = _omniglot(tmp_path)
    for name, train_classes, test_classes in (("omniglot_within_alphabet", (0, 25), (25, 50)),
                                              ("omniglot_verification", (0, 25), (25, 50)),
                                              ("omniglot_few_shot_vinyals", (0, 100), (100, 200))):
        smaller = protocols.get(name).copy_and_resolve_references()
        smaller.train.classes, smaller.test.classes = train_classes, test_classes
        smaller.episodes = 20
        if smaller.ways_shots:  # six drawings of a character are one shot and five queries
            smaller.ways_shots = ((5, 1),)
        monkeypatch.setitem(protocols.PROTOCOLS, name, smaller)
    one_shot = followed(run, "omniglot_within_alphabet", data)
    assert one_shot["counts"] == {"images": 150, "classes": 25, "episodes": 20}
    assert one_shot["metrics"]["within_alphabet_20way"]["value"] > 0.05
    verification = followed(run, "omniglot_verification", data)
    assert 0.4 < verification["metrics"]["pair_accuracy"]["value"] <= 1
    few_shot = followed(run, "omniglot_few_shot_vinyals", data)
    assert few_shot["metrics"].keys() == {"5way_1shot"}
    assert "quarter_turns" not in capsys.readouterr().out
    turned = followed(run, "omniglot_within_alphabet", data, quarter_turns=True)
    assert "protocol omniglot_within_alphabet.quarter_turns, step 2" in " ".join(capsys.readouterr().out.split())
    (row,) = comparison.compare(turned, "file")
    assert row["protocol"] == "omniglot_within_alphabet.quarter_turns"
    assert turned["protocol"]["quarter_turns"] and not one_shot["protocol"]["quarter_turns"]
    assert turned["counts"] == one_shot["counts"] and turned["metrics"] != one_shot["metrics"]


def test_lakes_runs_are_those_drawings(run, monkeypatch):
    whole = protocols.get("omniglot_one_shot_lake").copy_and_resolve_references()
    whole.test.classes, whole.train.classes = (0, 0), (0, 0)  # the golden has the 200 characters alone
    monkeypatch.setitem(protocols.PROTOCOLS, "omniglot_one_shot_lake", whole)
    found = followed(run, "omniglot_one_shot_lake", lake_runs.PATH)
    assert found["counts"] == {"images": 1600, "classes": 200, "episodes": 20}
    assert found["metrics"].keys() == {"one_shot_20way"}
    value = found["metrics"]["one_shot_20way"]["value"]
    assert 0.05 < value < 1 and value * 400 == pytest.approx(round(value * 400))
    assert not found["protocol"]["complete"]


def test_quarter_turns_are_put_side_by_side(run):
    network = geodesic.load(run[1] / "run")
    source = network.source([str(path) for path in sorted((run[1] / "photos" / "test").rglob("*.*"))[:3]])
    rows, places, problems = tasks.embed(tasks.Task(None, [network], 0, quarter_turns=True), source)
    assert places.tolist() == [0, 1, 2] and not problems
    expected = [[network.embed([np.ascontiguousarray(np.rot90(decoding.decode(source[index]), turn))])[0]
                 for turn in range(4)] for index in range(3)]
    np.testing.assert_allclose(rows, np.array(expected).reshape(3, -1) / 2, atol=1e-5)


def test_quarter_turns_are_of_some_tasks_alone(run):
    with pytest.raises(ValueError, match=r"--quarter_turns is of protocols of retrieval, .*; coco is of detection"):
        followed(run, "coco", quarter_turns=True)


def test_unknown_names_and_missing_images_are_said(run):
    with pytest.raises(ValueError, match="unknown protocol 'cub'"):
        followed(run, "cub")
    with pytest.raises(ValueError, match=r"source 'sop' are needed: say where they lie with --data"):
        followed(run, "sop")
    with pytest.raises(FileNotFoundError, match="no folder"):
        followed(run, "cub200", "/nowhere")
