"""Groups of people and characters never trained on, beside k-means with the true number and HDBSCAN; and how long a
million vectors take.

    python -m benchmarks.groups --faces=runs/quickstart --characters=runs/omniglot --data=omniglot.npz
    python -m benchmarks.groups --rows=1000000

The classes of a run's test data come in two halves: the threshold is calibrated on one, and the other is grouped by it,
and the other way round. --rows times the way of mutual neighbours over made-up vectors of 512 numbers, alike within
classes of ten. What was not asked for stays in the table as it was.
"""

import datetime
import json
import os
import pathlib
import resource
import time

import jax
import numpy as np

import geodesic
from benchmarks import turns
from geodesic.errors import UserError
from geodesic.experiments.process import runtime
from geodesic.experiments.process import workdir as workdirs
from geodesic.experiments.protocols import grouping
from geodesic.experiments.training import data
from geodesic.metrics import clustering, clustering_intervals, mutual, pairs, retrieval

_OUT = pathlib.Path(__file__).parent / "results" / "groups"
_THRESHOLD = 0.4  # of the made-up vectors
_RATES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
_COLUMNS = {"bcubed_f": "B-cubed F", "ami": "AMI", "nmi": "NMI", "alone": "left alone"}


def main() -> None:
    asked = turns.options(__doc__, faces="", characters="", data="", rows=0, probes=-1, seed=0, out=str(_OUT))
    runtime.start()
    out = pathlib.Path(asked.out)
    record = json.loads(out.with_suffix(".json").read_text()) if out.with_suffix(".json").exists() else {"sets": {}}
    for name, workdir in (("ORL, 10 people never trained on", asked.faces),
                          ("Omniglot, 659 evaluation characters", asked.characters)):
        if workdir:
            record["sets"][name] = of_run(workdir, asked.data if workdir == asked.characters else "", asked.seed)
            turns.write(out, record, table(record))
    if asked.rows:
        made = timed(asked.rows, asked.probes, asked.seed)
        record.setdefault("times", {})[f"{asked.rows} {made['probes']}"] = made
        turns.write(out, record, table(record))
    print(table(record))


def of_run(workdir: str, path: str, seed: int) -> dict:
    run = geodesic.load(workdir, overrides={"test_data.path": path} if path else {})
    source = data.test_source(run.config)
    rows = retrieval.normalized(run.embed_source(source).embeddings)
    names = np.unique(source.labels)
    halves = [np.flatnonzero(np.isin(source.labels, part)) for part in np.array_split(names, 2)]
    found = {"workdir": run.config.embedder.name, "images": len(rows), "classes": len(names), "rows": []}
    for title, way in _ways(rows, source.labels, seed):
        scores, seconds = [], 0.0
        try:
            for here, other in (halves, halves[::-1]):
                started = time.perf_counter()
                groups = way(here, other)
                seconds += time.perf_counter() - started
                scores.append({name: list(interval) for name, interval in clustering_intervals.intervals(
                    source.labels[here], groups, samples=grouping.RESAMPLES, seed=seed).items()})
        except UserError as error:  # too few pairs to show the rate
            print(f"{title}: {error}")
            continue
        print(title, [round(one["bcubed_f"][0], 3) for one in scores], f"{seconds:.1f} s", flush=True)
        found["rows"].append({"title": title, "halves": scores, "seconds": round(seconds, 2)})
    return found | _facts()


def _ways(rows: np.ndarray, labels: np.ndarray, seed: int):
    """(title, a function of the rows to group and those to calibrate on)."""
    known = {}

    def threshold(other: np.ndarray, far: float) -> float:
        """As `geodesic calibrate` sets it, without its intervals."""
        if (far, other[0]) not in known:
            sizes = np.unique(labels[other], return_counts=True)[1]
            if (len(other) ** 2 - (sizes ** 2).sum()) / 2 < 1 / far:
                raise UserError(f"too few pairs to show a rate of {far:g}")
            known[far, other[0]] = pairs.threshold_at(rows[other], labels[other], far)[0]
        return known[far, other[0]]

    for method, title in (("neighbours", "connected mutual neighbours"), ("leiden", "Leiden on mutual neighbours")):
        for far in _RATES:
            yield f"{title}, FAR {far:g}", lambda here, other, far=far, method=method: grouping.group(
                rows[here], method, threshold=threshold(other, far), seed=seed).groups
    yield "k-means, told the true number", lambda here, other: clustering.kmeans(
        rows[here], len(np.unique(labels[here])), seed=seed).assignment
    yield "HDBSCAN, 5 in a cluster at least", lambda here, other: clustering.hdbscan(rows[here])


