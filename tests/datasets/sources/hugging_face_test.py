"""With the library itself where it is installed, and with a stand-in for what happens where it is not."""

import importlib.metadata
import pickle
import sys

import pytest

from geodesic import datasets
from geodesic.datasets.sources import hugging_face
from geodesic.errors import UserError
from tests.datasets import images, streams

try:
    importlib.metadata.version("datasets")
    IS_INSTALLED = True
except importlib.metadata.PackageNotFoundError:
    IS_INSTALLED = False
needs_it = pytest.mark.skipif(not IS_INSTALLED, reason="the library datasets is not installed")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf"))
    return datasets.build("image_folder", path=str(images.make_folder(tmp_path / "photos", 3, 7)))


def saved(folder, path):
    """As save_to_disk writes a set of splits."""
    library = hugging_face._library()
    features = library.Features({"image": library.Image(), "label": library.ClassLabel(names=folder.class_names)})
    rows = {"image": [{"bytes": folder[place]["image"], "path": None} for place in range(len(folder))],
            "label": folder.labels.tolist()}
    library.DatasetDict({"train": library.Dataset.from_dict(rows, features=features)}).save_to_disk(str(path))
    return str(path)


@needs_it
def test_a_saved_folder_and_one_of_parquet_give_the_same_batches(folder, tmp_path):
    path = saved(folder, tmp_path / "saved")
    for where in (path, f"{path}#train", f"{path}/train", str(streams.write_parquet(tmp_path / "set", folder))):
        source = datasets.build("hugging_face", path=where)
        assert source.class_names == folder.class_names
        assert streams.same(streams.batches(source), streams.batches(folder))
    source = datasets.build("hugging_face", path=path)
    assert streams.same(streams.batches(source, 3, first_step=3, workers=2), streams.batches(folder, 6)[3:])
    assert pickle.loads(pickle.dumps(source)).record_names() == source.record_names()
    assert len({*source.record_names()}) == 21


@needs_it
def test_what_is_not_there(folder, tmp_path):
    path = saved(folder, tmp_path / "saved")
    with pytest.raises(UserError, match="has no split 'test'; it has train"):
        datasets.build("hugging_face", path=f"{path}#test")
    with pytest.raises(UserError, match="none/such cannot be opened"):
        datasets.build("hugging_face", path="none/such")


def test_without_the_library_it_is_a_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match="needs the library datasets: pip install datasets"):
        datasets.build("hugging_face", path="cifar10")


def test_our_own_folder_is_not_taken_for_the_library(monkeypatch):
    monkeypatch.delitem(sys.modules, "datasets", raising=False)
    monkeypatch.syspath_prepend(".")
    if IS_INSTALLED:
        assert hasattr(hugging_face._library(), "load_dataset")
    else:
        with pytest.raises(UserError, match="No module named 'datasets'"):
            hugging_face._library()
