"""Retrieval scores of as many images as Stanford Online Products has, beside FAISS's exact search, and a gallery of a
million. Needs faiss-cpu (requirements-peers.txt).

    python -m benchmarks.neighbors [--queries=4096] [--out=benchmarks/results/neighbors]

60,502 random embeddings of 512 dimensions in 11,316 classes of 2 to 12 images, every one a query. First all of ours
alone, for the peak memory of the process; then blocks of queries, ours and FAISS's in turn, so that whatever else the
machine does falls on both. FAISS must list 1,000 neighbours for recall@1000, and 11 for map@r; ours counts ranks. Both
the wall clock and the processor time are written down. Linux only, as it reads the process's memory from /proc.
"""

import datetime
import importlib.metadata
import os
import pathlib
import time

import numpy as np

from benchmarks import turns
from geodesic.experiments.process import runtime

ROOT = pathlib.Path(__file__).parents[1]
IMAGES, CLASSES, SIZE, RECALL_AT = 60_502, 11_316, 512, (1, 10, 100, 1000)
MILLION, MILLION_CLASSES = 1_000_000, 50_000


def gib(field: str = "VmHWM") -> float:
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) / 2**20


def forget_peak() -> None:
    pathlib.Path("/proc/self/clear_refs").write_text("5")


def clock(function, *arguments, **keywords):
    """(result, seconds of the wall clock, seconds of the processors)."""
    wall, processor = time.perf_counter(), time.process_time()
    result = function(*arguments, **keywords)
    return result, time.perf_counter() - wall, time.process_time() - processor