def timed(count: int, probes: int, seed: int) -> dict:
    """Seconds of all steps over vectors that are in memory; the memory is the most that the process has had."""
    rows, labels = make(count, np.random.default_rng(seed))
    if probes < 0:
        probes = grouping.PROBES if count > mutual.EXACT_ROWS else 0
    load, started, worked = os.getloadavg()[0], time.perf_counter(), time.process_time()
    linked = mutual.links(rows, _THRESHOLD, probes=probes, seed=seed)
    groups = mutual.connected(linked, count)
    seconds = [round(time.perf_counter() - started, 1), round(time.process_time() - worked, 1)]
    cubed = clustering.bcubed(labels, groups)
    return {"rows": count, "size": rows.shape[1], "probes": probes, "links": len(linked.pairs), "seconds": seconds,
            "threshold": _THRESHOLD, "share_found": mutual.share_found(rows, linked, _THRESHOLD, seed=seed),
            "groups": int(groups.max()) + 1, "bcubed_f": cubed.f, "load": [load, os.getloadavg()[0]],
            "memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20} | _facts()


def make(count: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors f32[N,512], in classes of about ten whose cosines are .61 on average; labels. Made in place."""
    labels = rng.integers(0, count // 10, count)
    rows, centres = (rng.standard_normal((number, 512), dtype=np.float32) for number in (count, count // 10))
    for start in range(0, count, 4096):
        part = rows[start:start + 4096]
        part *= 0.8
        part += centres[labels[start:start + 4096]]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return rows, labels


def _facts() -> dict:
    return {"environment": workdirs.environment(jax.devices()), "date": datetime.date.today().isoformat()}


def table(record: dict) -> str:
    lines = ["# Groups of classes never trained on", "",
             "`python -m benchmarks.groups --faces=... --characters=... --data=...`. Two halves of the classes: the "
             "threshold of a false accept rate (FAR) is calibrated on the other half. A cell is the first half / the "
             "second, with 95 % intervals by the bootstrap over classes, whose groups stay as they are."]
    for name, found in record["sets"].items():
        lines += ["", f"## {name}", "", f"{found['images']:,} images, {found['classes']} classes, "
                  f"{found['workdir']}. {_where(found)}.", "",
                  f"| | {' | '.join(_COLUMNS.values())} | seconds, both |", "|---" * (len(_COLUMNS) + 2) + "|"]
        lines += [f"| {row['title']} | " + " | ".join(" / ".join(map(_cell, (half[key] for half in row["halves"])))
                                                     for key in _COLUMNS) + f" | {row['seconds']:.1f} |"
                  for row in found["rows"]]
    if record.get("times"):
        lines += ["", "## Time", "", "`python -m benchmarks.groups --rows=N`: links of mutual neighbours and what they "
                  "connect, of made-up vectors in memory: classes of ten, of a mean cosine of .61, threshold .4. Up to "
                  "100,000 all are compared with all; of more each with those in the 32 parts nearest to it, or in "
                  "--probes=N.", "",
                  "| rows x numbers | seconds | of processor, all threads | compared | of 1,000 rows' links, found "
                  "| B-cubed F | "
                  "memory, GiB | load average | |", "|---" * 9 + "|"]
        lines += [f"| {one['rows']:,} x {one['size']} | {one['seconds'][0]:.0f} | {one['seconds'][1]:.0f} | "
                  f"{str(one['probes']) + ' parts' if one['probes'] else 'all'} | {one['share_found']:.3f} | "
                  f"{one['bcubed_f']:.3f} | "
                  f"{one['memory_gib']:.1f} | {one['load'][0]:.1f} to {one['load'][1]:.1f} | {_where(one)} |"
                  for one in sorted(record["times"].values(), key=lambda one: (one["rows"], one["probes"]))]
    return "\n".join(lines) + "\n"


def _cell(interval: list) -> str:
    value, low, high = interval
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _where(found: dict) -> str:
    here = found["environment"]
    return f"{here['machine']}, jax {here['packages']['jax']}, {found['date']}, commit {here['commit'][:12]}"


if __name__ == "__main__":
    main()
