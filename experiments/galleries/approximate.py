"""An approximate index, where it is asked for: LanceDB's, which names candidates that are then scored exactly.

What it finds of the true neighbours is measured when it is made, and written beside the gallery.
"""

import os

import numpy as np

from geodesic.errors import UserError
from geodesic.experiments.galleries import table, vectors
from geodesic.experiments.galleries.held import Held
from geodesic.experiments.process import storage
from geodesic.experiments.process import workdir as workdirs

# Name -> LanceDB's class of it, and how many times more candidates are compared by their whole vectors.
KINDS = {"ivf_flat": ("IvfFlat", 1), "ivf_sq": ("IvfSq", 4), "ivf_pq": ("IvfPq", 20), "ivf_rq": ("IvfRq", 10),
         "ivf_hnsw_flat": ("HnswFlat", 1), "ivf_hnsw_sq": ("HnswSq", 4)}
RECALL, PROBES = 0.95, 32
AT = (10, 100)
_QUERIES, _LEAST = 200, 1000


def make(folder: str, opened: table.Table, held: Held, kind: str, recall: float, probes: int) -> dict:
    """Makes it, in place of another one, measures it with rows as queries, and returns what it is.

    Raises UserError, and leaves no index, where it finds less than `recall` of the nearest 10 or 100.
    """
    _check_kind(kind)
    if opened.info["vectors"] == "int8":
        raise UserError("vectors of int8 cannot be indexed: make the gallery with float16, or search exactly")
    if len(held) < _LEAST:
        raise UserError(f"an index of {len(held):,} rows is of no use: it takes {_LEAST:,} at least. The exact search "
                        f"takes about a millisecond there")
    import lancedb.index

    forget(folder)
    with table.told(folder):
        opened.lance.create_index("vector", config=getattr(lancedb.index, KINDS[kind][0])(distance_type="cosine"),
                                  replace=True)
    found = {"kind": kind, "probes": probes, "rows": len(held), **_measured(opened, held, kind, probes)}
    if (least := min(found[f"recall@{k}"] for k in AT)) < recall:
        with table.told(folder):
            for made in opened.lance.list_indices():
                opened.lance.drop_index(made.name)
        raise UserError(f"{_told(found)}: less than --recall={recall:g}, so that it is not kept. Give more --probes "
                        f"(now {probes}), another kind of index, or a lower --recall" if least else _told(found))
    workdirs.write_json(_path(folder), found)
    return found


def check(folder: str, kind: str, recall: float) -> dict:
    """What the index is. Raises UserError where it is of another kind, or finds less than `recall`."""
    _check_kind(kind)
    if not storage.exists(_path(folder)):
        raise UserError(f"{folder} has no index: make one with geodesic gallery compact --index={kind}")
    found = workdirs.read_json(_path(folder))
    if found["kind"] != kind:
        raise UserError(f"the index of {folder} is {found['kind']}, and not {kind}")
    if min(found[f"recall@{k}"] for k in AT) < recall:
        raise UserError(f"{_told(found)}: less than --recall={recall:g}. Search exactly, without --index, or make "
                        f"another index with more --probes")
    return found


def search(opened: table.Table, queries: np.ndarray, k: int, made: dict) -> list[list[dict]]:
    """As `searching.exact`, among the candidates that the index names."""
    return [_search(opened, query, k, made["kind"], made["probes"]) for query in queries]


def forget(folder: str) -> None:
    storage.remove(_path(folder))


def describe(found: dict) -> str:
    return _told(found)


def _measured(opened: table.Table, held: Held, kind: str, probes: int) -> dict:
    """Shares of the true neighbours of rows that the index finds, the rows themselves left out."""
    columns, rows = held.all()
    ids = columns["id"].to_pylist()
    asked = np.unique(np.linspace(0, len(rows) - 1, _QUERIES).astype(int))
    depth = min(max(AT), len(rows) - 1) + 1
    true = held.top(rows[asked], depth)[0]
    own = {place: name for place, name in enumerate(held.columns["id"].to_pylist())}
    shares = {k: [] for k in AT}
    for place, nearest in zip(asked, true, strict=True):
        wanted = [own[other] for other in nearest if own[other] != ids[place]]
        named = [row["id"] for row in _search(opened, rows[place], depth, kind, probes) if row["id"] != ids[place]]
        for k in AT:
            shares[k].append(len({*wanted[:k]} & {*named[:k]}) / len(wanted[:k]))
    return {f"recall@{k}": round(float(np.mean(values)), 4) for k, values in shares.items()} | {"queries": len(asked)}


def _search(opened: table.Table, query: np.ndarray, k: int, kind: str, probes: int) -> list[dict]:
    with table.told(opened.folder):
        asked = opened.lance.search(query.astype(np.float32), vector_column_name="vector").distance_type("cosine")
        asked = asked.nprobes(probes).limit(k)
        if (more := KINDS[kind][1]) > 1:
            asked = asked.refine_factor(more)
        if "hnsw" in kind:
            asked = asked.ef(max(4 * k, 100))
        found = asked.select([*table.COLUMNS, "vector", "scale", "_distance"]).to_arrow().combine_chunks()
    if not len(found):
        return []
    rows = vectors.decode(vectors.from_arrow(found["vector"].chunk(0)), found["scale"].to_numpy())
    cosines = np.einsum("nd,d->n", rows, query.astype(np.float32))
    words = found.select([*table.COLUMNS]).to_pylist()
    return [{**words[place], "cosine": float(cosines[place])} for place in np.argsort(-cosines, kind="stable")]


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise UserError(f"there is no index {kind!r}; known are {', '.join(KINDS)}")


def _told(found: dict) -> str:
    shares = ", ".join(f"recall@{k} {found[f'recall@{k}']:.4f}" for k in AT)
    return (f"{found['kind']} finds {shares} of what the exact search finds ({found['queries']} rows of "
            f"{found['rows']:,} as queries, {found['probes']} probes)")


def _path(folder: str) -> str:
    return os.path.join(folder, "index.json")
