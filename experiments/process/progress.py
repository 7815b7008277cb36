"""What a training run tells: one line to read, and every number as JSONL and TensorBoard scalars."""

import contextlib
import json
import math
import os
import time

import rich.console
import rich.progress

from geodesic.experiments.process import appending, storage, trackers
from geodesic.experiments.process import workdir as workdirs

_SAY_EVERY = 10.0  # seconds


class Metrics:
    """Writes metrics.jsonl and TensorBoard events of a workdir, and tells its trackers (names of trackers.TRACKERS).
    Records past `first_step` are dropped: they come again.

    What a full disk refuses is reported in a line, kept, and written when there is room again. In a bucket the records
    are parts, metrics/START-PART.jsonl, of which the last start counts.
    """

    def __init__(self, workdir: str, first_step: int, followed_by: tuple[str, ...] = ()):
        # A run from step 0 evaluates there again; a resumed one does not repeat what its checkpoint has seen.
        kept = [record for record in read_metrics(workdir) if first_step and record["step"] <= first_step]
        content = "".join(json.dumps(record) + "\n" for record in kept).encode()
        self._file = _start_parts(workdir, content) if storage.is_remote(workdir) else _start_file(workdir, content)
        self._waiting, self._reported = b"", False
        self._readers = [_Board(os.path.join(workdir, "tensorboard"), first_step),
                         *(trackers.Tracker(name, workdir) for name in followed_by)]

    def write(self, step: int, **values: float) -> None:
        self._waiting += (json.dumps({"step": step, **values}) + "\n").encode()
        self._flush()
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        for reader in self._readers:
            reader.write(step, finite)

    def close(self) -> None:
        self._flush()
        if isinstance(self._file, int):
            os.close(self._file)
        else:
            self._file.close()
        for reader in self._readers:
            reader.close()

    def _flush(self) -> None:
        if not isinstance(self._file, int):
            self._file.write(self._waiting)
            self._file.flush()
            self._waiting = b""
            return
        try:
            while self._waiting:
                self._waiting = self._waiting[os.write(self._file, self._waiting):]
        except OSError as error:
            if not self._reported:
                print(f"the metrics cannot be written: {error.strerror}; the run goes on, and they wait", flush=True)
            self._reported = True


def _start_file(workdir: str, content: bytes) -> int:
    path = workdirs.metrics_path(workdir)
    workdirs.write_atomically(path, content)
    storage.remove(_parts(workdir))  # of a run that came from a bucket
    return os.open(path, os.O_WRONLY | os.O_APPEND)


def _start_parts(workdir: str, content: bytes) -> appending.Parts:
    folder = _parts(workdir)
    before = storage.names(folder)
    start = max((int(name.partition("-")[0]) for name in before), default=0) + 1
    name = lambda number: f"{folder}/{start:06}-{number:06}.jsonl"
    storage.write(name(0), content)
    for path in (*(f"{folder}/{name}" for name in before), workdirs.metrics_path(workdir)):
        storage.remove(path)
    return appending.Parts(name, first=1)


def _parts(workdir: str) -> str:
    return os.path.join(workdir, "metrics")


class _Board:
    """Scalars for TensorBoard, each on the disk when `write` returns. An error ends them, with a line: metrics.jsonl
    has everything. (SummaryWriter's thread ends at its first error, and its queue then blocks the run.)
    """

    def __init__(self, folder: str, first_step: int):
        # Here, as it imports torch where that is installed: seconds that only a run which writes has to spend.
        from tensorboardX import record_writer
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2, summary_pb2

        self._event, self._summary, self._writer = event_pb2.Event, summary_pb2.Summary, None
        with self._or_end():
            if storage.is_remote(folder):
                for scheme in ("gs", "s3"):
                    record_writer.register_writer_factory(scheme, appending.Boards)
            else:
                os.makedirs(folder, exist_ok=True)
            # The name has its second: a run that goes back writes two in one.
            self._writer = EventsWriter(os.path.join(folder, "events"), f".{os.getpid()}.{time.monotonic_ns()}")
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)  # TensorBoard hides what lies past it
            self._writer.write_event(self._event(step=first_step + 1, wall_time=time.time(), session_log=start))

    def write(self, step: int, values: dict[str, float]) -> None:
        with self._or_end():
            if self._writer is not None:
                scalars = [self._summary.Value(tag=name, simple_value=value) for name, value in values.items()]
                self._writer.write_event(self._event(step=step, wall_time=time.time(),
                                                     summary=self._summary(value=scalars)))
                self._writer.flush()

    def close(self) -> None:
        with self._or_end():
            if self._writer is not None:
                self._writer.close()

    @contextlib.contextmanager
    def _or_end(self):
        try:
            yield
        except OSError as error:
            self._writer = None
            print(f"no TensorBoard scalars from here on: {error.strerror}", flush=True)


