"""Parameters and multiply-adds of every named trunk against the published figures."""

import pytest

from geodesic import embedders
from geodesic.embedders import size

CLASSES = 1000
# A classifier's head on F features; and what a published count has that does not learn here.
HEAD = {512: 512 * CLASSES + CLASSES, 1024: 1024 * CLASSES + CLASSES, 2048: 2048 * CLASSES + CLASSES}
FIXED_SCALE = 512
# CIFAR-10's head; kuangliu's 32x4d has a 1x1 stem where the paper and ours have a 3x3.
HEAD_OF_10, STEM_OF_1 = 1024 * 10 + 10, -8 * 3 * 64

PUBLISHED = {
    # name: (pixels, parameters, what the published count adds to ours, multiply-adds in G or None)
    "resnet18": (224, 11_689_512, HEAD[512], 1.81),
    "resnet34": (224, 21_797_672, HEAD[512], 3.66),
    "resnet50": (224, 25_557_032, HEAD[2048], 4.09),
    "resnet101": (224, 44_549_160, HEAD[2048], 7.80),
    "resnet152": (224, 60_192_808, HEAD[2048], 11.51),
    "resnext29_32x4d": (32, 4_774_218, HEAD_OF_10 + STEM_OF_1, None),
    "resnext29_8x64d": (32, 34_426_698, HEAD_OF_10, None),
    "resnext50_32x4d": (224, 25_028_904, HEAD[2048], 4.23),
    "resnext101_32x4d": (224, 44_177_704, HEAD[2048], None),
    "resnext101_32x8d": (224, 88_791_336, HEAD[2048], 16.41),
    "resnext101_64x4d": (224, 83_455_272, HEAD[2048], 15.46),
    "inception_bn": (224, 11_295_240, HEAD[1024], None),
    "iresnet18": (112, 24_025_600, FIXED_SCALE, 2.610),
    "iresnet34": (112, 34_139_328, FIXED_SCALE, 4.460),
    "iresnet50": (112, 43_590_848, FIXED_SCALE, 6.309),
    "iresnet100": (112, 65_156_160, FIXED_SCALE, 12.090),
    "iresnet200": (112, 118_833_920, FIXED_SCALE, 23.419),
}


def test_every_public_name_has_a_published_size():
    # Two small trunks are of this project; the tiny ones are registered by other tests.
    own = {"resnet8", "resnext11_16x4d"}
    public = {name for name in embedders.EMBEDDERS if name not in own and "tiny" not in name}
    assert set(PUBLISHED) == public


@pytest.mark.parametrize("name", PUBLISHED)
def test_size(name):
    pixels, parameters, added, giga = PUBLISHED[name]
    measured = size.measure(embedders.build(name), pixels)
    assert measured.parameters + added == parameters
    if giga is not None:
        head = HEAD[2048] - CLASSES if added == HEAD[2048] else HEAD[512] - CLASSES if added == HEAD[512] else 0
        digits = len(str(giga).split(".")[1])
        assert round((measured.multiply_adds + head) / 1e9, digits) == pytest.approx(giga, abs=1.01 * 10 ** -digits)


def test_the_count_is_of_the_mathematics_and_not_of_the_form():
    native, merged = (size.measure(embedders.build("resnext50_32x4d", convolution=form), 64)
                      for form in ("native", "merged"))
    assert native == merged


def test_version_1_and_the_stems():
    v1 = size.measure(embedders.build("resnet50", version="v1"), 224)
    plain = size.measure(embedders.build("resnet50"), 224)
    assert v1.parameters == plain.parameters
    # The paper's 3.8 G: a stride on the first 1x1 leaves a quarter of the 3x3's work in three blocks.
    assert round((v1.multiply_adds + 2_048_000) / 1e9, 1) == 3.9
    assert size.measure(embedders.build("resnet50", stem="space_to_depth"), 224) == plain
    # timm's resnet50d counts 25,576,264.
    assert size.measure(embedders.build("resnet50", stem="deep"), 224).parameters == plain.parameters + 19_232
