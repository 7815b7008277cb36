"""Groups of pictures by their vectors, by one of several methods, and how well they agree with labels."""

import importlib.util
from typing import NamedTuple

import numpy as np

from geodesic.errors import UserError
from geodesic.experiments.trained.collection import Collection
from geodesic.metrics import bootstrap, clustering, clustering_intervals, mutual

METHODS = ("neighbours", "leiden", "kmeans", "hdbscan")
LINKED = ("neighbours", "leiden")   # those that a threshold decides
# Nearest rows that may be linked with one: Leiden cuts chains, and does with more links.
NEIGHBOURS = {"neighbours": 5, "leiden": 10}
# Parts that a row looks into where there are too many rows to compare them all.
PROBES = 32
RESAMPLES = 200


class Grouped(NamedTuple):
    """groups i64[N]: from 0, the largest first, -1 of a picture that is left alone. how: lines on how they were made.
    """

    groups: np.ndarray
    how: list[str]

    @property
    def count(self) -> int:
        return int(self.groups.max(initial=-1)) + 1

    def members(self, group: int) -> np.ndarray:
        return np.flatnonzero(self.groups == group)


def check(method: str, threshold: float | None, groups: int, smallest: int, k: int) -> None:
    """Raises UserError for what cannot be done, before anything is computed."""
    if smallest < 2 or k < 0:
        raise UserError(f"a group has two pictures or more, and a picture neighbours; got --smallest={smallest}, "
                        f"--neighbours={k}")
    if method in LINKED and threshold is None:
        raise UserError(f"{method} links pictures whose cosine reaches a threshold, and there is none: set one with "
                        f"geodesic calibrate and name that --workdir, or give --threshold")
    if method == "kmeans" and groups < 1:
        raise UserError("k-means must be told how many groups there are: --groups=N")
    if method == "leiden" and (missing := [name for name in ("leidenalg", "igraph") if not
                                           importlib.util.find_spec(name)]):
        raise UserError(f"leiden needs {missing[0]}, which is not installed: pip install 'geodesic[leiden]'")


def group(embeddings: np.ndarray, method: str, *, threshold: float | None = None, groups: int = 0, smallest: int = 2,
          k: int = 0, probes: int = -1, resolution: float = 1.0, seed: int = 0) -> Grouped:
    """Groups rows f32[N,D] of length 1.

    Args:
      embeddings: the rows.
      method: of METHODS.
      threshold: of "neighbours" and "leiden": the cosine from which two rows may be linked.
      groups: of "kmeans": how many there are.
      smallest: rows of smaller groups are left alone.
      k: neighbours of a row that may be linked with it; 0: as NEIGHBOURS has it.
      probes: see `mutual.links`; -1 compares all rows where they are 100,000 at most.
      resolution: of "leiden": the greater, the smaller the groups.
      seed: of k-means' centres, of Leiden's order, and of parts.

    Raises UserError for what `check` refuses.
    """
    check(method, threshold, groups, smallest, k)
    if len(embeddings) < 2:
        raise UserError("there is one picture: nothing to group")
    if method in LINKED:
        found, how = _linked(embeddings, method, threshold, k or NEIGHBOURS[method], probes, resolution, seed)
    elif method == "kmeans":
        found, how = clustering.kmeans(embeddings, groups, seed=seed).assignment, [
            f"k-means, {groups:,} centres from seed {seed}"]
    else:
        found, how = clustering.hdbscan(embeddings, min_cluster_size=smallest), [
            f"HDBSCAN, {smallest} pictures in a cluster at least"]
    named = mutual.by_size(found)
    sizes = np.bincount(named[named >= 0])
    return Grouped(np.where(np.append(sizes, 0)[named] >= smallest, named, -1), how)


def _linked(embeddings, method: str, threshold: float, k: int, probes: int, resolution: float, seed: int):
    if probes < 0:
        probes = PROBES if len(embeddings) > mutual.EXACT_ROWS else 0
    linked = mutual.links(embeddings, threshold, k=k, probes=probes, seed=seed)
    how = [f"{len(linked.pairs):,} links: each picture among the other's {k} nearest, and a cosine of {threshold:.4f} "
           f"at least"]
    if probes:
        share = mutual.share_found(embeddings, linked, threshold, k=k, seed=seed)
        how.append(f"neighbours were looked for in {probes} parts of many; of the links of 1,000 pictures that is "
                   f"{share:.3f}")
    if method == "neighbours":
        return mutual.connected(linked, len(embeddings)), [*how, "a group is what links connect"]
    return _leiden(linked, len(embeddings), resolution, seed), [
        *how, f"Leiden divides them by modularity, resolution {resolution:g}, seed {seed}"]


def _leiden(linked: mutual.Links, count: int, resolution: float, seed: int) -> np.ndarray:
    """Traag, Waltman, van Eck: From Louvain to Leiden, 2019, by its authors' package."""
    import igraph
    import leidenalg

    graph = igraph.Graph(n=count, edges=linked.pairs)
    found = leidenalg.find_partition(
        graph, leidenalg.RBConfigurationVertexPartition, weights=np.maximum(linked.cosines, 1e-6).tolist(),
        resolution_parameter=resolution, seed=seed)
    return np.array(found.membership)


def expected(count: int, far: float) -> str:
    """What a false accept rate means for so many pictures."""
    pairs = count * (count - 1) // 2
    return (f"a false accept rate of {far:g} is {far * pairs:,.1f} of the {pairs:,} pairs, were all of different "
            f"identities; that many links are false at most, and fewer as both must be near")


def scores(found: Collection, groups: np.ndarray, seed: int = 0) -> dict[str, bootstrap.Interval]:
    """How well groups agree with the labels; {} without two labels. Pictures without a label are left out."""
    kept = np.array([bool(label) for label in found.labels])
    if len({*found.labels} - {""}) < 2:
        return {}
    return clustering_intervals.intervals(np.array(found.labels, object)[kept].astype(str), groups[kept],
                                          samples=RESAMPLES, seed=seed)


def central(embeddings: np.ndarray, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the members of a group, those nearest to its mean first, and their cosines to it)."""
    mean = embeddings[members].mean(axis=0)
    cosines = embeddings[members] @ (mean / max(float(np.linalg.norm(mean)), 1e-12))
    order = np.argsort(-cosines, kind="stable")
    return members[order], cosines[order]
