"""Where the time of a training step goes, measured inside a run and told as a table.

    geodesic train --config=quickstart --workdir=runs/faces --config.run.profile_steps=5

After three warm steps so many are traced with jax.profiler into WORKDIR/profile (TensorBoard and xprof open it too).
Evaluating or saving ends a trace early. The order of the run and its result are those of a run without it.
"""

import functools
import os
from collections.abc import Callable
from typing import NamedTuple

import jax
from jax.profiler import ProfileData

from geodesic.errors import UserError
from geodesic.experiments.compiled import memory_traffic, opcodes, peaks, trace

LOADER = "next batch"   # the annotation around the wait for data
_WARM_STEPS = 3
_LONGEST = 10


class Breakdown(NamedTuple):
    """Milliseconds of one step, a mean over steps and devices."""

    steps: int
    devices: int
    rows: dict[str, float]                          # everything that a step's time goes to; adds up to the step
    longest: list[tuple[float, str, str, str]]      # (ms, instruction, kind, source), the longest first

    @property
    def step(self) -> float:
        return sum(self.rows.values())


class Profiler:
    """Traces the steps of a run once. Where there are many processes, the first writes and prints."""

    def __init__(self, folder: str, config, compiled: Callable, keep: Callable[[str], None] = lambda folder: None):
        """folder: on a disk. compiled: () -> the compiled training step. Called after the trace, on all hosts.
        keep: is given the folder with the trace in it.
        """
        self._wanted, self._dtype, self._compiled = config.run.profile_steps, config.embedder.dtype, compiled
        self._folder, self._keep = os.path.join(folder, "profile"), keep
        self._seen, self._first, self._scalars, self._tracing = 0, None, None, False

    def after(self, step: int, scalars) -> bool:
        """Is told that step number `step` was started, and will give `scalars`; says whether it took time itself."""
        if not self._wanted:
            return False
        self._seen, self._scalars = self._seen + 1, scalars
        if self._tracing:
            return step - self._first + 1 == self._wanted and self.end()
        if self._seen < _WARM_STEPS:
            return False
        jax.block_until_ready(scalars)
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0     # tracing every call of every function would slow the steps down
        options.session_id = f"from_step_{step + 1}"
        if jax.process_index() == 0:
            jax.profiler.start_trace(self._folder, profiler_options=options)
        self._first, self._tracing = step + 1, True
        return True

    def end(self, over: bool = False) -> bool:
        """Ends the trace, if there is one, and prints the table. over: whether the run ends here."""
        if self._wanted and over and not self._tracing:
            print(f"run.profile_steps: not profiled, as the run ends before its {_WARM_STEPS + 1}. step", flush=True)
            self._wanted = 0
        if not self._tracing:
            return False
        jax.block_until_ready(self._scalars)
        steps = self._seen - _WARM_STEPS
        self.cancel()
        compiled = self._compiled()
        if jax.process_index() == 0 and steps:
            path = trace.newest(self._folder)
            text = compiled.as_text()
            breakdown = analyse(ProfileData.from_file(path), text, steps)
            work = {"flops": compiled.cost_analysis().get("flops", 0.0), "traffic": memory_traffic.main_memory(text)}
            told = tell(breakdown, work, jax.local_devices()[0], self._dtype)
            self._keep(self._folder)
            print(f"profile of step {self._first} to {self._first + steps - 1}, in {path}\n{told}", flush=True)
        return True

    def cancel(self) -> None:
        """Ends the trace, if there is one, without a table; there will be no other."""
        if self._tracing and jax.process_index() == 0:
            jax.profiler.stop_trace()
        if self._tracing:
            self._tracing, self._wanted = False, 0


