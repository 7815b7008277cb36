"""A loss or gradient that is not finite: back to the last checkpoint, and past the batch that caused it.

A step that is skipped is counted and its batch is drawn, but nothing learns from it. The order of the data, the
schedule and the random numbers of all other steps are those of a run without it.
"""

import os

import jax

from geodesic.errors import UserError
from geodesic.experiments.process import hosts, storage
from geodesic.experiments.process import workdir as workdirs

# Steps whose outcome may wait to be looked at: each is a byte on the device.
_PENDING = 100


class NotFiniteError(Exception):
    """The step whose loss or gradient was not."""

    def __init__(self, step: int):
        super().__init__(f"the loss or its gradient is not finite in step {step}")
        self.step = step


class Guard:
    """Looks at the outcomes of steps, and remembers in the workdir which of them to skip."""

    def __init__(self, workdir: str, max_rollbacks: int):
        self._path, self._max = os.path.join(workdir, "skipped.json"), max_rollbacks
        self.skipped = hosts.from_first(_read(self._path) if hosts.is_first() else None)
        self._pending = []

    def watch(self, step: int, finite: jax.Array) -> None:
        """Of the step that has led to `step`: whether all was finite. Nothing is waited for."""
        self._pending.append((step, finite))
        if len(self._pending) >= _PENDING:
            self.check()

    def check(self) -> None:
        """Waits for the steps watched so far. Raises NotFiniteError for the first that went wrong."""
        pending, self._pending = self._pending, []
        for (step, _), finite in zip(pending, jax.device_get([flag for _, flag in pending]), strict=True):
            if not finite:
                raise NotFiniteError(step)

    def skip(self, step: int) -> None:
        """Remembers the step. Raises UserError where there have been too many."""
        self._pending = []
        if len(self.skipped) >= self._max:
            raise UserError(
                f"the loss or its gradient is not finite in step {step}, after {len(self.skipped)} skipped step(s): "
                f"lower optimizer.learning_rate, lengthen schedule.warmup_epochs, look at the images of these steps "
                f"(skipped.json), or raise run.max_rollbacks")
        self.skipped = sorted({*self.skipped, step})
        hosts.first_does(lambda: workdirs.write_json(self._path, {"steps": self.skipped}))


def _read(path: str) -> list[int]:
    return workdirs.read_json(path)["steps"] if storage.exists(path) else []
