"""Reads a trace of jax.profiler: what every device did, and who waited while it did nothing."""

import collections
import glob
import os
from collections.abc import Callable, Iterable
from typing import NamedTuple

from jax.profiler import ProfileData

from geodesic.errors import UserError


class Span(NamedTuple):
    name: str
    start: float    # ns
    end: float


class Trace(NamedTuple):
    devices: dict[str, list[Span]]  # by device: its instructions, which may overlap and contain one another
    host: dict[str, list[Span]]     # by name: the annotations that were asked for


def newest(folder: str) -> str:
    """Finds the .xplane.pb below `folder` that was written last. Raises UserError if there is none."""
    files = glob.glob(os.path.join(glob.escape(folder), "**", "*.xplane.pb"), recursive=True)
    if not files:
        raise UserError(f"no trace (*.xplane.pb) below {folder}")
    return max(files, key=os.path.getmtime)


def read(profile: ProfileData, annotations: Iterable[str]) -> Trace:
    """Reads the spans of all devices, and those of the host that have one of these names.

    profile: ProfileData.from_file(newest(...)). Accelerators have planes of their own; a CPU's instructions lie among
    the host's threads, and tell their device.
    """
    devices, on_host, host = collections.defaultdict(list), collections.defaultdict(list), {}
    annotations = set(annotations)
    for plane in profile.planes:
        for line in plane.lines:
            if plane.name.startswith("/device:") and _has_instructions(plane.name, line.name):
                devices[plane.name].extend(_span(event, _name(event)) for event in line.events)
            elif plane.name == "/host:CPU":
                for event in line.events:
                    if event.name in annotations:
                        host.setdefault(event.name, []).append(_span(event, event.name))
                    elif not event.name.startswith(("end: ", "ThreadpoolListener")):
                        stats = dict(event.stats)
                        if "hlo_op" in stats:
                            on_host[f"cpu {stats.get('device_ordinal', 0)}"].append(_span(event, stats["hlo_op"]))
    return Trace(dict(devices) or dict(on_host), host)


def apportion(spans: list[Span], waiting: list[Span], window: tuple[float, float],
              contains: Callable[[str], bool]) -> tuple[dict[str, float], float, float]:
    """Deals a window of time out: (ns of each instruction, ns of waiting, ns of nothing).

    Instructions that run at once share the time. One that contains others (a loop, a call) counts where none of those
    runs; `waiting` counts where nothing does.
    """
    edges = []
    for level, group in ((None, spans), (2, waiting)):
        for span in group:
            start, end = max(span.start, window[0]), min(span.end, window[1])
            if end > start:
                own = (int(contains(span.name)) if level is None else level)
                edges += [(start, 1, own, span.name), (end, -1, own, span.name)]
    active, spent, idle, last = [collections.Counter() for _ in range(3)], collections.Counter(), 0.0, window[0]
    waited = 0.0
    for time, change, level, name in sorted(edges, key=lambda edge: edge[0]):
        passed, last = time - last, time
        running = active[0] or active[1]
        count = sum(running.values())
        if count:
            for other, times in running.items():
                spent[other] += passed * times / count
        elif active[2]:
            waited += passed
        else:
            idle += passed
        active[level][name] += change
        if not active[level][name]:
            del active[level][name]
    return dict(spent), waited, idle + window[1] - last


def _has_instructions(plane: str, line: str) -> bool:
    """Whether a line of a plane is of instructions: a TPU has one such, a GPU one for each stream."""
    return line.startswith("Stream") if "GPU" in plane else line == "XLA Ops"


def _name(event) -> str:
    """The instruction's name: a TPU's events are called by the whole instruction, a GPU's kernels have it as a fact."""
    return str(dict(event.stats).get("hlo_op") or event.name.split(" = ")[0].lstrip("%"))


def _span(event, name: str) -> Span:
    return Span(name, event.start_ns, event.start_ns + event.duration_ns)
