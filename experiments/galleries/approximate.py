"""An approximate index, where it is asked for: the engine's, which names candidates that are then scored exactly.

What it finds of the true neighbours is measured when it is made, and kept beside the gallery.
"""

import numpy as np
import pyarrow as pa

from geodesic.errors import UserError
from geodesic.experiments.galleries import engines, table, vectors
from geodesic.experiments.galleries.held import Held
from geodesic.experiments.galleries.table import COLUMNS

RECALL, PROBES = 0.95, 32
AT = (10, 100)
_QUERIES, _LEAST = 200, 1000


def make(address: str, opened, held: Held, kind: str, recall: float, probes: int) -> dict:
    """Makes it, in place of another one, measures it with rows as queries, and returns what it is.

    Raises UserError, and leaves no index, where it finds less than `recall` of the nearest 10 or 100.
    """
    check_kind(address, kind)
    if (stored := opened.info["vectors"]) not in (can := engines.of(address).INDEXED):
        raise UserError(f"vectors of {stored} cannot be indexed: make the gallery with {can[-1]}, or search exactly")
    if len(held) < _LEAST:
        raise UserError(f"an index of {len(held):,} rows is of no use: it takes {_LEAST:,} at least. The exact search "
                        f"takes about a millisecond there")
    opened.set_note(None)
    opened.index(kind, len(held))
    found = {"kind": kind, "probes": probes, "rows": len(held), **_measured(opened, held, kind, probes)}
    if (least := min(found[f"recall@{k}"] for k in AT)) < recall:
        opened.unindex()
        raise UserError(f"{_told(found)}: less than --recall={recall:g}, so that it is not kept. Give more --probes "
                        f"(now {probes}), another kind of index, or a lower --recall" if least else _told(found))
    opened.set_note(found)
    return found


def check(address: str, opened, kind: str, recall: float) -> dict:
    """What the index is. Raises UserError where it is of another kind, or finds less than `recall`."""
    check_kind(address, kind)
    found = opened.note()
    if found is None:
        raise UserError(f"{opened.place} has no index: make one with geodesic gallery compact --index={kind}")
    if found["kind"] != kind:
        raise UserError(f"the index of {opened.place} is {found['kind']}, and not {kind}")
    if min(found[f"recall@{k}"] for k in AT) < recall:
        raise UserError(f"{_told(found)}: less than --recall={recall:g}. Search exactly, without --index, or make "
                        f"another index with more --probes")
    return found


def search(opened, queries: np.ndarray, k: int, made: dict) -> list[list[dict]]:
    """As `searching.exact`, among the candidates that the index names."""
    return [_search(opened, query, k, made["kind"], made["probes"]) for query in queries]


def describe(found: dict) -> str:
    return _told(found)


def _measured(opened, held: Held, kind: str, probes: int) -> dict:
    """Shares of the true neighbours of rows that the index finds when asked for so many, the rows themselves left out:
    of how many it is asked decides how many it looks at."""
    columns, rows = held.all()
    ids = columns["id"].to_pylist()
    asked = np.unique(np.linspace(0, len(rows) - 1, _QUERIES).astype(int))
    depth = min(max(AT), len(rows) - 1) + 1
    true = held.top(rows[asked], depth)[0]
    own = {place: name for place, name in enumerate(held.columns["id"].to_pylist())}
    shares = {k: [] for k in AT}
    for place, nearest in zip(asked, true, strict=True):
        wanted = [own[other] for other in nearest if own[other] != ids[place]]
        for k in AT:
            found = _search(opened, rows[place], min(k + 1, depth), kind, probes)
            named = [row["id"] for row in found if row["id"] != ids[place]]
            shares[k].append(len({*wanted[:k]} & {*named[:k]}) / len(wanted[:k]))
    return {f"recall@{k}": round(float(np.mean(values)), 4) for k, values in shares.items()} | {"queries": len(asked)}


def _search(opened, query: np.ndarray, k: int, kind: str, probes: int) -> list[dict]:
    found = opened.near(query, k, kind, probes)
    if not sum(map(len, found)):
        return []
    content = pa.Table.from_batches(found).combine_chunks()
    rows = vectors.decode(vectors.from_arrow(content["vector"].chunk(0)), content["scale"].to_numpy())
    cosines = np.einsum("nd,d->n", rows, query.astype(np.float32))
    words = content.select([*COLUMNS]).to_pylist()
    return [{**words[place], "cosine": float(cosines[place])} for place in np.argsort(-cosines, kind="stable")]


def check_kind(address: str, kind: str) -> None:
    known = engines.of(address).INDEXES
    if kind not in known:
        raise UserError(f"there is no index {kind!r} in {table.shown(address)}; known are {', '.join(known)}")


def _told(found: dict) -> str:
    shares = ", ".join(f"recall@{k} {found[f'recall@{k}']:.4f}" for k in AT)
    return (f"{found['kind']} finds {shares} of what the exact search finds ({found['queries']} rows of "
            f"{found['rows']:,} as queries, {found['probes']} probes)")

