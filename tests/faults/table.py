"""The faults by name, and the table of what came of them."""

import datetime
import json
import pathlib
import random
import time

import jax

from geodesic.experiments.process import workdir
from tests.faults import faults, files
from tests.faults.runs import Runs

_SAME = "the final state, the place in the data and every recorded loss equal those of an undisturbed run, bit for bit"
_AGAIN = f"the same command again: {_SAME}"
_FOUND = "the checkpoint is named as damaged, and the one before is restored"

# Name in the table -> (what does it, tries, what a try that counts as survived has shown).
FAULTS = {
    "SIGKILL at a random moment": (faults.sigkill, 50, _AGAIN),
    "SIGTERM to one of two processes": (
        faults.sigterm_one_of_two, 10, f"both end with status 143 and have saved one step; {_AGAIN}"),
    "one bit of a checkpoint flipped": (files.flipped_bits, 200, _FOUND),
    "a file of a checkpoint deleted or cut short": (files.truncated_or_deleted, 4, _FOUND),
    "disk full during a save": (
        faults.disk_full, 4, f"a line says so; where there is room again in time, the run goes on, and {_SAME}; where "
        f"there is none, status 1 with a line, and with room again {_AGAIN}"),
    "the folder of checkpoints vanishes": (faults.folder_vanishes, 2, f"the run goes on, and {_SAME}"),
    "resumed on 8, 4, 1, 2 x 4 devices": (
        faults.other_devices, 2, "every batch has the same images with the same labels in the same order (parameters "
        "are not compared: sums are taken in another order)"),
    "a peer process killed": (faults.peer_killed, 4, f"the other one ends, and says why; {_AGAIN}"),
    "NaN in a batch": (
        faults.not_a_number, 4, "the step is in skipped.json, and the final state equals that of another run that has "
        "skipped the same batch, bit for bit"),
    "a worker of the loader killed": (faults.worker_killed, 4, f"the run goes on, and {_SAME}"),
    "a thread of the loader raises": (faults.loader_dies, 2, f"status 1, and the output says why; {_AGAIN}"),
    "a thread of the loader hangs": (
        faults.loader_hangs, 2, f"status 75, and stalled.txt has the stack that hangs; {_AGAIN}. (It is noticed and "
        "ended, not mended; threads that wait in Python, not native code that never returns)"),
    "the clock changes": (faults.clock_changes, 4, f"where it was killed too, after the same command again: {_SAME}"),
    "two runs started in one workdir": (
        faults.two_in_one_workdir, 2, f"the second ends with status 1 and names the process of the first, which runs "
        f"on until SIGTERM ends it; {_AGAIN}"),
}


def do(name: str, runs: Runs, tries: int | None = None) -> dict:
    """Does one fault, and says what came of it."""
    action, usual, means = FAULTS[name]
    started = time.monotonic()
    survived, lost, how, *count = action(runs, random.Random(name), tries or usual)
    result = {"fault": name, "tries": count[0] if count else tries or usual, "survived": survived, "means": means,
              "lost": lost, "how": how, "seconds": round(time.monotonic() - started)}
    print(f"{name}: {result['survived']} of {result['tries']}, {result['seconds']} s", flush=True)
    return result


def stamp() -> dict:
    """Which code, where and when: to be asked for before anything is written into the checkout."""
    environment = workdir.environment(jax.devices())
    return {"date": datetime.datetime.now(datetime.UTC).date().isoformat(), "commit": environment["commit"],
            "machine": f"{environment['machine']}, fake devices of one CPU", "python": environment["python"],
            **{name: environment["packages"][name] for name in ("jax", "orbax-checkpoint")}}


def write(out: pathlib.Path, results: list[dict]) -> None:
    """A table for people, and the same for programs. results: of `do`, with a stamp. Faults that were not done
    this time keep their rows."""
    path = out.with_suffix(".json")
    before = json.loads(path.read_text())["faults"] if path.exists() else []
    rows = {row["fault"]: row for row in (*before, *results)}
    ordered = [rows[name] for name in FAULTS if name in rows]
    workdir.write_json(str(path), {"faults": ordered})
    columns = ("fault", "tries", "survived", "means", "lost", "how", "commit", "date")
    lines = ["# Faults survived", "", "Every fault is done to a run of a tiny network (tests/faults), at seeded random "
             "moments. What a try must show to count as survived is under 'means'. Rows come from separate invocations "
             "of `make faults`, each on the commit of its own row.", "",
             f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    lines += [f"| {' | '.join(str(row[column]) for column in columns)} |" for row in ordered]
    lines += ["", f"On {'; '.join(sorted({row['machine'] for row in ordered}))}."]
    workdir.write_atomically(str(out.with_suffix(".md")), ("\n".join(lines) + "\n").encode())
