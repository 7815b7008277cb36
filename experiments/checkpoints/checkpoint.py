"""Checkpoints: the train state and the position in the data, together, written by orbax and proven whole.

    checkpoints/<step>/manifest.json    a digest of every file and of every array, the position in the data, the score
    checkpoints/<step>/arrays/          orbax's
    checkpoints/saving-<step>/          one that is being written; renamed when all of it is on the disk
    checkpoints/damaged-<step>/         one that a resumed run found damaged

Which are kept, which is restored and what is said of it stands here; how a step is written, in on_disk.py and
in_bucket.py, and how it is read, in forms.py.

orbax restores flipped bits in silence and knows no best checkpoint but its newest, hence the manifest (seal.py), whose
rename is the commit. It is written by a thread of process 0 when orbax has finished on all processes.
"""

import contextlib
import hashlib
import os
import re
import threading
from collections.abc import Callable

import jax
import numpy as np
import orbax.checkpoint as ocp

from geodesic import metrics
from geodesic.errors import UserError
from geodesic.experiments.checkpoints import digests, forms, seal, stored_arrays
from geodesic.experiments.checkpoints.in_bucket import InBucket
from geodesic.experiments.checkpoints.on_disk import OnDisk
from geodesic.experiments.process import hosts, storage
from geodesic.experiments.process import workdir as workdirs

_DAMAGED = "damaged-"


