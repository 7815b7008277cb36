"""A gallery refuses every other model, in a line that names what differs, whatever the number of dimensions."""

import jax
import numpy as np
import pytest

from geodesic.errors import UserError
from geodesic.experiments.checkpoints import checkpoint
from geodesic.experiments.galleries import binding, table
from geodesic.experiments.galleries.gallery import Gallery
from tests.experiments.galleries import fake

ALTERED = {
    "layer": ({"evaluation__layer": "stage3"}, "the layer '' there, 'stage3' here"),
    "flips": ({"evaluation__average_horizontal_flips": True}, "the mean over mirrored images False there, True here"),
    "mean": ({"input__mean": (127.5, 127.5, 127.4)}, "input.mean"),
    "order of the mean": ({"input__mean": (103.9, 116.8, 123.7)}, r"input.mean \[127.5, 127.5, 127.5\] there"),
    "std": ({"input__std": (128.0,) * 3}, "input.std"),
    "size": ({"input__image_size": 113}, "input.image_size"),
    "fit": ({"input__fit": "center_crop"}, "input.fit"),
    "side before the crop": ({"input__resize_size": 256}, "input.resize_size"),
    "decoding": ({"input__decode_to_scale": False}, "input.decode_to_scale"),
    "network": ({"embedder__name": "iresnet50"}, "embedder.name"),
    "dtype": ({"embedder__dtype": "bfloat16"}, "embedder.dtype 'float32' there, 'bfloat16' here"),
    "pooling": ({"embedder__pooling": "max"}, "embedder.pooling"),
    "neck": ({"embedder__neck": "bn_fc_bn"}, "embedder.neck"),
    "numbers of the neck": ({"embedder__embedding_size": 16}, "embedder.embedding_size"),
    "place of a stride": ({"embedder__version": "v1"}, "embedder.version"),
    "stem": ({"embedder__stem": "deep"}, "embedder.stem"),
    "epsilon": ({"embedder__bn_epsilon": 1e-3}, "embedder.bn_epsilon"),
    "head": ({"head__name": "mlp"}, "head.name"),
}
# What is not a field of a configuration, as the gallery says it was.
STORED = {
    "channels": ("BGR", "the order of the channels 'BGR' there, 'RGB' here"),
    "normalisation": ("none", "the normalisation 'none' there, 'unit length' here"),
    "size": (8, "the vectors' size 8 there, 16 here"),
}


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    place = tmp_path_factory.mktemp("bound")
    fake.folder(place / "photos", {"ann/0.jpg": "ann0", "bob/0.jpg": "bob0"})
    gallery = Gallery(place / "gallery", fake.Run()).create()
    gallery.add(place / "photos")
    return gallery


def refused(gallery, run, told):
    version, photo = gallery.opened().version, gallery.path.replace("gallery", "photos/ann/0.jpg")
    other = Gallery(gallery.path, run)
    for act in (other.add, other.update, other.search, lambda _: other.check()):
        with pytest.raises(UserError, match=f"was made by another model: .*{told}") as error:
            act(photo)
        assert "\n" not in str(error.value)
    assert gallery.opened().version == version and len(gallery) == 2


@pytest.mark.parametrize("what", ALTERED)
def test_another_model_or_preprocessing_is_refused(gallery, what):
    changes, told = ALTERED[what]
    refused(gallery, fake.Run(**changes), told)


@pytest.mark.parametrize("field", STORED)
def test_what_the_gallery_says_is_compared_too(gallery, field, monkeypatch):
    value, told = STORED[field]
    here = binding.of(gallery.run)
    with pytest.raises(UserError, match=told):
        binding.check(here | {field: value}, here, "gallery")


def test_one_bit_of_one_weight_is_another_model(gallery):
    weights = {"params": {"a": np.ones((3, 4), np.float32), "b": np.zeros(5, np.float32)}}
    flipped = jax.tree.map(np.copy, weights)
    flipped["params"]["b"].view(np.uint32)[3] ^= 1
    one, other = fake.Run(), fake.Run()
    one.digest, other.digest = (checkpoint.digest(tree) for tree in (weights, flipped))
    assert one.digest != other.digest
    refused(gallery, other, "the weights' digest")
    assert binding.differing(binding.of(one), binding.of(other)) == [
        f"the weights' digest {one.digest!r} there, {other.digest!r} here"]


@pytest.mark.parametrize("changes", [{"embedder__dropout": 0.5}, {"embedder__remat": ("stage3",)},
                                     {"embedder__batch_norm": "frozen"}, {"batch_size__": 0}])
def test_what_training_alone_depends_on_does_not_count(gallery, changes):
    changes = {name: value for name, value in changes.items() if not name.endswith("__")}
    run = fake.Run(**changes)
    run.config.batch_size = 7
    assert not binding.differing(gallery.info["model"], binding.of(run))


def test_a_field_that_came_later_has_its_default_in_older_galleries(gallery):
    there, here = dict(gallery.info["model"]), binding.of(gallery.run)
    del there["input.resize_size"]
    assert not binding.differing(there, here)
    assert binding.differing(there, here | {"input.resize_size": 9}) == ["input.resize_size 0 there, 9 here"]


def test_the_gallery_of_another_version_is_refused(gallery, tmp_path, monkeypatch):
    monkeypatch.setattr(table, "VERSION", 2)
    with pytest.raises(UserError, match="its table says version 1, expected 2"):
        Gallery(gallery.path).rows()
