"""What a run tells of its steps, one step behind: the numbers arrive while the devices work on the next one."""

import time

import jax

from geodesic.experiments.compiled import profile
from geodesic.experiments.process import progress
from geodesic.experiments.training.guards import Guard


class Reports:
    """The lines and records of the steps, and the look whether each of them was finite."""

    def __init__(self, metrics, guard: Guard, watch, first_step: int, total_steps: int, batch_size: int, every: int):
        """metrics: where records are written. watch: the watchdog. every: how many steps apart lines are."""
        self._metrics, self._guard, self._watch, self._every = metrics, guard, watch, every
        self._total, self._clock = total_steps, progress.Clock(first_step, total_steps, batch_size)
        self._waiting, self._compiled = None, False

    def next_batch(self, batches) -> dict:
        """The next batch, and how long it was waited for."""
        started = time.monotonic()
        with self._watch.phase("loader"), jax.profiler.TraceAnnotation(profile.LOADER):
            batch = next(batches)
        self._clock.waiting(time.monotonic() - started)
        return batch

    @property
    def phase(self) -> str:
        """What the next step's time goes to."""
        return "step" if self._compiled else "compilation"

    def after(self, step: int, scalars: dict) -> None:
        """Tells of the step before, and keeps this one. Raises NotFiniteError, at some time, for one that went wrong.
        """
        if not self._compiled:
            jax.block_until_ready(scalars)
            self._clock.restart(step)
            self._compiled = True
        self._tell()
        self._waiting = step, scalars

    def catch_up(self) -> None:
        """Tells of the last step, and waits for all before it: what is saved must not miss its record.

        Raises NotFiniteError.
        """
        self._tell()
        with self._watch.phase("step"):
            self._guard.check()

    def paused(self):
        """A context whose time (evaluating, saving) is not that of steps."""
        return self._clock.paused()

    def restart(self, step: int) -> None:
        """Forgets the time until now: it went into a trace of the steps."""
        self._clock.restart(step)

    def _tell(self) -> None:
        if self._waiting is None:
            return
        (step, scalars), self._waiting = self._waiting, None
        self._guard.watch(step, scalars.pop("finite"))
        if step != 1 and step % self._every and step != self._total:
            return
        with self._watch.phase("step"):
            self._guard.check()
            values = {name: float(value) for name, value in jax.device_get(scalars).items()}
        values |= self._clock.read(step)
        print(progress.line(step, self._total, values), flush=True)
        self._metrics.write(step, **values)
