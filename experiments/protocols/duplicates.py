"""Which pictures of one source, or of several, are the same: as files, as pixels, or as one of them edited."""

import collections
import concurrent.futures
import functools
import hashlib
import itertools
from typing import NamedTuple

import cv2
import numpy as np
import scipy.sparse

from geodesic import datasets
from geodesic.datasets import attempts, crops, duplicates, overlay
from geodesic.datasets.source import fetch
from geodesic.experiments.process import progress
from geodesic.metrics import mutual, retrieval
from geodesic.metrics.neighbors import in_parts

# How much of a long list a file has.
LISTED = 1000
# Images that a thread reads at once, where they lie in a bucket.
_AT_ONCE = 32
# What is looked at closely: pictures whose hashes differ in so many bits at most, and each one's nearest by cosine.
DISTANCE, NEIGHBOURS, _COSINE = 8, 10, 0.2
_ALIKE = 100        # more pictures of one hash are plain ones, of which it says nothing
_HELD = 10_000      # outlines in memory
_PROBES = 16
KINDS = ("file", "pixels", "near")


class Pair(NamedTuple):
    """Two pictures that are the same: places in all parts together, one < other. kind: of KINDS, the strictest that is
    so. agreement: of their pixels where they overlap, 1 of the same. cosine: NaN without vectors."""

    one: int
    other: int
    kind: str
    agreement: float
    cosine: float


def look(source: datasets.Source, name: str, threads: int) -> list[dict]:
    """Looks at every image: {"problem"}, or {"height", "width", "bytes", "file", "pixels", "hash", "views"}: its size,
    two digests, 64 bits of how it looks, and those of it mirrored, and without a frame.

    Both have "regions", what `crops.remarks` says of its box or landmarks.
    """

    def one(index: int) -> dict:
        regions = []
        try:
            record = source[index]
            image = datasets.decode(record)
            regions = crops.remarks(record, *image.shape[:2])
            crops.cut({**record, "image": image}, crops.whole, None)
        except attempts.UnreachableError:
            raise
        except (ValueError, OSError) as error:
            return {"problem": str(error), "regions": regions}
        finally:
            advance(1)
        content = record["image"] if isinstance(record["image"], bytes) else b""
        return {"regions": regions, "height": image.shape[0], "width": image.shape[1], "bytes": len(content),
                "file": hashlib.sha256(content).hexdigest() if content else None,
                "pixels": duplicates.pixel_digest(image), "hash": duplicates.difference_hash(image),
                "views": [duplicates.difference_hash(np.ascontiguousarray(view))
                          for view in (image[:, ::-1], duplicates.trimmed(image))]}

    def several(places: range) -> list[dict]:
        fetch(source, lambda: places)
        return [one(index) for index in places]

    cv2.setNumThreads(0)  # these threads are the parallelism; OpenCV's own would fight them
    with concurrent.futures.ThreadPoolExecutor(threads) as pool, progress.bar(
            f"reading {name}", len(source)) as advance:
        blocks = [range(first, min(first + _AT_ONCE, len(source))) for first in range(0, len(source), _AT_ONCE)]
        return [seen for made in pool.map(several, blocks) for seen in made]


def compare(parts: dict, seen: dict, distance: int) -> dict:
    """Groups of the same file, of the same pixels, and pairs that are near; "across" are those of both parts."""
    images = [image for name in parts for image in seen[name]]
    paths = [path for source in parts.values() for path in source.paths]
    part = [name for name, source in parts.items() for _ in range(len(source))]
    names = [source.class_names[label] for source in parts.values() for label in source.labels]

    def summary(found: list) -> dict:
        within = {name: sum(all(part[place] == name for place in group) for group in found) for name in parts}
        is_across = lambda group: len({part[place] for place in group}) > 1
        listed = sorted(found, key=lambda group: not is_across(group))[:LISTED]
        return within | {"across": sum(map(is_across, found)),
                         "of_several_classes": sum(len({names[place] for place in group}) > 1 for group in found),
                         "groups": [[paths[place] for place in group] for group in listed]}

    result = {"files": summary(duplicates.groups([image.get("file") for image in images])),
              "pixels": summary(duplicates.groups([image.get("pixels") for image in images]))}
    if distance >= 0:
        places = np.array([place for place, image in enumerate(images) if "hash" in image], np.int64)
        hashes, of = np.unique(np.array([images[place]["hash"] for place in places], np.uint64), return_inverse=True)
        first = np.full(len(hashes), -1, np.int64)
        first[of[::-1]] = places[::-1]
        pairs = [[int(first[a]), int(first[b])] for a, b in duplicates.near_pairs(hashes, distance, 100_000)]
        # The same 64 bits, and yet not the same pixels.
        alike = duplicates.groups([image.get("hash") for image in images])
        pairs += [group for group in alike if len({images[place]["pixels"] for place in group}) > 1]
        result["near"] = summary(pairs) | {"distance": distance}
    return result


