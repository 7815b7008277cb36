"""A run's state and its place in the data, on the disk together."""

from collections.abc import Callable

from geodesic.experiments.checkpoints.checkpoint import Checkpoints
from geodesic.experiments.process import hosts
from geodesic.experiments.process.goodput import Goodput
from geodesic.experiments.training.model import TrainState
from geodesic.experiments.training.resume import Data


class Saves:
    """Saves a run and brings it back, always with the place in the data that belongs to the state."""

    def __init__(self, checkpoints: Checkpoints, known: Data, batches, watch, every: int, spent: Goodput):
        """known: what the run is trained on. batches: have `get_state` and `set_state`. watch: the watchdog. every: how
        many steps apart saves are due. spent: learns which steps are kept.
        """
        self._checkpoints, self._known, self._batches = checkpoints, known, batches
        self._watch, self._every, self._spent, self._last = watch, every, spent, None

    def restore(self, abstract_state: Callable[[], TrainState], workdir: str) -> TrainState | None:
        """The state of the newest checkpoint that is whole, with the batches at its place; None where there is none.

        abstract_state: gives what the state is to be like, and is called where there is a checkpoint.
        Raises UserError where it is of other data than this run's.
        """
        self._checkpoints.wait()
        self._last = None
        if hosts.from_first(self._checkpoints.latest_step()) is None:
            self._batches.set_state({"step": 0, "bad": ()})
            self._spent.resumed(0)
            return None
        state, position = self._checkpoints.restore(abstract_state())
        self._known.check(position, workdir)
        self._batches.set_state({"step": int(state.step), "bad": position["bad"]})
        self._last = int(state.step)
        self._spent.resumed(self._last)
        return state

    def due(self, step: int) -> bool:
        return step % self._every == 0

    def improves(self, score: float | None) -> bool:
        """Whether this score of `run.keep_best` is better than that of every checkpoint."""
        return self._checkpoints.improves(score)

    def save(self, step: int, state: TrainState, score: float | None = None) -> None:
        """Saves a step once; before the first one there is nothing to save."""
        if step in (0, self._last):
            return
        with self._watch.phase("save"):
            place = self._known.position(step) | self._batches.get_state()
            self._checkpoints.save(step, state, place, score)
        self._spent.saved(step)
        self._last = step

    def set_score(self, step: int, score: float | None) -> None:
        """Gives its score to a step that was saved before it was known; None is no score."""
        if score is not None:
            self._checkpoints.set_score(step, score)

    def finish(self, step: int, state: TrainState, score: float | None) -> None:
        """Waits for the disk. A last save that has failed is tried again: it may have been a moment's, such as a file
        server that restarted. Raises OSError where it fails again.
        """
        if self._failure():
            self._last = None
            self.save(step, state, score)
        if failure := self._failure():
            raise OSError(f"{failure}. The run stops at step {step}, and what it has learnt since the checkpoint "
                          f"before is lost: make room, and give the same command again")

    def _failure(self) -> str:
        """Why the last save has failed, or ""."""
        with self._watch.phase("save"):
            self._checkpoints.wait()
        return hosts.from_first(self._checkpoints.failure)
