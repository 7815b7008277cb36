"""Over a data set that TensorFlow Datasets itself prepares, in a folder of the test; no TensorFlow is loaded."""

import io
import pathlib
import pickle
import shutil
import sys

import numpy as np
import pytest

from geodesic import datasets
from geodesic.datasets import identity
from tests.datasets import images, streams

PIXELS = [images.pixels(seed) for seed in range(6)]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    import tensorflow_datasets as tfds

    def builder(name, label, value):
        class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
            VERSION = tfds.core.Version("1.0.0")
            code_path = pathlib.Path(__file__)  # it looks for a package, which a test is not

            def _info(self):
                features = {"image": tfds.features.Image(shape=(None, None, 3))} | ({"label": label} if label else {})
                if self.name == "attributes":
                    features["attributes"] = {"smiling": np.bool_, "bald": np.bool_}
                return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

            def _split_generators(self, manager):
                return {"train": self._generate_examples(), "test": self._generate_examples(2)}

            def _generate_examples(self, count=6):
                for index, pixels in enumerate(PIXELS[:count]):
                    file = io.BytesIO(images.encoded(pixels, "PNG"))
                    attributes = {"smiling": index % 2 == 0, "bald": index > 3}
                    yield index, ({"image": file} | ({"label": value(index)} if label else {})
                                  | ({"attributes": attributes} if self.name == "attributes" else {}))

        Builder.name = name
        return Builder(data_dir=str(folder), file_format="array_record")

    folder = tmp_path_factory.mktemp("tfds")
    for made in (builder("birds", tfds.features.ClassLabel(names=["wren", "robin", "owl"]), lambda index: index % 3),
                 builder("people", tfds.features.Text(), lambda index: f"person {index // 2}"),
                 builder("nobody", tfds.features.Text(), lambda index: " " * (index % 2) or "ann"),
                 builder("latin", tfds.features.Tensor(shape=(), dtype=np.object_), lambda index: b"Jos\xe9"),
                 builder("attributes", None, None), builder("pictures", None, None)):
        made.download_and_prepare()
    assert "tensorflow" not in sys.modules
    return folder


@pytest.fixture(autouse=True)
def folders(prepared, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.mark.parametrize("travelled", [False, True])
def test_by_name(travelled):
    source = datasets.build("tfds", path="birds")
    source = pickle.loads(pickle.dumps(source)) if travelled else source
    assert (len(source), source.class_names) == (6, ["wren", "robin", "owl"])
    found = set()
    for record, label in zip(map(source.__getitem__, range(6)), source.labels, strict=True):
        pixels = datasets.decode(record)
        index = next(index for index, known in enumerate(PIXELS) if np.array_equal(known, pixels))
        assert record["label"] == label == index % 3
        found.add(index)
    assert found == set(range(6))


def test_labels_are_read_once(tmp_path):
    first = datasets.build("tfds", path="birds/1.0.0#test")
    assert len(list((tmp_path / "geodesic" / "labels").iterdir())) == 1
    assert (datasets.build("tfds", path="birds#test").labels == first.labels).all() and len(first) == 2


def test_its_identity_is_its_name_version_and_split(prepared, tmp_path, monkeypatch):
    found = {path: identity.identity(datasets.build("tfds", path=path))
             for path in ("birds#train", "birds#test", "people")}
    assert len({one["records"] for one in found.values()}) == 3
    shutil.copytree(prepared, tmp_path / "copied")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "copied"))
    for path in ("birds#train", "birds/1.0.0", f"{tmp_path}/copied/birds"):
        assert identity.identity(datasets.build("tfds", path=path)) == found["birds#train"]
    assert datasets.build("tfds", path="birds").record_names()[5] == "birds:1.0.0#train:5"


def test_text_labels_become_classes(prepared):
    source = datasets.build("tfds", path=f"{prepared}/people")
    assert source.class_names == ["person 0", "person 1", "person 2"] and np.bincount(source.labels).tolist() == [2] * 3


def test_attributes_are_tags():
    source = datasets.build("tfds", path="attributes")
    assert (source.tag_names, source.num_classes) == (["bald", "smiling"], 1)
    assert source.tags.sum(axis=0).tolist() == [2, 3]
    for index in range(6):
        record = source[index]
        which = next(which for which, known in enumerate(PIXELS) if np.array_equal(known, datasets.decode(record)))
        assert record["tags"].tolist() == [which > 3, which % 2 == 0]


def test_what_is_not_there():
    with pytest.raises(FileNotFoundError, match="tfds build cars196 --file_format=array_record"):
        datasets.build("tfds", path="cars196")
    with pytest.raises(ValueError, match="no split 'validation'; it has "):
        datasets.build("tfds", path="birds#validation")
    with pytest.raises(ValueError, match="3 records have no label"):
        datasets.build("tfds", path="nobody")
    with pytest.raises(ValueError, match=r"the label b'Jos\\xe9' is no UTF-8"):
        datasets.build("tfds", path="latin")
    with pytest.raises(ValueError, match="none of label, class_id"):
        datasets.build("tfds", path="pictures")


@pytest.mark.parametrize("root", ["", "gs://here"])
def test_a_bucket_gives_the_same_batches(prepared, tmp_path, monkeypatch, root):
    with streams.cache_of(monkeypatch, tmp_path / "cache"):
        here, tags = (datasets.build("tfds", path=name) for name in ("birds", "attributes"))
        shutil.copytree(prepared, tmp_path / "buckets" / "here")
        bucket = streams.use_bucket(monkeypatch, tmp_path / "buckets")
        monkeypatch.setenv("TFDS_DATA_DIR", root or str(tmp_path))
        folder = "" if root else "gs://here/"
        bucket.failures += [ConnectionResetError("by peer")]
        there = datasets.build("tfds", path=f"{folder}birds")
        assert there.record_names() == here.record_names() and there.class_names == here.class_names
        assert streams.same(streams.batches(there, threads=1), streams.batches(here))
        assert pickle.loads(pickle.dumps(there))[5]["image"] == here[5]["image"]
        read = bucket.read
        assert datasets.build("tfds", path=f"{folder}birds/1.0.0#train").labels.tolist() == here.labels.tolist()
        assert bucket.read == read  # nothing was fetched twice
        assert (datasets.build("tfds", path=f"{folder}attributes").tags == tags.tags).all()
        with pytest.raises(FileNotFoundError, match="tfds build cars196"):
            datasets.build("tfds", path=f"{folder}cars196")
        with pytest.raises(ValueError, match="no split 'validation'; it has "):
            datasets.build("tfds", path=f"{folder}birds#validation")
        next((tmp_path / "buckets" / "here" / "birds" / "1.0.0").glob("*train*")).unlink()
        with pytest.raises(ValueError, match="is missing: 1 of 1 files of train"):
            datasets.build("tfds", path=f"{folder}birds")