def find(parts: dict, seen: dict, embeddings: np.ndarray | None = None, *, distance: int = DISTANCE,
         neighbours: int = NEIGHBOURS, agrees: float = overlay.AGREES, beside: float = overlay.BESIDE,
         threads: int = 1) -> list[Pair]:
    """Finds the pictures that are the same, or were the same before one of them was edited.

    Hashes and vectors name candidates; `overlay.agreement` decides.

    Args:
      parts: name -> source, such as {"train": ..., "test": ...}.
      seen: name -> of `look`.
      embeddings: f32[N,D] of all parts one after the other, of length 1, zeros of what has none; None: hashes alone.
      distance: bits in which hashes of candidates differ at most; -1: hashes name none.
      neighbours: how many of the nearest of each picture are candidates.
      agrees, beside: see `overlay`.
      threads: that read and compare.

    Returns the pairs, in order. Of many files with the same bytes or pixels only neighbours in the list make a pair.
    """
    images = [image for name in parts for image in seen[name]]
    exact, first = {}, np.arange(len(images))
    for kind, key in (("file", "file"), ("pixels", "pixels")):
        for group in duplicates.groups([image.get(key) for image in images]):
            first[group] = first[group].min()
            for pair in itertools.pairwise(group):
                exact.setdefault(pair, Pair(*pair, kind, 1.0, _cosine(embeddings, *pair)))
    # One of several that are the same stands for all of them.
    close = sorted({(min(pair), max(pair)) for pair in (
        (int(first[a]), int(first[b])) for a, b in candidates(images, embeddings, distance, neighbours))
        if pair[0] != pair[1]})
    agreements = [compared.agreement(beside) for compared in compare_all([*parts.values()], close, threads)]
    near = [Pair(*pair, "near", agreement, _cosine(embeddings, *pair))
            for pair, agreement in zip(close, agreements, strict=True) if agreement >= agrees]
    return sorted([*exact.values(), *near])


def candidates(images: list[dict], embeddings: np.ndarray | None = None, distance: int = DISTANCE,
               neighbours: int = NEIGHBOURS) -> set[tuple[int, int]]:
    """Pairs of places, the lesser first, that are worth a close look. images: of `look`."""
    found = _by_hash(images, distance) if distance >= 0 else set()
    if embeddings is not None and len(images) > 1:
        found |= _by_vector(embeddings, neighbours)
    return {(a, b) for a, b in found if "hash" in images[a] and "hash" in images[b]}


def _cosine(embeddings: np.ndarray | None, one: int, other: int) -> float:
    return float("nan") if embeddings is None else float(embeddings[one] @ embeddings[other])


def _by_hash(images: list[dict], distance: int) -> set[tuple[int, int]]:
    """Pairs of pictures of which one looks as the other does, as it is, mirrored, or without a frame."""
    places = np.array([place for place, image in enumerate(images) if "hash" in image], np.int64)
    views = [[images[place]["hash"] for place in places]] + [
        [images[place]["views"][number] for place in places] for number in range(2)]
    hashes, of = np.unique(np.array(views, np.uint64).ravel(), return_inverse=True)
    owners = [set() for _ in hashes]
    for place, number in zip(np.tile(places, len(views)).tolist(), of.tolist(), strict=True):
        owners[number].add(place)
    owners = [found if len(found) <= _ALIKE else set() for found in owners]
    pairs = {(a, b) for found in owners for a in found for b in found if a < b}
    for one, other in duplicates.near_pairs(hashes, distance, 100 * len(images) + LISTED):
        pairs |= {(min(a, b), max(a, b)) for a in owners[one] for b in owners[other] if a != b}
    return pairs


def _by_vector(embeddings: np.ndarray, neighbours: int) -> set[tuple[int, int]]:
    k = min(neighbours, len(embeddings) - 1)
    if len(embeddings) > mutual.EXACT_ROWS:
        found, cosines = in_parts.top(embeddings, k, probes=_PROBES, at_least=_COSINE)
    else:
        found, cosines = retrieval.neighbors(embeddings, embeddings, k, exclude=np.arange(len(embeddings)))
    rows, columns = np.nonzero((found >= 0) & (cosines >= _COSINE))
    return {(min(a, b), max(a, b)) for a, b in zip(rows.tolist(), found[rows, columns].tolist(), strict=True)}


def compare_all(sources: list, pairs: list[tuple[int, int]], threads: int) -> list[overlay.Compared]:
    """Lays pictures over each other. pairs: places in all sources together."""
    where = [(source, index) for source in sources for index in range(len(source))]

    @functools.lru_cache(maxsize=_HELD)
    def outline(place: int) -> overlay.Outline:
        source, index = where[place]
        return overlay.outline(datasets.decode(source[index]))

    def compare(pair: tuple[int, int]) -> overlay.Compared:
        found = overlay.compare(*map(outline, pair))
        advance(1)
        return found

    cv2.setNumThreads(0)  # these threads are the parallelism
    with concurrent.futures.ThreadPoolExecutor(threads) as pool, progress.bar("comparing", len(pairs)) as advance:
        return list(pool.map(compare, pairs))


def grouped(pairs: list[Pair], count: int) -> list[list[int]]:
    """Places that pairs connect, the largest group first."""
    ends = np.array([pair[:2] for pair in pairs], np.int64).reshape(-1, 2)
    graph = scipy.sparse.coo_matrix((np.ones(len(ends), bool), ends.T), (count, count))
    found = mutual.by_size(scipy.sparse.csgraph.connected_components(graph, directed=False)[1])
    members = collections.defaultdict(list)
    for place in np.flatnonzero(found >= 0).tolist():
        members[int(found[place])].append(place)
    return [members[number] for number in sorted(members)]