class NoMetrics:
    """Stands in for Metrics in the processes that write nothing."""

    def write(self, step: int, **values: float) -> None:
        pass

    def close(self) -> None:
        pass


def metrics(workdir: str, first_step: int, writes: bool, followed_by: tuple[str, ...] = ()) -> Metrics | NoMetrics:
    """Of the process that writes, and of the others."""
    return Metrics(workdir, first_step, followed_by) if writes else NoMetrics()


def last_evaluation(workdir: str) -> int | None:
    """The last step that has a record of an evaluation, or None."""
    return max((record["step"] for record in evaluations(workdir)), default=None)


def evaluations(workdir: str) -> list[dict]:
    """The records of evaluations, oldest first."""
    return [record for record in read_metrics(workdir) if "loss" not in record]


def read_metrics(workdir: str) -> list[dict]:
    """The records of metrics.jsonl, or of its parts, oldest first. A last line that a crash cut short is left out."""
    try:
        content = _read_parts(workdir) or storage.read(workdirs.metrics_path(workdir)).decode()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in content.split("\n")[:-1]]


def _read_parts(workdir: str) -> str:
    folder = _parts(workdir)
    names = storage.names(folder)
    last = sorted(name for name in names if name.partition("-")[0] == max(names).partition("-")[0])
    return "".join(content.decode() for content in storage.each(storage.read, [f"{folder}/{name}" for name in last]))


@contextlib.contextmanager
def bar(what: str, total: int):
    """Shows a bar of `total` on a terminal, with the time to go; gives the function that moves it on, from any thread.
    """
    columns = (*rich.progress.Progress.get_default_columns(), rich.progress.MofNCompleteColumn())
    console = rich.console.Console(stderr=True)
    with rich.progress.Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task(what, total=total)
        yield lambda done: shown.advance(task, done)


def lines(what: str, total: int, unit: str = "img"):
    """Prints how far it is, at what rate, and for how long still, every ten seconds; gives the function that moves it
    on. unit: what is counted.
    """
    started, last, done, first = time.monotonic(), time.monotonic(), 0, None

    def advance(count: int) -> None:
        nonlocal last, done, first
        done, now = done + count, time.monotonic()
        first = done if first is None else first  # of an earlier call, or slow by compiling
        if now - last > _SAY_EVERY and done > first:
            rate, last = (done - first) / (now - started), now
            print(f"{what}: {done:,}/{total:,}  {rate:.1f} {unit}/s  ETA {duration((total - done) / rate)}", flush=True)

    return advance


class Clock:
    """Measures the rate, the share of time that waits for data, and the time to go, from one report to the next."""

    def __init__(self, first_step: int, total_steps: int, batch_size: int):
        self._total, self._batch_size = total_steps, batch_size
        self._last, self._last_step = time.monotonic(), first_step
        self._waited = 0.0

    def waiting(self, seconds: float) -> None:
        self._waited += seconds

    @contextlib.contextmanager
    def paused(self):
        """Does not count the time in here (evaluating, saving) as time of steps."""
        started = time.monotonic()
        yield
        self._last += time.monotonic() - started

    def restart(self, step: int) -> None:
        """Forgets the time until now: it went into compiling."""
        self._last, self._last_step, self._waited = time.monotonic(), step, 0.0

    def read(self, step: int) -> dict[str, float]:
        """Reads images_per_second and data_wait (a share) since the last reading, and eta_seconds at that rate.

        It gives nothing where no step has been timed: the first one waits for the compiler.
        """
        if step == self._last_step:
            return {}
        now = time.monotonic()
        seconds = max(now - self._last, 1e-9)
        rate = (step - self._last_step) / seconds
        values = {"images_per_second": rate * self._batch_size, "data_wait": min(self._waited / seconds, 1.0),
                  "eta_seconds": (self._total - step) / rate}
        self._last, self._last_step, self._waited = now, step, 0.0
        return values


def line(step: int, total_steps: int, values: dict[str, float]) -> str:
    accuracy = f"accuracy {values['accuracy']:6.1%}  " if "accuracy" in values else ""  # not every loss has one
    text = (f"step {step:>{len(str(total_steps))}}/{total_steps}  loss {values['loss']:7.4f}  {accuracy}"
            f"lr {values['learning_rate']:.2e}")
    if "images_per_second" not in values:
        return text
    return (f"{text}  {values['images_per_second']:7.1f} img/s  data wait {values['data_wait']:4.0%}  "
            f"ETA {duration(values['eta_seconds'])}")


def duration(seconds: float) -> str:
    """Writes seconds as 1:02:03 or, below an hour, as 2:03."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
