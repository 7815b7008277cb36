"""Finds images that are the same, or nearly: by a hash of their pixels, and by 64 bits of how they look."""

import hashlib
import itertools

import cv2
import numpy as np

BITS = 64
_PLAIN = 6  # grey levels by which a line of one colour varies, after compression


def pixel_digest(image: np.ndarray) -> str:
    """Digests the size and every pixel of an image u8[H,W,3], whatever file they came from: 64 hex digits.

    Example:
        >>> pixel_digest(np.zeros((2, 3, 3), np.uint8)) == pixel_digest(np.zeros((3, 2, 3), np.uint8))
        False
    """
    return hashlib.sha256(f"{image.shape}".encode() + np.ascontiguousarray(image).tobytes()).hexdigest()


def difference_hash(image: np.ndarray) -> int:
    """Hashes what an image u8[H,W,3] looks like, to 64 bits: in a grey picture of 9 x 8 pixels, is each darker than
    its right neighbour?

    The hash survives resizing, compression and changes of brightness, not mirroring. Krawetz: Kind of Like That, 2013.

    Example:
        >>> ramp = np.arange(90, dtype=np.uint8)[None, :, None].repeat(80, axis=0).repeat(3, axis=2)
        >>> hex(difference_hash(ramp))
        '0xffffffffffffffff'
    """
    grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (9, 8), interpolation=cv2.INTER_AREA)
    return int(np.packbits(grey[:, :-1] < grey[:, 1:]).view(">u8")[0])


def trimmed(image: np.ndarray) -> np.ndarray:
    """Cuts frames of one colour off a picture u8[H,W,3]; as it is where nothing but a frame would be left.

    Example:
        >>> squares = (np.indices((4, 6)).sum(axis=0) % 2 * 255).astype(np.uint8)[:, :, None].repeat(3, axis=2)
        >>> trimmed(np.pad(squares, ((3, 3), (5, 2), (0, 0)), constant_values=7)).shape
        (4, 6, 3)
    """
    sides = []
    for axis in (1, 0):
        lines = image.astype(np.float32).std(axis=axis).max(axis=-1)  # of each row, then of each column
        busy = np.flatnonzero(lines > _PLAIN)
        if not len(busy):
            return image
        sides.append(slice(busy[0], busy[-1] + 1))
    return image[tuple(sides)]


def groups(keys: list) -> list[list[int]]:
    """Groups places that share a key: two places and more, in their order. None is no key.

    Example:
        >>> groups(["a", "b", None, "a", None])
        [[0, 3]]
    """
    found = {}
    for place, key in enumerate(keys):
        if key is not None:
            found.setdefault(key, []).append(place)
    return [places for places in found.values() if len(places) > 1]


def near_pairs(hashes: np.ndarray, distance: int, most: int) -> np.ndarray:
    """Finds pairs of hashes that differ, in at most `distance` bits.

    Of distance + 1 bands of bits at least one is equal in such a pair: only hashes that share a band are compared.
    hashes: u64[N]. most: how many pairs are wanted at most. Returns i64[P,2], pairs i < j, in order.

    Example:
        >>> near_pairs(np.array([0b0000, 0b1111, 0b0001], np.uint64), distance=1, most=10)
        array([[0, 2]])
    """
    bounds = np.linspace(0, BITS, distance + 2).round().astype(int)
    found, count = [], 0
    for start, stop in itertools.pairwise(bounds):
        band = (hashes >> np.uint64(start)) & np.uint64((1 << int(stop - start)) - 1)
        order = np.argsort(band, kind="stable")
        edges = np.flatnonzero(np.diff(band[order])) + 1
        for bucket in np.split(order, edges):
            for place in range(len(bucket) - 1):
                others = bucket[place + 1:]
                apart = np.bitwise_count(hashes[bucket[place]] ^ hashes[others])
                close = others[(apart > 0) & (apart <= distance)]
                found += [(min(bucket[place], other), max(bucket[place], other)) for other in close]
                count += len(close)
            if count > (distance + 1) * most:
                break
    pairs = np.unique(np.array(found, np.int64).reshape(-1, 2), axis=0)
    return pairs[:most]
