"""Checkpoints: the train state and the position in the data, together, written by orbax and proven whole.

    checkpoints/<step>/manifest.json    a digest of every file and of every array, the position in the data, the score
    checkpoints/<step>/arrays/          orbax's
    checkpoints/saving-<step>/          one that is being written; renamed when all of it is on the disk
    checkpoints/damaged-<step>/         one that a resumed run found damaged

A bucket has no rename: in_bucket.py.

orbax restores flipped bits in silence and knows no best checkpoint but its newest, hence the manifest (seal.py), whose
rename is the commit. It is written by a thread of process 0 when orbax has finished on all processes.
"""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable

import jax
import numpy as np
import orbax.checkpoint as ocp

from geodesic import metrics
from geodesic.errors import UserError
from geodesic.experiments.checkpoints import digests, in_bucket, packed, plain_path, seal, stored_arrays
from geodesic.experiments.process import hosts, storage
from geodesic.experiments.process import workdir as workdirs

_ARRAYS, _SAVING, _DAMAGED = "arrays", "saving-", "damaged-"
# Seconds until the first process gives up a checkpoint of which another has not told its digests.
_PATIENCE = 300


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
        if not self._in_bucket:
            plain_path.check(self._path)
        self._workdir, self._links = workdir, contextlib.ExitStack()
        self._orbax = ocp.StandardCheckpointer()
        self._thread, self.failure = None, ""
        if keep is not None:
            hosts.first_does(self._remove_unfinished)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.wait()
        with contextlib.suppress(Exception):  # a save that failed has been reported, in words of ours
            self._orbax.close()

    def all_steps(self) -> list[int]:
        """Of those that were finished, damaged or not, ascending."""
        if self._in_bucket:
            return in_bucket.steps(self._path)
        names = os.listdir(self._path) if os.path.isdir(self._path) else ()
        return sorted(int(name) for name in names if name.isdigit())

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
            if self._in_bucket:
                self._start(self._finish_in_bucket, step, record, held, hosts.from_first(bool(failed)))
                return
            hosts.first_does(lambda: os.makedirs(self._folder(step, _SAVING), exist_ok=True))
            folder = self._links.enter_context(plain_path.of(self._folder(step, _SAVING)))
            self._orbax.save(os.path.join(folder, _ARRAYS), state, force=True)
        except Exception as error:  # of tensorstore and asyncio too: whatever the disk did, the run can go on
            self._failed(step, error)
            return
        self._start(self._finish, step, record, held)

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
        folder, saving = self._folder(step), self._folder(step, _SAVING)
        try:  # the new manifest takes the place of the old one when all of it is on the disk
            if step not in self.all_steps():
                return
            record = {**seal.read(folder), "score": score}
            if self._in_bucket:
                seal.write(folder, record)
            else:
                os.makedirs(saving, exist_ok=True)
                seal.write(saving, record)
                os.replace(os.path.join(saving, seal.NAME), os.path.join(folder, seal.NAME))
        except (OSError, seal.DamagedError) as error:
            print(f"the score of step {step} cannot be written: {_reason(error)}", flush=True)
        if not self._in_bucket:
            shutil.rmtree(saving, ignore_errors=True)
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

    @property
    def _in_bucket(self) -> bool:
        return storage.is_remote(self._path)

    def _folder(self, step: int, prefix: str = "") -> str:
        return os.path.join(self._path, f"{prefix}{step}")

    def _start(self, finish: Callable, *arguments) -> None:
        self._thread = threading.Thread(target=finish, args=arguments, name="checkpoint")
        self._thread.start()

    def _finish_in_bucket(self, step: int, record: dict, held: dict[str, digests.Part], again: bool) -> None:
        """As `_finish`. again: whether a save before has failed, and may have left something."""
        folder = self._folder(step)
        try:
            if hosts.is_first() and again:
                in_bucket.remove_unfinished(self._path, but=step)
            part = in_bucket.write_part(folder, held, self._num_classes)
            held.clear()
            if hosts.is_first():
                in_bucket.commit(folder, record, [part, *self._told_by_others(step)])
            else:
                workdirs.write_json(self._sums_path(step, jax.process_index()), part)
        except Exception as error:
            self._failed(step, error)
            return
        if hosts.is_first():
            self._prune()

    def _finish(self, step: int, record: dict, held: dict[str, digests.Part]) -> None:
        """In a thread: seals what orbax has written, gives it its name, and removes what need not be kept."""
        try:
            sums = digests.of_parts(held, self._num_classes)
            held.clear()
            if not hosts.is_first():
                workdirs.write_json(self._sums_path(step, jax.process_index()), sums)
            self._orbax.wait_until_finished()
            self._links.close()
            if not hosts.is_first():
                return
            seal.close(self._folder(step, _SAVING), {**record, "digests": self._added(step, sums)})
            if os.path.isdir(self._folder(step)):
                shutil.rmtree(self._folder(step))
            os.rename(self._folder(step, _SAVING), self._folder(step))
        except Exception as error:
            self._failed(step, error)
            return
        self._prune()

    def _sums_path(self, step: int, process: int) -> str:
        """Where another process than the first puts the digests of its parts: beside what orbax writes."""
        folder = self._folder(step) if self._in_bucket else self._folder(step, _SAVING)
        return os.path.join(folder, f"digests-{process}.json")

    def _added(self, step: int, sums: dict[str, int]) -> dict[str, str]:
        """The digests of the whole arrays. Raises TimeoutError where a process has not said those of its parts."""
        for theirs in self._told_by_others(step):
            sums = {name: value + theirs[name] for name, value in sums.items()}
        return {name: digests.written(value) for name, value in sums.items()}

    def _told_by_others(self, step: int) -> list[dict]:
        """What the other processes have put into the folder: what sends arrays between processes is not for a thread
        beside the steps."""
        told = []
        for process in range(1, jax.process_count()):
            path, until = self._sums_path(step, process), time.monotonic() + _PATIENCE
            while not storage.exists(path):
                if time.monotonic() > until:
                    raise TimeoutError(errno.ETIMEDOUT, f"process {process} has not told its digests")
                time.sleep(0.5 if self._in_bucket else 0.05)
            told.append(workdirs.read_json(path))
            storage.remove(path)
        return told

    def _failed(self, step: int, error: Exception) -> None:
        self._links.close()
        self.failure = f"the checkpoint of step {step} cannot be written: {_reason(error)}"
        # Where another process is lost, this one ends at its next step, and says so there.
        goes_on = "" if hosts.lost_peer(error) else "; the run goes on, and the next one tries again"
        print(f"{self.failure}{goes_on}", flush=True)
        if hosts.is_first() and not self._in_bucket:
            shutil.rmtree(self._folder(step, _SAVING), ignore_errors=True)

    def _prune(self) -> None:
        with contextlib.suppress(storage.LostError):  # what stays there is removed after the next save
            steps = self.all_steps()
            kept = set(steps[-self._keep:])
            if self._best:
                scores = {step: score for step in steps if (score := self.score(step)) is not None}
                kept |= {best_of(self._best, scores)} if scores else set()
            for step in steps:
                if step not in kept:
                    self._remove(step)

    def _remove(self, step: int) -> None:
        if self._in_bucket:
            storage.remove(self._folder(step), last=[seal.NAME])
        else:
            shutil.rmtree(self._folder(step), ignore_errors=True)

    def _remove_unfinished(self) -> None:
        if self._in_bucket:
            in_bucket.remove_unfinished(self._path)
            return
        os.makedirs(self._path, exist_ok=True)
        for name in os.listdir(self._path):
            if name.startswith(_SAVING):
                shutil.rmtree(os.path.join(self._path, name), ignore_errors=True)

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
            if "pieces" in record:
                arrays = packed.read_whole(self._folder(step), record, names)
            else:
                with self._on_disk(step) as folder:
                    arrays = stored_arrays.read(os.path.join(folder, _ARRAYS), names)
            stored_arrays.check_read(record, arrays)
            return "", (arrays, record)
        except (OSError, ValueError) as error:  # a DamagedError, or what tensorstore says of a file that is not its own
            self._raise_unless_damaged(error)
            reason = str(error) if isinstance(error, UserError) else _reason(error)
            return f"the checkpoint of step {step} in {self._workdir!r} is damaged: {reason}", None

    def _try(self, step: int, abstract_state) -> tuple[str, tuple | None]:
        """("", (state, data_state)), or (what is wrong with it, None)."""
        record, problem = hosts.from_first(self._examine(step) if hosts.is_first() else None)
        if not problem:
            stored_arrays.check_model(record, abstract_state, f"the checkpoint of step {step} in {self._workdir!r}")
            # Padding of the class axis follows the number of devices: it is cut off, or zero.
            try:
                state = self._restored(step, record, abstract_state)
                stored_arrays.check(record, state)
                return "", (state, record["data"])
            except seal.DamagedError as error:
                problem = str(error)
        return f"the checkpoint of step {step} in {self._workdir!r} is damaged: {problem}", None

    def _raise_unless_damaged(self, error: Exception) -> None:
        """What cannot be reached in a bucket, or may not be read, is not damaged."""
        if self._in_bucket and isinstance(error, OSError):
            raise error

    def _restored(self, step: int, record: dict, abstract_state):
        if "pieces" in record:
            return packed.restore(self._folder(step), record, abstract_state)
        with self._on_disk(step) as folder, plain_path.of(folder) as plain:
            return self._orbax.restore(os.path.join(plain, _ARRAYS), abstract_state, strict=False)

    @contextlib.contextmanager
    def _on_disk(self, step: int):
        """The folder of a step, or, of orbax's files in a bucket, a copy of it."""
        if not self._in_bucket:
            yield self._folder(step)
            return
        with tempfile.TemporaryDirectory(prefix="geodesic-") as copy:
            storage.fetch(self._folder(step), copy)
            yield copy

    def _examine(self, step: int) -> tuple[dict | None, str]:
        """(its record, what is wrong with its files or "")."""
        record = None
        try:
            record = seal.read(self._folder(step))
            seal.check(self._folder(step), record)
            return record, ""
        except (seal.DamagedError, OSError) as error:
            self._raise_unless_damaged(error)
            if self._in_bucket or (record and "pieces" in record):
                return record, str(error)
            return record, str(error) + stored_arrays.damaged(os.path.join(self._folder(step), _ARRAYS), record)


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
