"""A gallery of many rows beside FAISS flat: search, opening, adding, removing, memory, and an approximate index.

    python -m benchmarks.gallery [--rows=1000000] [--rounds=25] [--index=ivf_pq] [--out=benchmarks/results/gallery]

Vectors of 512 numbers, alike within classes of ten, are the rows of a gallery on the disk; queries are rows with noise.
Our search of one query and of 100, and FAISS's exact search over the same vectors, run in turns, so that whatever else
the machine does falls on both. Another process opens the gallery too: rows are added and removed alone, and once more
while it asks for the neighbours of 1,000 queries, one after another. Needs faiss-cpu (requirements-peers.txt). Linux
only: it reads the process's memory.
"""

import datetime
import importlib.metadata
import multiprocessing
import os
import pathlib
import tempfile
import time

import numpy as np

from benchmarks import neighbors, turns
from geodesic.configs import default
from geodesic.errors import UserError
from geodesic.experiments.galleries.gallery import Gallery
from geodesic.experiments.galleries.table import COLUMNS
from geodesic.experiments.process import runtime

_OUT = pathlib.Path(__file__).parent / "results" / "gallery"
_COMMIT, _EDITED, _OTHERS, _TIMES = 20_000, 1_000, 1_000, 5


class Model:
    """What a gallery needs to know of a run that is never asked to embed."""

    digest, identity, embedding_size = "0" * 16, {}, neighbors.SIZE

    def __init__(self):
        self.config = default.get_config()

    def threshold_of(self, far: float = 0.0):
        raise UserError("none")


def words(first: int, count: int) -> dict[str, list[str]]:
    ids = [f"/photos/{place // 1000:05}/{place:08}.jpg" for place in range(first, first + count)]
    return {name: ids for name in COLUMNS[:2]} | {"label": [f"person {place // 10}" for place in range(count)],
                                                  "metadata": ["{}"] * count, "digest": ["0" * 32] * count}


def fill(gallery: Gallery, rows: np.ndarray) -> float:
    """Seconds that all commits take."""
    started = time.perf_counter()
    gallery.opened()
    for first in range(0, len(rows), _COMMIT):
        part = rows[first:first + _COMMIT]
        gallery._commit(words(first, len(part)), part)
    gallery.compact()
    return time.perf_counter() - started


def clock(function, *arguments):
    started = time.perf_counter()
    result = function(*arguments)
    return result, round(time.perf_counter() - started, 4)


def searched(gallery: Gallery, index, queries: np.ndarray, rounds: int) -> dict:
    """Seconds of each round, and whether the two find the same."""
    runs = {}
    for count in (1, len(queries)):
        part, names = queries[:count], [f"query {place}" for place in range(count)]
        runs[f"{count}, ours"] = lambda part=part, names=names: gallery.find(part, names, 10)
        runs[f"{count}, FAISS"] = lambda part=part: index.search(part, 10)
    wall, processor = turns.measure(runs, rounds)
    ours = [[hit.id for hit in found.hits] for found in gallery.find(queries, [""] * len(queries), 10)]
    ids = words(0, index.ntotal)["id"]
    theirs = [[ids[place] for place in row] for row in index.search(queries, 10)[1]]
    same = np.mean([one == other for one, other in zip(ours, theirs, strict=True)])
    return {"seconds": wall, "processor_seconds": processor, "queries_with_the_same_ten": float(same)}


def edited(gallery: Gallery, rows: np.ndarray) -> dict:
    """Seconds of adding and removing 1,000 rows, on the disk and in memory, and of the search that follows, each time.
    """
    ids, search, taken = words(10**7, len(rows)), (gallery.find, rows[:1], ["query"], 10), {}
    for _ in range(_TIMES):
        for name, what in (("add", (gallery._commit, ids, rows)), ("search_after_adding", search),
                           ("remove", (gallery._delete, ids["id"])), ("search_after_removing", search)):
            taken.setdefault(name, []).append(clock(*what)[1])
    return taken


def searching(path: str, queries: np.ndarray, count: int, told) -> None:
    """Another process: opens the gallery, and says what that took; then when each search began, and what it took."""
    import lancedb  # noqa: F401  its time is not the gallery's

    runtime.start()
    gallery, taken, before = Gallery(path, Model()), [], neighbors.gib("VmRSS")
    _, seconds = clock(gallery.held)
    memory = neighbors.gib("VmRSS") - before
    gallery.find(queries[:1], ["query"], 10)
    told.send({"opened": seconds, "memory_gib": memory})
    for place in range(count):
        one, began = place % len(queries), time.time()
        _, seconds = clock(gallery.find, queries[one:one + 1], ["query"], 10)
        taken.append((began, seconds))
    told.send(taken)


def edited_beside(gallery: Gallery, rows: np.ndarray, queries: np.ndarray) -> dict:
    """As `edited`, while another process searches; what opening has taken it, and its searches, those with them in
    which it reads all rows anew."""
    context = multiprocessing.get_context("spawn")
    told, tell = context.Pipe(duplex=False)
    process = context.Process(target=searching, args=(gallery.path, queries, _OTHERS, tell))
    process.start()
    opened = told.recv()
    edits = edited(gallery, rows)
    ended, taken = time.time(), told.recv()
    process.join()
    return edits | opened | {"others": [seconds for _, seconds in taken],
                    "others_after_the_edits": sum(began > ended for began, _ in taken)}


