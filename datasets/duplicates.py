"""Images that are the same, or nearly: by the hash of their pixels, and by 64 bits of which neighbour is brighter."""

import hashlib
import itertools

import cv2
import numpy as np

BITS = 64


def pixel_digest(image: np.ndarray) -> str:
    """Of the size and every pixel, whatever file they came from."""
    return hashlib.sha256(f"{image.shape}".encode() + np.ascontiguousarray(image).tobytes()).hexdigest()


def difference_hash(image: np.ndarray) -> int:
    """64 bits: in a grey picture of 9 x 8 pixels, is each darker than its right neighbour?

    Krawetz: Kind of Like That, 2013. It survives resizing, compression and changes of brightness, not mirroring.
    """
    grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (9, 8), interpolation=cv2.INTER_AREA)
    return int(np.packbits(grey[:, :-1] < grey[:, 1:]).view(">u8")[0])


def groups(keys: list) -> list[list[int]]:
    """Places that share a key, two and more, in their order; None is no key."""
    found = {}
    for place, key in enumerate(keys):
        if key is not None:
            found.setdefault(key, []).append(place)
    return [places for places in found.values() if len(places) > 1]


def near_pairs(hashes: np.ndarray, distance: int, most: int) -> np.ndarray:
    """i64[P,2]: pairs i < j of different hashes u64[N] that differ in at most `distance` bits; `most` of them at most.

    Of distance + 1 bands of bits at least one is equal in such a pair: only those that share a band are compared.
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