def analyse(profile: ProfileData, hlo: str, steps: int) -> Breakdown:
    """Sums up the trace of `steps` steps of the program `hlo`, from the first wait for data to the last
    instruction's end.

    As the devices have nothing to do at its beginning, the host's share is a little too large with few steps.
    Raises UserError for a trace without instructions.
    """
    read, known = trace.read(profile, (LOADER,)), opcodes.instructions(hlo)
    if not read.devices:
        raise UserError("the trace has no instructions of a device")
    waits = read.host.get(LOADER, [])
    start = min(span.start for spans in (waits or [], *read.devices.values()) for span in spans)
    window = (start, max(span.end for spans in read.devices.values() for span in spans))
    look_up = functools.cache(lambda name: known.get(name) or opcodes.of_kernel(name))
    contains = lambda name: look_up(name).kind == opcodes.CONTAINER
    share = 1e-6 / steps / len(read.devices)
    rows, operations = dict.fromkeys(("matrix", "memory", "collective", "input", "idle"), 0.0), {}
    for spans in read.devices.values():
        spent, waited, idle = trace.apportion(spans, waits, window, contains)
        rows["input"] += share * waited
        rows["idle"] += share * idle
        for name, nanoseconds in spent.items():
            kind = look_up(name).kind
            rows[kind if kind in rows else "memory"] += share * nanoseconds
            operations[name] = operations.get(name, 0.0) + share * nanoseconds
    longest = sorted(operations.items(), key=lambda item: -item[1])[:_LONGEST]
    return Breakdown(steps, len(read.devices), rows,
                     [(ms, name, look_up(name).kind, look_up(name).source) for name, ms in longest])


_ROWS = {
    "matrix": ("matrix units", "convolutions, dots, and what is fused with them"),
    "memory": ("memory-bound rest", "elementwise, normalisation, sums, copies, the optimizer"),
    "collective": ("collectives", "between devices"),
    "input": ("input", "the device is idle, the host waits for the next batch"),
    "idle": ("host, idle", "the device is idle, the host is not waiting for data"),
}


def tell(breakdown: Breakdown, work: dict, device: jax.Device, dtype) -> str:
    """Writes the table, the rates with their shares of what the device can do, and the longest operations.

    work: "flops" and "traffic" (bytes) of one device's program. Fake devices of one CPU share its peak.
    """
    step = breakdown.step
    lines = [f"  {'':<20}{'ms a step':>10}{'share':>8}"]
    lines += [f"  {_ROWS[name][0]:<20}{ms:10.3f}{ms / step:8.1%}   {_ROWS[name][1]}" for name, ms in
              breakdown.rows.items()]
    lines.append(f"  {'step':<20}{step:10.3f}{1:8.1%}   mean of {breakdown.steps} steps, {breakdown.devices} device(s)")
    return "\n".join([*lines, *_rates(step * 1e-3, breakdown.devices, work, device, dtype),
                      f"  the {len(breakdown.longest)} longest, ms a step:",
                      *(f"  {ms:10.3f}{ms / step:8.1%}  {kind:<11}{name:<32} {_shorten(source)}"
                        for ms, name, kind, source in breakdown.longest)])


def _rates(seconds: float, devices: int, work: dict, device: jax.Device, dtype) -> list[str]:
    sharing = devices if device.platform == "cpu" else 1
    flops, moved = (sharing * work[name] for name in ("flops", "traffic"))
    measured, published = peaks.measure(device, dtype), peaks.published(device.device_kind)
    rows = [("arithmetic", "FLOP", "the compiler counts", flops,
             measured and measured.flops, published and published.flops),
            ("memory traffic", "B", "compiled", moved,
             measured and measured.bandwidth, published and published.bandwidth)]
    lines = []
    for what, unit, source, count, here, there in rows:
        text = (f"  {what:<20}{count / 1e9:,.4g} G{unit} a step as {source}, "
                f"{count / seconds / 1e9:,.4g} G{unit}/s")
        if here:
            text += f", {count / seconds / here:.1%} of {here / 1e9:,.4g} measured here"
        if there:
            text += f", {count / seconds / there:.1%} of {there / 1e9:,.4g} published"
        lines.append(text)
    return lines


def _shorten(source: str) -> str:
    """Keeps the end of jit(step)/transpose(jvp())/ResNet/.../conv1/dot_general, and whether it is backward."""
    parts = [part for part in source.split("/") if part and not part.startswith("jit(")]
    backward = any("transpose" in part for part in parts)
    return ("backward of " if backward else "") + "/".join(part for part in parts[-4:] if "jvp(" not in part)