class Checkpoints:
    """The checkpoints of a workdir, one for each saved step. A context manager: leaving it waits for the disk.

    Saving is asynchronous and atomic: a crash leaves the checkpoint before. One that cannot be written is reported in
    a line and leaves nothing behind. All processes make the same calls.
    """

    def __init__(self, workdir: str, *, keep: int | None = None, best: str = "", num_classes: int | None = None):
        """keep: how many to keep, the newest; None opens the folder for reading only. best: the name of a score, of
        which the highest (of an error rate the lowest) is kept too. num_classes: rows past it, of arrays that are
        split by class, are padding.

        Raises FileNotFoundError where there is none to read, and UserError where none can be stored.
        """
        self._path = workdirs.checkpoints_path(workdir)
        self._keep, self._best, self._num_classes = keep, best, num_classes
        if keep is None and not storage.is_folder(self._path):
            raise FileNotFoundError(f"no checkpoint in {workdir!r}: train the run first")
        self._workdir, self._orbax = workdir, ocp.StandardCheckpointer()
        self._place = InBucket(self._path) if storage.is_remote(self._path) else OnDisk(self._path, self._orbax)
        self._thread, self.failure = None, ""
        if keep is not None:
            hosts.first_does(self._place.remove_unfinished)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.wait()
        with contextlib.suppress(Exception):  # a save that failed has been reported, in words of ours
            self._orbax.close()

    def all_steps(self) -> list[int]:
        """Of those that were finished, damaged or not, ascending."""
        return self._place.steps()

    def latest_step(self) -> int | None:
        return max(self.all_steps(), default=None)

    def wait(self) -> None:
        """Until what is being saved is on the disk, or has failed: `failure` then says why."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def save(self, step: int, state, data_state: dict, score: float | None = None) -> None:
        """Returns when the state is copied off the devices; the digests and the writing go on behind."""
        self.wait()
        failed, self.failure = self.failure, ""
        record = {"step": step, "data": data_state, "score": score, **stored_arrays.record(state, self._num_classes)}
        held = digests.parts(state, copied=True)  # the next step takes the place of the state
        try:
            self._place.begin(step, state, failed)
        except Exception as error:  # of tensorstore and asyncio too: whatever the disk did, the run can go on
            self._failed(step, error)
            return
        self._thread = threading.Thread(target=self._finish, args=(step, record, held), name="checkpoint")
        self._thread.start()

    def restore(self, abstract_state, step: int | None = None) -> tuple:
        """(state, data_state) of `step`, placed as `abstract_state` says; by default of the newest that is whole, with
        a line for each that is not.

        Raises FileNotFoundError where there is none, UserError where its arrays are not those of the model, and
        where it is damaged: for the default, where all are.
        """
        self.wait()
        return self._first_whole(lambda candidate: self._try(candidate, abstract_state), step)

    def read(self, wanted: Callable[[str], bool], step: int | None = None) -> tuple[dict[str, np.ndarray], dict]:
        """(the arrays whose names are wanted, the checkpoint's record), on any machine and without the model.

        Nothing else is read. Each array is proven by its digest. By default of the newest checkpoint whose wanted
        arrays are whole. Raises as `restore` does.
        """
        return self._first_whole(lambda candidate: self._try_part(candidate, wanted), step)

    def score(self, step: int) -> float | None:
        """What `save` was told, of a checkpoint whose manifest is whole."""
        try:
            return seal.read(self._folder(step))["score"]
        except seal.DamagedError:
            return None

    def set_score(self, step: int, score: float) -> None:
        """Gives its score to a checkpoint that was saved before the score was known, and prunes with it.

        A checkpoint that could not be written, or a score that cannot be, is no reason to end.
        """
        self.wait()
        if not hosts.is_first():
            return
        try:
            if step not in self.all_steps():
                return
            self._place.rewrite(step, {**seal.read(self._folder(step)), "score": score})
        except (OSError, seal.DamagedError) as error:
            print(f"the score of step {step} cannot be written: {_reason(error)}", flush=True)
        self._prune()

    def improves(self, score: float | None) -> bool:
        """Whether no checkpoint has a score as good as this one; None is no score."""
        if score is None or not self._best:
            return False
        self.wait()
        return hosts.from_first(hosts.is_first() and self._improves(score))

    def _improves(self, score: float) -> bool:
        try:
            scores = {step: known for step in self.all_steps() if (known := self.score(step)) is not None}
        except storage.LostError as error:
            print(f"whether the score is the best is not known: {error}", flush=True)
            return False
        return best_of(self._best, {**scores, -1: score}) == -1 and score not in scores.values()

    def _folder(self, step: int, prefix: str = "") -> str:
        return os.path.join(self._path, f"{prefix}{step}")

    def _finish(self, step: int, record: dict, held: dict[str, digests.Part]) -> None:
        """In a thread: writes the step, and removes what need not be kept."""
        try:
            self._place.finish(step, record, held)
        except Exception as error:
            self._failed(step, error)
            return
        if hosts.is_first():
            self._prune()

    def _failed(self, step: int, error: Exception) -> None:
        self.failure = f"the checkpoint of step {step} cannot be written: {_reason(error)}"
        # Where another process is lost, this one ends at its next step, and says so there.
        goes_on = "" if hosts.lost_peer(error) else "; the run goes on, and the next one tries again"
        print(f"{self.failure}{goes_on}", flush=True)
        self._place.abandon(step)

    def _prune(self) -> None:
        with contextlib.suppress(storage.LostError):  # what stays there is removed after the next save
            steps = self.all_steps()
            kept = set(steps[-self._keep:])
            if self._best:
                scores = {step: score for step in steps if (score := self.score(step)) is not None}
                kept |= {best_of(self._best, scores)} if scores else set()
            for step in steps:
                if step not in kept:
                    self._place.remove(step)

    def _set_aside(self, step: int) -> None:
        storage.remove(self._folder(step, _DAMAGED))
        storage.move(self._folder(step), self._folder(step, _DAMAGED), last=[seal.NAME])

    def _first_whole(self, attempt: Callable[[int], tuple], step: int | None):
        """What `attempt(step)` restores, or of the newest step at which it finds nothing wrong."""
        steps = hosts.from_first(self.all_steps())
        if step is not None:
            if step not in steps:
                known = ", ".join(map(str, steps)) or "none"
                raise FileNotFoundError(f"no checkpoint of step {step} in {self._workdir!r} (it has {known}): train "
                                        f"the run first")
            problem, restored = attempt(step)
            if problem:
                raise UserError(problem)
            return restored
        problems = []
        for candidate in reversed(steps):
            problem, restored = attempt(candidate)
            if not problem:
                return restored
            problems.append(problem)
            print(f"{problem}; trying the one before", flush=True)
            if self._keep is not None:  # a checkpoint of this step will be written again
                hosts.first_does(lambda step=candidate: self._set_aside(step))
        if problems:
            raise UserError(f"all {len(problems)} checkpoints in {self._workdir!r} are damaged, the newest: "
                            f"{problems[0]}. Restore its folder from a copy, or start a new one")
        raise FileNotFoundError(f"no checkpoint in {self._workdir!r}: train the run first")

    def _try_part(self, step: int, wanted: Callable[[str], bool]) -> tuple[str, tuple | None]:
        """As `_try`, of the wanted arrays alone."""
        try:
            record = seal.read(self._folder(step))
            names = [name for name in record["arrays"] if wanted(name)]
            arrays = forms.read(self._folder(step), record, names)
            stored_arrays.check_read(record, arrays)
            return "", (arrays, record)
        except (OSError, ValueError) as error:  # a DamagedError, or what tensorstore says of a file that is not its own
            if not self._place.is_damage(error):
                raise
            reason = str(error) if isinstance(error, UserError) else _reason(error)
            return f"the checkpoint of step {step} in {self._workdir!r} is damaged: {reason}", None

    def _try(self, step: int, abstract_state) -> tuple[str, tuple | None]:
        """("", (state, data_state)), or (what is wrong with it, None)."""
        record, problem = hosts.from_first(self._examine(step) if hosts.is_first() else None)
        if not problem:
            stored_arrays.check_model(record, abstract_state, f"the checkpoint of step {step} in {self._workdir!r}")
            try:
                state = forms.restore(self._folder(step), record, abstract_state, self._orbax)
                stored_arrays.check(record, state)
                return "", (state, record["data"])
            except seal.DamagedError as error:
                problem = str(error)
        return f"the checkpoint of step {step} in {self._workdir!r} is damaged: {problem}", None

    def _examine(self, step: int) -> tuple[dict | None, str]:
        """(its record, what is wrong with its files or "")."""
        record = None
        try:
            record = seal.read(self._folder(step))
            seal.check(self._folder(step), record)
            return record, ""
        except (seal.DamagedError, OSError) as error:
            if not self._place.is_damage(error):
                raise
            return record, str(error) + self._place.damaged_arrays(step, record)


def best_of(name: str, scores: dict[int, float]) -> int:
    """The step with the best score; of equal ones the first. See `metrics.lower_is_better`."""
    return (min if metrics.lower_is_better(name) else max)(sorted(scores), key=scores.__getitem__)


def digest(variables) -> str:
    """16 hex digits that name these arrays: their paths, shapes, dtypes and every bit."""
    result = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        values = np.asarray(leaf)
        result.update(f"{jax.tree_util.keystr(path)} {values.dtype} {values.shape}\n".encode())
        result.update(np.ascontiguousarray(values).tobytes())
    return result.hexdigest()[:16]


def _reason(error: BaseException) -> str:
    """One line. The system's own words where it has any: orbax and tensorstore wrap them in pages."""
    cause = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    text = " ".join(str(error).split())
    system = re.search(r"os_error_code='(\d+)'", text)
    return os.strerror(int(system[1])) if system else text[:200] or type(error).__name__
