"""A gallery whose writer is killed again and again:

    python -m tests.experiments.galleries.killed FOLDER TRIES [SEED [ADDRESS]]

ADDRESS: of the gallery, which is made; default: a folder in FOLDER.
Each try is a process that looks at what the one before has left, ends its command, and begins another one, during which
it gets a SIGKILL. Before each commit it logs what it is about to write, and afterwards that it has: whatever was
acknowledged must be there once, with the vector of its picture, and nothing else but what was about to be written.
"""

import collections
import json
import os
import pathlib
import random
import signal
import sys
import time
import traceback

import lance_namespace  # noqa: F401  before the forks: half of the time that lancedb takes to start
import numpy as np
import psutil

from geodesic.errors import UserError
from geodesic.experiments.galleries import adding, engines, lance, pictures, postgres
from geodesic.experiments.galleries.gallery import Gallery
from tests.experiments.galleries import fake

VERBS = ("add", "remove", "update", "compact", "migrate")
adding._AT_MOST = 8  # many commits
_replace = {engine.Table: engine.Table.replace for engine in (lance, postgres)}


def address(place: pathlib.Path) -> str:
    return (place / "address").read_text()


class Logged(Gallery):
    """place: of the log. Tells what is committed."""

    def __init__(self, place: pathlib.Path, run):
        super().__init__(address(place), run)
        self.folder = place
        self._log = os.open(place / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def log(self, **what) -> None:
        os.write(self._log, json.dumps(what).encode() + b"\n")

    def _commit(self, columns, rows) -> None:
        self.log(write=dict(zip(columns["id"], columns["digest"], strict=True)))
        super()._commit(columns, rows)
        self.log(done=True)

    def _delete(self, ids) -> None:
        self.log(delete=list(ids))
        super()._delete(ids)
        self.log(done=True)


def log_the_switch(gallery: Logged, seed: int) -> None:
    of_engine = engines.of(address(gallery.folder)).Table

    def logged(opened, by):
        gallery.log(seed=seed)
        _replace[of_engine](opened, by)
        gallery.log(done=True)

    of_engine.replace = logged


def after(state: dict, entries: list[dict]) -> list[dict]:
    """The states that there may be: with all that was acknowledged, and also with what was about to be written."""
    states = [{"rows": dict(state["rows"]), "seed": state["seed"]}]
    for place, entry in enumerate(entries):
        if "done" in entry or "verb" in entry:
            continue
        acknowledged = place + 1 < len(entries) and "done" in entries[place + 1]
        changed = {"rows": dict(states[-1]["rows"]), "seed": entry.get("seed", states[-1]["seed"])}
        changed["rows"].update(entry.get("write", {}))
        for name in entry.get("delete", ()):
            changed["rows"].pop(name)
        states = [changed] if acknowledged else [*states, changed]
    return states


def look(place: pathlib.Path, allowed: list[dict], contents: dict[str, str]) -> dict:
    """The state that there is; AssertionError where it is none of those that are allowed, or a vector is not its
    picture's."""
    gallery = Gallery(address(place))
    rows = gallery.opened().columns().to_pylist()
    names = collections.Counter(row["id"] for row in rows)
    assert not [name for name, count in names.items() if count > 1], "a row is there twice"
    there = {"rows": {row["id"]: row["digest"] for row in rows}, "seed": int(gallery.info["model"]["weights"], 16)}
    for state in allowed:
        lost, more = ({*one["rows"].items()} - {*other["rows"].items()} for one, other in (
            (state, there), (there, state)))
        told = f"lost {len(lost)}, more {len(more)}, seed {there['seed']} where it was {state['seed']}"
    assert there in allowed, told
    kept, run = gallery.held(), fake.Run(there["seed"])
    for name, digest in there["rows"].items():
        wanted = run.vector(contents[digest].encode())
        np.testing.assert_allclose(kept.vectors([kept.places[name]])[0], wanted, atol=1e-6)
    assert gallery.check(look=False).problems == []
    return there


def act(place: pathlib.Path, task: dict, state: dict) -> None:
    photos, verb = str(place / "photos"), task["verb"]
    gallery = Logged(place, fake.Run(task["seed"]))
    if verb == "add":
        gallery.add(photos)
    elif verb == "update":
        gallery.update(remove_vanished=True)
    elif verb == "remove":
        if names := [name for name in task["names"] if name in state["rows"]]:
            gallery.remove(names)
    elif verb == "compact":
        gallery.compact()
    else:
        log_the_switch(gallery, task["seed"])
        try:
            gallery.migrate()
        except UserError as error:
            assert "is of this model already" in str(error)


def files(place: pathlib.Path) -> dict[str, str]:
    """The digest of each picture, by the id that its row has."""
    return {str(path): pictures.digest({"image": path.read_bytes()}) for path in (place / "photos").rglob("*.jpg")}


def expected(task: dict, state: dict, there: dict[str, str]) -> dict:
    rows = state["rows"]
    if task["verb"] == "add":
        rows = rows | there
    elif task["verb"] == "update":
        rows = {name: there[name] for name in rows if name in there}
    elif task["verb"] == "remove":
        rows = {name: digest for name, digest in rows.items() if name not in task["names"]}
    return {"rows": rows, "seed": task["seed"]}


def prepare(place: pathlib.Path, state: dict, contents: dict, generator: random.Random, turn: int) -> dict:
    """Changes pictures, and says what is to be done."""
    verb = VERBS[turn % len(VERBS)]
    task, rows = {"verb": verb, "seed": state["seed"] + (verb == "migrate")}, sorted(state["rows"])
    if verb == "add":
        for _ in range(60):
            number = generator.randrange(400)
            path = place / "photos" / f"{'abc'[number % 3]}" / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{'abc'[number % 3]}{number}-{turn}")
    elif verb == "update":
        for name in generator.sample(rows, min(40, len(rows))):
            path = pathlib.Path(name)
            path.unlink() if generator.random() < 0.3 and path.exists() else path.write_text(f"b{path.stem}-{turn}")
    elif verb == "remove":
        task["names"] = generator.sample(rows, min(20, len(rows)))
    contents.update({pictures.digest({"image": path.read_bytes()}): path.read_text()
                     for path in (place / "photos").rglob("*.jpg")})
    return task


def child(place: pathlib.Path, seed: int, turn: int, tell: int) -> None:
    """Looks, ends what was begun, begins something else, and waits to be killed."""
    read = lambda name: json.loads((place / name).read_text())
    state, contents, generator = read("state.json"), read("contents.json"), random.Random(f"{seed} {turn}")
    lines = (place / "log").read_text().splitlines() if (place / "log").exists() else []
    entries = [json.loads(line) for line in lines]
    task = entries[0] if entries else None
    state = look(place, after(state, entries), contents)
    if task:
        act(place, task, state)
        state = look(place, [expected(task, state, files(place))], contents)
    tidy = {"verb": "update", "seed": state["seed"]}  # a migration needs every picture as it was
    act(place, tidy, state)
    state = look(place, [expected(tidy, state, files(place))], contents)
    task = prepare(place, state, contents, generator, turn)
    for name, values in (("state.json", state), ("contents.json", contents)):
        (place / name).write_text(json.dumps(values))
    (place / "log").write_text(json.dumps(task) + "\n")
    os.write(tell, b"g")
    act(place, task, state)
    os.write(tell, b"e")
    signal.pause()


def main(folder: str, tries: int, seed: int = 0, where: str = "") -> dict:
    """The number of kills, by verb. The first problem ends it, with an AssertionError."""
    place, generator, killed, turn = pathlib.Path(folder), random.Random(seed), collections.Counter(), 0
    place.mkdir(parents=True, exist_ok=True)
    (place / "address").write_text(where or str(place / "gallery"))
    lasted = dict.fromkeys(VERBS, 0.4)
    while killed.total() < tries:
        told, tell = os.pipe()
        verb, process = VERBS[turn % len(VERBS)], os.fork()
        if not process:
            try:
                if not (place / "state.json").exists():
                    Gallery(address(place), fake.Run()).create()
                    (place / "state.json").write_text('{"rows": {}, "seed": 0}')
                    (place / "contents.json").write_text("{}")
                child(place, seed, turn, tell)
            except BaseException:
                traceback.print_exc()
            os._exit(1)
        os.close(tell)
        if not os.read(told, 1):
            os.waitpid(process, 0)
            raise AssertionError(f"after {dict(killed)}: what was left is wrong, or the command fails")
        os.set_blocking(told, False)
        time.sleep(generator.uniform(0, lasted[verb]))
        try:
            ended = os.read(told, 1) != b""  # the command was quicker
        except BlockingIOError:
            ended = False
        for inner in psutil.Process(process).children(recursive=True):
            inner.kill()
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(told)
        lasted[verb] = max(lasted[verb] * (0.9 if ended else 1.02), 0.02)
        killed[verb] += not ended
        turn += not ended
        if killed.total() % 10 == 0 and not ended:
            print(dict(killed), {name: f"{seconds:.2f} s" for name, seconds in lasted.items()}, flush=True)
    return dict(killed)


if __name__ == "__main__":
    print("killed", main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if sys.argv[3:] else 0, *sys.argv[4:]))