def make(count: int, classes: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """Unit embeddings f32[N,D], alike within a class, made in place; labels, at least two of each class but few."""
    labels = rng.permutation(np.r_[np.repeat(np.arange(classes), 2), rng.integers(0, classes, count)][:count])
    centres = rng.standard_normal((classes, SIZE), dtype=np.float32)
    embeddings = rng.standard_normal((count, SIZE), dtype=np.float32)
    for start in range(0, count, 4096):
        rows = embeddings[start:start + 4096]
        rows *= 2.2
        rows += centres[labels[start:start + 4096]]
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return embeddings, labels


def full_run(embeddings, labels) -> dict:
    from geodesic.metrics import retrieval

    forget_peak()
    (scores, wall, processor) = clock(retrieval.ranking_scores, embeddings, labels, recall_at=RECALL_AT)
    held = embeddings.nbytes / 2**30
    return {"seconds": wall, "processor_seconds": processor, "peak_gib_beyond_embeddings": gib() - held,
            "embeddings_gib": held, "scores": scores}


def from_lists(found, own, labels) -> np.ndarray:
    """recall@k for each k from FAISS's lists [Q,1001], the query's own row taken out by index: bool[Q,4]."""
    rows = np.arange(len(found))
    place = np.where((found == own[:, None]).any(axis=1), (found == own[:, None]).argmax(axis=1), found.shape[1] - 1)
    kept = np.ones(found.shape, bool)
    kept[rows, place] = False
    others = found[kept].reshape(len(found), -1)
    relevant = labels[others] == labels[own][:, None]
    return np.stack([relevant[:, :k].any(axis=1) for k in RECALL_AT], axis=1), others


def interleaved(embeddings, labels, queries: int) -> dict:
    """Each block: ours and FAISS's, for the scores and for the lists of neighbours."""
    import faiss

    from geodesic.metrics import retrieval
    from geodesic.metrics.neighbors import nearest

    gallery = nearest.Gallery(embeddings)
    index = faiss.IndexFlatIP(embeddings.shape[1])
    index.add(embeddings)
    depth = int(np.bincount(labels).max()) - 1  # map@r needs no more
    score = lambda part, own: retrieval.rank(part, labels[own], gallery, labels, exclude=own)
    work = {
        "scores, ours": score,
        f"{max(RECALL_AT)} neighbours, FAISS": lambda part, own: index.search(part, max(RECALL_AT) + 1),
        f"{depth} neighbours, ours": lambda part, own: gallery.top(part, depth, own),
        f"{depth} neighbours, FAISS": lambda part, own: index.search(part, depth + 1),
        f"{max(RECALL_AT)} neighbours, ours": lambda part, own: gallery.top(part, max(RECALL_AT), own),
    }
    seconds = {name: [] for name in work}
    agree = {"recall": [], "neighbours": []}
    for function in work.values():  # compiles, and warms FAISS up
        function(embeddings[:queries], np.arange(queries))
    for start in range(0, len(embeddings), queries):
        own = np.arange(start, min(start + queries, len(embeddings)))
        found = {}
        for name, function in work.items():
            found[name], *spent = clock(function, embeddings[own], own)
            seconds[name].append(spent)
        per_query, lists, (ours, _) = (found[name] for name in list(work)[:3])
        recall, others = from_lists(lists[1], own, labels)
        agree["recall"].append((recall == np.stack([per_query.best < k for k in RECALL_AT], axis=1)).mean(axis=1))
        agree["neighbours"].append((others[:, :depth] == ours).mean(axis=1))
        print(f"queries {own[-1] + 1}: " + ", ".join(f"{name} {spent[-1][0]:.2f} s ({spent[-1][1]:.2f})"
                                                     for name, spent in seconds.items()), flush=True)
    return {"queries_per_block": queries, "map_depth": depth,
            "blocks": {name: {"seconds": [s[0] for s in spent], "processor_seconds": [s[1] for s in spent]}
                       for name, spent in seconds.items()},
            "equal_to_faiss": {name: float(np.concatenate(shares).mean()) for name, shares in agree.items()}}


def million(rng, queries: int) -> dict:
    from geodesic.metrics import retrieval
    from geodesic.metrics.neighbors import nearest

    embeddings, labels = make(MILLION, MILLION_CLASSES, rng)
    forget_peak()
    gallery, loading, _ = clock(nearest.Gallery, embeddings)
    own = np.arange(queries)
    rankings, wall, processor = clock(retrieval.rank, embeddings[own], labels[own], gallery, labels, exclude=own)
    _, top_wall, top_processor = clock(gallery.top, embeddings[own], 10, own)
    held = embeddings.nbytes / 2**30
    return {"gallery": MILLION, "queries": queries, "embeddings_gib": held,
            "peak_gib_beyond_embeddings": gib() - held, "loading_seconds": loading,
            "seconds": wall, "processor_seconds": processor, "ten_neighbours_seconds": top_wall,
            "ten_neighbours_processor_seconds": top_processor,
            "scores": retrieval.summary(rankings, recall_at=RECALL_AT)}


def ratios(record: dict) -> dict:
    """Ours over FAISS: all blocks together, and the median of the blocks' ratios; wall clock and processors."""
    blocks, deep, depth = record["blocks"], max(RECALL_AT), record["map_depth"]
    pairs = {"scores, against the 1,000 neighbours they need": ("scores, ours", f"{deep} neighbours, FAISS"),
             f"{depth} neighbours": (f"{depth} neighbours, ours", f"{depth} neighbours, FAISS"),
             f"{deep} neighbours": (f"{deep} neighbours, ours", f"{deep} neighbours, FAISS")}
    result = {}
    for name, (ours, peer) in pairs.items():
        result[name] = {}
        for clock_name in ("seconds", "processor_seconds"):
            a, b = np.array(blocks[ours][clock_name]), np.array(blocks[peer][clock_name])
            result[name][clock_name] = {"ours": float(a.sum()), "faiss": float(b.sum()),
                                        "ratio": float(a.sum() / b.sum()), "median_ratio": float(np.median(a / b))}
    return result


def table(record: dict) -> str:
    full, big = record["full_run"], record["million"]
    lines = [
        "# Exact retrieval beside FAISS", "",
        f"`python -m benchmarks.neighbors`, seed {record['seed']}, {record['date']}. {record['hardware']}; "
        f"{', '.join(f'{name} {version}' for name, version in record['versions'].items())}. {record['remark']}", "",
        f"{record['images']:,} x {record['images']:,} x {SIZE}, {record['classes']:,} classes: recall@1/10/100/1000, "
        f"precision@1, r_precision, map@r and map of all queries in {full['seconds']:.1f} s "
        f"({full['processor_seconds']:.1f} s of processor), compilation included; peak memory of the process "
        f"{full['peak_gib_beyond_embeddings']:.2f} GiB beyond the embeddings' {full['embeddings_gib']:.2f}.", "",
        "| all queries, in interleaved blocks | ours s | FAISS s | ratio | median ratio of the blocks | "
        "ours, processor s | FAISS, processor s | ratio | median |",
        "|---|---|---|---|---|---|---|---|---|"]
    for name, both in record["ratios"].items():
        cells = [f"{both[c]['ours']:.1f} | {both[c]['faiss']:.1f} | {both[c]['ratio']:.2f} | "
                 f"{both[c]['median_ratio']:.2f}" for c in ("seconds", "processor_seconds")]
        lines.append(f"| {name} | {cells[0]} | {cells[1]} |")
    equal = record["interleaved"]["equal_to_faiss"]
    lines += ["", f"Same neighbours, place by place: {equal['neighbours']:.6f} of them; same recall: "
              f"{equal['recall']:.6f}. (Rounding orders near-equal scores differently.)"]
    if big:
        lines += ["", f"A gallery of {big['gallery']:,} x {SIZE}: the same scores of {big['queries']:,} queries in "
                  f"{big['seconds']:.0f} s, ten neighbours in {big['ten_neighbours_seconds']:.0f} s; peak memory "
                  f"{big['peak_gib_beyond_embeddings']:.2f} GiB beyond the embeddings' {big['embeddings_gib']:.2f}, of "
                  "which one copy of them is the device's."]
    return "\n".join(lines) + "\n"


def main() -> None:
    # queries: of a block. million_queries: against the million; 0 leaves it out. images: fewer for a trial.
    asked = turns.options(__doc__, out=str(ROOT / "benchmarks" / "results" / "neighbors"), queries=4096,
                          million_queries=4000, images=IMAGES, seed=0)
    turns.need("faiss")
    runtime.start()  # as the programs do
    rng = np.random.default_rng(asked.seed)
    classes = max(2, CLASSES * asked.images // IMAGES)
    embeddings, labels = make(asked.images, classes, rng)
    load = os.getloadavg()[0]
    record = {
        "date": datetime.date.today().isoformat(), "seed": asked.seed, "images": len(labels), "classes": classes,
        "hardware": f"{os.cpu_count()} cores, " + next(line.split(":")[1].strip() for line in open("/proc/cpuinfo")
                                                        if line.startswith("model name")),
        "full_run": full_run(embeddings, labels),
    }
    print(record["full_run"], flush=True)
    record["interleaved"] = interleaved(embeddings, labels, asked.queries)
    record["blocks"], record["map_depth"] = record["interleaved"]["blocks"], record["interleaved"]["map_depth"]
    record["ratios"] = ratios(record)
    del record["blocks"], record["map_depth"], embeddings
    record["million"] = None
    write(record, load, pathlib.Path(asked.out))
    if asked.million_queries:
        record["million"] = million(rng, asked.million_queries)
        write(record, load, pathlib.Path(asked.out))
    print(table(record))


def write(record: dict, load: float, path: pathlib.Path) -> None:
    record["versions"] = {name: importlib.metadata.version(name) for name in ("jax", "numpy", "faiss-cpu")}
    record["load_average"] = [load, os.getloadavg()[0]]
    record["remark"] = (f"Load average {load:.1f} at the start and {record['load_average'][1]:.1f} at the end: above "
                        f"{os.cpu_count()}, other work shared the machine, and processor seconds say more.")
    turns.write(path, record, table(record))


if __name__ == "__main__":
    main()