def indexed(gallery: Gallery, queries: np.ndarray, kind: str, rounds: int) -> dict:
    """What an approximate index finds, and the seconds that it takes."""
    made, seconds = clock(lambda: gallery.compact(kind, recall=0.0))
    ask = lambda: gallery.find(queries[:1], ["query"], 10, index=kind, recall=0.0)
    wall, _ = turns.measure({"one": ask}, rounds)
    return made | {"build_and_measure_seconds": seconds, "seconds": wall["one"]}


def table(record: dict) -> str:
    worst = lambda seconds: f"{np.median(seconds):.3f}, {max(seconds):.3f}"
    at = lambda seconds: f"{1e3 * np.percentile(seconds, 50):.1f} | {1e3 * np.percentile(seconds, 95):.1f}"
    wall, edits, beside = record["search"]["seconds"], record["edits"], record["edits_beside_searches"]
    lines = ["# A gallery beside FAISS flat", "",
             f"`{record['command']}`, seed {record['seed']}, {record['date']}. {record['hardware']}; "
             f"{', '.join(f'{name} {version}' for name, version in record['versions'].items())}. Load average "
             f"{record['load_average'][0]:.1f} at the start, {record['load_average'][1]:.1f} at the end.", "",
             f"{record['rows']:,} rows x {neighbors.SIZE}, {record['dtype']}, {record['disk_gib']:.2f} GiB on the "
             f"disk; {len(next(iter(wall.values())))} rounds, in turns. Ten neighbours of each query.", "",
             "| queries at once | ours, p50 ms | p95 | FAISS flat, p50 ms | p95 | ratio of medians |",
             "|---|---|---|---|---|---|"]
    for count in dict.fromkeys(name.partition(",")[0] for name in wall):
        ours, theirs = wall[f"{count}, ours"], wall[f"{count}, FAISS"]
        lines.append(f"| {count} | {at(ours)} | {at(theirs)} | {np.median(ours) / np.median(theirs):.2f} |")
    lines += ["", f"The same ten rows in the same order for {record['search']['queries_with_the_same_ten']:.1%} of the "
              "queries.", "",
              "| what | seconds: median, worst of five | while another process searches |", "|---|---|---|",
              f"| filled, in commits of {_COMMIT:,} rows, and compacted | {record['filled']:.1f} | |",
              f"| opened: all rows read into memory, in another process | {beside['opened']:.2f} | |"]
    lines += [f"| {what} | {worst(edits[name])} | {worst(beside[name])} |" for name, what in (
        ("add", f"{_EDITED:,} rows added"), ("search_after_adding", "the search after that"),
        ("remove", f"{_EDITED:,} rows removed"), ("search_after_removing", "the search after that"))]
    lines += ["", f"The other process asked {len(beside['others']):,} queries, one after another, of which "
              f"{beside['others_after_the_edits']:,} began when the rows had been added and removed: p50 | p95 "
              f"{at(beside['others'])} ms; the longest, in which it read the rows anew, "
              f"{max(beside['others']):.2f} s.", "",
              f"Memory of that process with the gallery open: {beside['memory_gib']:.2f} GiB more than before, "
              f"of which the vectors are {record['rows'] * neighbors.SIZE * 4 / 2**30:.2f}."]
    for made in record["indexes"]:
        lines += ["", f"{made['kind']}, {made['probes']} probes: recall@10 {made['recall@10']:.4f}, recall@100 "
                  f"{made['recall@100']:.4f} of {made['queries']} rows as queries; built and measured in "
                  f"{made['build_and_measure_seconds']:.1f} s; one query p50 | p95: {at(made['seconds'])} ms."]
    return "\n".join(lines) + "\n"


def main() -> None:
    asked = turns.options(__doc__, rows=200_000, rounds=25, index="ivf_flat,ivf_pq", dtype="float32", seed=0,
                          out=str(_OUT))
    turns.need("faiss")
    import faiss

    runtime.start()  # as the programs do
    rng, load = np.random.default_rng(asked.seed), os.getloadavg()[0]
    rows, _ = neighbors.make(asked.rows + _EDITED, asked.rows // 10, rng)
    queries = rows[rng.integers(0, asked.rows, 100)] + 0.02 * rng.standard_normal((100, neighbors.SIZE), np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "gallery")
        filled = fill(Gallery(path, Model()).create(asked.dtype), rows[:asked.rows])
        gallery = Gallery(path, Model())
        index = faiss.IndexFlatIP(neighbors.SIZE)
        index.add(rows[:asked.rows])
        record = {
            "command": f"python -m benchmarks.gallery --rows={asked.rows}", "rows": asked.rows, "dtype": asked.dtype,
            "seed": asked.seed, "date": datetime.date.today().isoformat(), "filled": filled,
            "disk_gib": sum(file.stat().st_size for file in pathlib.Path(path).rglob("*") if file.is_file()) / 2**30,
            "search": searched(gallery, index, queries, asked.rounds),
            "edits": edited(gallery, rows[asked.rows:]),
            "edits_beside_searches": edited_beside(gallery, rows[asked.rows:], queries), "indexes": []}
        write(record, load, asked.out)
        for kind in filter(None, asked.index.split(",")):  # each takes minutes
            record["indexes"].append(indexed(gallery, queries, kind, asked.rounds))
            write(record, load, asked.out)
    print(table(record))


def write(record: dict, load: float, path: str) -> None:
    record |= {
        "hardware": f"{os.cpu_count()} cores, " + next(line.split(":")[1].strip() for line in open("/proc/cpuinfo")
                                                       if line.startswith("model name")),
        "versions": {name: importlib.metadata.version(name) for name in ("lancedb", "numpy", "faiss-cpu")},
        "load_average": [load, os.getloadavg()[0]]}
    turns.write(path, record, table(record))


if __name__ == "__main__":
    main()
