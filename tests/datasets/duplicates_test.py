import numpy as np

from geodesic.datasets import duplicates
from tests.datasets import images


def test_near_pairs_are_those_of_all_pairs():
    rng = np.random.default_rng(0)
    centres = rng.integers(0, 2 ** 63, 40, np.uint64)
    hashes = []
    for centre in centres:
        for flips in range(6):
            bits = rng.choice(64, flips, replace=False)
            hashes.append(centre ^ np.bitwise_xor.reduce(np.uint64(1) << bits.astype(np.uint64), initial=np.uint64(0)))
    hashes = np.unique(np.array(hashes, np.uint64))
    for distance in (0, 1, 3, 5):
        apart = np.bitwise_count(hashes[:, None] ^ hashes[None])
        expected = np.argwhere(np.triu(apart <= distance, 1))
        np.testing.assert_array_equal(duplicates.near_pairs(hashes, distance, 10_000), expected)
    assert len(expected) > 100 and len(duplicates.near_pairs(hashes, 5, 7)) == 7


def distance(a, b):
    return bin(duplicates.difference_hash(a) ^ duplicates.difference_hash(b)).count("1")


def test_the_hash_survives_compression_and_tells_pictures_apart():
    from geodesic import datasets

    for seed in range(5):
        image = images.pixels(seed, 96, 96)
        compressed = datasets.decode({"image": images.encoded(image, quality=40), "path": "x"})
        assert distance(image, compressed) <= 3 < distance(image, images.pixels(seed + 100, 96, 96))


def test_groups_and_digests():
    assert duplicates.groups(["a", "b", None, "a", None, "c"]) == [[0, 3]]
    image = images.pixels(0)
    assert duplicates.pixel_digest(image) == duplicates.pixel_digest(image.copy())
    assert duplicates.pixel_digest(image) != duplicates.pixel_digest(image.reshape(20, 24, 3))


def test_frames_of_one_colour_are_cut_off_and_a_plain_picture_stays():
    image = images.pixels(3, 64, 80)
    framed = np.pad(image, ((9, 4), (7, 0), (0, 0)), constant_values=200)
    np.testing.assert_array_equal(duplicates.trimmed(framed), image)
    plain = np.full((20, 30, 3), 7, np.uint8)
    assert duplicates.trimmed(plain) is plain
