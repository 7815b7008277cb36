"""Counts and times of requests, as Prometheus reads them (its text format, version 0.0.4)."""

import bisect
import collections
import threading

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
PICTURES = (1, 2, 4, 8, 16, 32, 64)


class Histogram:
    def __init__(self, bounds: tuple[float, ...]):
        self.bounds, self.counts, self.sum = bounds, [0] * (len(bounds) + 1), 0.0

    def add(self, value: float) -> None:
        self.counts[bisect.bisect_left(self.bounds, value)] += 1
        self.sum += value

    def lines(self, name: str, labels: str = "") -> list[str]:
        parts, total = [], 0
        for bound, count in zip([*map(str, self.bounds), "+Inf"], self.counts, strict=True):
            total += count
            parts.append(f'{name}_bucket{{{labels}{"," * bool(labels)}le="{bound}"}} {total}')
        around = f"{{{labels}}}" if labels else ""
        return [*parts, f"{name}_sum{around} {self.sum:.6f}", f"{name}_count{around} {total}"]


class Metrics:
    """Safe to be told by several threads.

    Example:
        >>> from geodesic.experiments.serving import metrics
        >>> told = metrics.Metrics()
        >>> told.request("/search", 200, 0.02)
        >>> told.text({"rows": 7}).splitlines()[2]
        'geodesic_requests_total{path="/search",status="200"} 1'
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._requests = collections.Counter()
        self._seconds = collections.defaultdict(lambda: Histogram(SECONDS))
        self._batches = Histogram(PICTURES)

    def request(self, path: str, status: int, seconds: float) -> None:
        """path: one of the server's own, lest clients make up labels without end."""
        with self._lock:
            self._requests[path, status] += 1
            self._seconds[path].add(seconds)

    def batch(self, pictures: int) -> None:
        with self._lock:
            self._batches.add(pictures)

    def text(self, gauges: dict[str, float]) -> str:
        with self._lock:
            lines = ["# HELP geodesic_requests_total Requests that were answered.",
                     "# TYPE geodesic_requests_total counter"]
            lines += [f'geodesic_requests_total{{path="{path}",status="{status}"}} {count}'
                      for (path, status), count in sorted(self._requests.items())]
            lines += ["# HELP geodesic_request_seconds From the first byte of a request to the last of its answer.",
                      "# TYPE geodesic_request_seconds histogram"]
            for path, found in sorted(self._seconds.items()):
                lines += found.lines("geodesic_request_seconds", f'path="{path}"')
            lines += ["# HELP geodesic_batch_pictures Pictures that went through the network together.",
                      "# TYPE geodesic_batch_pictures histogram", *self._batches.lines("geodesic_batch_pictures")]
        for name, value in gauges.items():
            lines += [f"# TYPE geodesic_{name} gauge", f"geodesic_{name} {value:g}"]
        return "\n".join(lines) + "\n"
