"""The pairs of LFW's format, the files that a user of LFW has, and what is measured of them."""

import numpy as np
import pytest

from benchmarks import faces
from geodesic import datasets
from geodesic.configs import default, protocols
from geodesic.datasets import alignment
from geodesic.errors import UserError
from geodesic.experiments.protocols import task as tasks
from tests.datasets import images


@pytest.fixture
def photos(tmp_path):
    """Two photographs of each of twenty people."""
    return datasets.build("image_folder", path=str(images.make_folder(tmp_path / "photos", 20, 2)))


def test_folds_are_of_people_of_their_own():
    lines = faces.pairs({f"s{person}": 3 for person in range(20)}, seed=1).splitlines()
    assert lines[0] == "10\t6" and len(lines) == 1 + 10 * 2 * 6
    seen = []
    for fold in range(10):
        listed = [line.split("\t") for line in lines[1 + 12 * fold:13 + 12 * fold]]
        same, different = listed[:6], listed[6:]
        assert same == [[f"s{2 * fold + person}", *ends] for person in (0, 1) for ends in ("12", "13", "23")]
        assert {len(pair) for pair in different} == {4} and len({*map(tuple, different)}) == 6
        people = {name for pair in different for name in pair[::2]}
        assert people == {f"s{2 * fold}", f"s{2 * fold + 1}"}
        seen += people
    assert len({*seen}) == 20
    assert lines != faces.pairs({f"s{person}": 3 for person in range(20)}, seed=2).splitlines()


def test_the_files_are_those_of_a_user_of_lfw(photos, tmp_path):
    scores = faces.write(tmp_path / "run", photos, lambda image: (0.9, alignment.TEMPLATE / 4), seed=0)
    root = tmp_path / "run" / "pairs.txt"
    listed = datasets.build_pairs("lfw", path=f"{root}#{tmp_path / 'run' / 'faces.csv'}")
    assert scores == [0.9] * 40 and (len(listed.images), len(listed.same), int(listed.same.sum())) == (40, 40, 20)
    ends = np.asarray(listed.images.labels)[listed.pairs]
    assert ((ends[:, 0] == ends[:, 1]) == listed.same).all()
    record = listed.images[0]
    assert record["image"] == photos[0]["image"] and np.allclose(
        np.reshape(record["landmarks"], (5, 2)), alignment.TEMPLATE / 4, atol=5e-4)
    whole = datasets.build_pairs("lfw", path=f"{root}#{tmp_path / 'run' / 'whole.csv'}")
    assert "landmarks" not in whole.images[0] and (whole.pairs == listed.pairs).all()
    with pytest.raises(UserError, match=r"no face was found \(score 0.50, expected 0.65 or more\)"):
        faces.write(tmp_path / "other", photos, lambda image: (0.5, alignment.TEMPLATE), seed=0)


def test_points_of_a_face_come_back_to_the_portrait():
    """The face is the lower right quarter of the portrait, and its points are where the third network says."""
    portrait = np.zeros((100, 80, 3), np.uint8)
    height, width = 35 + 100 + 35, 73 + 80 + 73  # 4:3
    box = np.float32([(73 + 40) / width, (35 + 50) / height, (73 + 80) / width, (35 + 100) / height])
    points = np.zeros((68, 2), np.float32)
    for place, chosen in enumerate(faces._FIVE):
        points[[*chosen]] = (0.1 * place, 0.2)
    shapes = {}

    def network(name, answer):
        return lambda given: shapes.update({name: given.shape}) or answer

    models = {"fr_detect": network("fr_detect", (np.float32([[[0.9, 0.1], [0.2, 0.8]]]),
                                                    np.stack([np.zeros(4, np.float32), box])[None])),
              "fr_landmark": network("fr_landmark", [points.reshape(1, 136)])}
    score, found = faces.found(models, portrait)
    assert score == pytest.approx(0.8)
    assert shapes == {"fr_detect": (1, 3, 240, 320), "fr_landmark": (1, 1, 64, 64)}
    assert found == pytest.approx(np.float32([[40 + 4 * place, 60] for place in range(5)]), abs=1e-4)


def test_a_row_goes_through_the_protocol(photos, tmp_path):
    """Embeddings of one person are one vector: nothing is wrong, until every image has the same."""
    faces.write(tmp_path / "run", photos, lambda image: (0.9, alignment.TEMPLATE / 4), seed=0)
    root = f"{tmp_path / 'run' / 'pairs.txt'}#{tmp_path / 'run' / 'faces.csv'}"
    config = tasks.options_of(default.get_config(), protocols.get("lfw"), root)
    people = np.asarray(datasets.build_pairs("lfw", path=root).images.labels)
    shapes = []

    def describe(views):
        shapes.append(views.shape)
        return np.eye(20)[people]

    row = faces.measured(faces.Embedder(config, faces.of_views(config, describe)), root)
    assert shapes == [(40, 112, 112, 3)] * 2
    assert [row[name]["value"] for name in ("accuracy_10fold", "eer", "tar@far=0.01")] == [1.0, 0.0, 1.0]
    alike = faces.measured(faces.Embedder(config, faces.of_views(config, lambda views: np.ones((len(views), 4)))), root)
    assert alike["accuracy_10fold"]["value"] == alike["eer"]["value"] == 0.5


def test_models_that_are_not_there(tmp_path):
    pytest.importorskip("onnxruntime")
    with pytest.raises(UserError, match=r"has no fr_detect\.onnx: expected the folder package/model"):
        faces.opened(str(tmp_path))
