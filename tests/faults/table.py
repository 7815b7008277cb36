"""The faults by name, and the table of what came of them."""

import datetime
import json
import pathlib
import random
import time

import jax

from experiments import workdir
from tests.faults import faults, files
from tests.faults.runs import Runs

# Name in the table -> (what does it, tries).
FAULTS = {
    "SIGKILL at a random moment": (faults.sigkill, 50),
    "SIGTERM to one of two processes": (faults.sigterm_one_of_two, 10),
    "one bit of a checkpoint flipped": (files.flipped_bits, 200),
    "a file of a checkpoint deleted or cut short": (files.truncated_or_deleted, 4),
    "disk full during a save": (faults.disk_full, 4),
    "the folder of checkpoints vanishes": (faults.folder_vanishes, 2),
    "resumed on 8, 4, 1, 2 x 4 devices": (faults.other_devices, 2),
    "a peer process killed": (faults.peer_killed, 4),
    "NaN in a batch": (faults.not_a_number, 4),
    "a worker of the loader killed": (faults.worker_killed, 4),
    "a thread of the loader raises": (faults.loader_dies, 2),
    "a thread of the loader hangs": (faults.loader_hangs, 2),
    "the clock changes": (faults.clock_changes, 4),
    "two runs started in one workdir": (faults.two_in_one_workdir, 2),
}


def do(name: str, runs: Runs, tries: int | None = None) -> dict:
    """Does one fault, and says what came of it."""
    action, usual = FAULTS[name]
    started = time.monotonic()
    survived, lost, how, *count = action(runs, random.Random(name), tries or usual)
    result = {"fault": name, "tries": count[0] if count else tries or usual, "survived": survived, "lost": lost,
              "how": how, "seconds": round(time.monotonic() - started)}
    print(f"{name}: {result['survived']} of {result['tries']}, {result['seconds']} s", flush=True)
    return result


def write(out: pathlib.Path, results: list[dict]) -> None:
    """A table for people, and the same for programs. Faults that were not done this time keep their rows."""
    path = out.with_suffix(".json")
    before = json.loads(path.read_text())["faults"] if path.exists() else []
    environment = workdir.environment(jax.devices())
    environment["devices"] = "fake devices of one CPU"
    stamp = {"date": datetime.datetime.now(datetime.UTC).date().isoformat(), "machine": environment["machine"]}
    rows = {row["fault"]: row for row in before} | {row["fault"]: row | stamp for row in results}
    ordered = [rows[name] for name in FAULTS if name in rows]
    workdir.write_json(str(path), {"environment": environment, "faults": ordered})
    lines = ["# Faults survived", "", "Written by `make faults`: every fault is done to a small run (tests/faults), "
             "seeded, and the run is started again with the same command. Survived: what is left equals, bit for bit, "
             "what an undisturbed run leaves (of NaN: what a run leaves that skips the same batch).", "",
             "| fault | tries | survived | lost | how | date |", "|---|---|---|---|---|---|"]
    lines += [f"| {row['fault']} | {row['tries']} | {row['survived']} | {row['lost']} | {row['how']} | {row['date']} |"
              for row in ordered]
    lines += ["", f"Machine: {environment['machine']}; {environment['devices']}; Python {environment['python']}, jax "
              f"{environment['packages']['jax']}, orbax {environment['packages']['orbax-checkpoint']}."]
    workdir.write_atomically(str(out.with_suffix(".md")), ("\n".join(lines) + "\n").encode())
