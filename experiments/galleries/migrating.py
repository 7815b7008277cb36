"""All pictures of a gallery embedded anew by another model, beside the old rows, which they then replace at once."""

import itertools
from typing import NamedTuple

import numpy as np

from geodesic.errors import UserError
from geodesic.experiments.galleries import adding, binding, engines, held, pictures
from geodesic.experiments.galleries.table import MIGRATED
from geodesic.experiments.process import storage

_NEIGHBOURS, _SAMPLE, _SHOWN = 10, 1000, 3


class Migrated(NamedTuple):
    """rows: how many there are now. overlap: the mean share of a row's nearest `neighbours` among the old rows that are
    among those of the new ones too, over `sampled` rows; NaN of one row. removed: ids of rows whose pictures have gone.
    stopped: by a signal, with nothing replaced."""

    rows: int
    overlap: float
    neighbours: int
    sampled: int
    removed: list[str]
    stopped: bool


def migrate(gallery, info: dict, listed: pictures.Listed | None, remove_vanished: bool) -> Migrated:
    """Alone with the gallery. listed: where the pictures are now, by their ids; None: where the rows say."""
    opened, engine = gallery.opened(), engines.of(gallery._address)
    if opened.info["vectors"] == info["vectors"] and not binding.differing(opened.info["model"], info["model"]):
        engine.drop(gallery._address, MIGRATED)
        raise UserError(f"{gallery.path} is of this model already: there is nothing to migrate")
    rows = {row["id"]: row for row in opened.columns().to_pylist()}
    beside = _beside(engine, gallery._address, info, rows)
    done = {row["id"] for row in beside.columns().to_pylist()}
    left = [row for row in rows.values() if row["id"] not in done]
    problems, gone = [], []
    change = adding.write(_pictures(left, listed, problems, gone), len(left), {}, gallery.run,
                          lambda columns, found: beside.write(columns, found), vectors=None, say=gallery.say,
                          stop=gallery._stop)
    if change.stopped:
        return Migrated(len(rows), np.nan, _NEIGHBOURS, 0, [], True)
    _check_whole(gallery.path, [*problems, *change.skipped], gone, remove_vanished)
    new, old = held.read(beside), held.read(opened)
    overlap, sampled = _overlap(old, new)
    opened.replace(beside)
    opened.set_note(None)
    engine.drop(gallery._address, MIGRATED)
    return Migrated(len(new), overlap, _NEIGHBOURS, sampled, gone, False)


def _beside(engine, address: str, info: dict, rows: dict[str, dict]):
    """The table of an interrupted migration to the same model, without the rows that have changed since; or a new one.
    """
    if engine.exists(address, MIGRATED):
        beside = engine.open_table(address, MIGRATED)
        if beside.info["vectors"] == info["vectors"] and beside.info["model"] == info["model"]:
            beside.delete([row["id"] for row in beside.columns().to_pylist() if rows.get(row["id"]) != row])
            return beside
    return engine.create(address, info, MIGRATED)


def _pictures(rows: list[dict], listed: pictures.Listed | None, problems: list[str], gone: list[str]):
    """What is to be embedded, with the words of the old rows. A picture that is another one now counts as changed, and
    is a problem, as its old vector is of another picture."""
    of_id = {row["id"]: row for row in rows}
    parts = pictures.again(rows) if listed is None else listed.read()
    found = itertools.chain.from_iterable(parts)
    seen = set()
    for picture in found:
        row = of_id.get(picture.id)
        if row is None:
            continue
        seen.add(picture.id)
        if picture.problem and listed is None and not storage.exists(pictures.unescaped(row["path"])):
            gone.append(picture.id)
        elif picture.problem:
            problems.append(picture.problem)
        elif picture.digest != row["digest"]:
            problems.append(f"{picture.id}: its picture has changed since it was added")
        else:
            yield [picture._replace(path=row["path"], label=row["label"], metadata=row["metadata"])]
    gone += [name for name in of_id if name not in seen]


def _check_whole(folder: str, problems: list[str], gone: list[str], remove_vanished: bool) -> None:
    shown = lambda lines: "; ".join(lines[:_SHOWN]) + (f"; and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN
                                                       else "")
    if problems:
        raise UserError(f"{folder} is as it was: {len(problems)} of its pictures cannot be embedded anew: "
                        f"{shown(problems)}. With the old model, geodesic gallery update takes up those that have "
                        f"changed, and remove those that cannot be read; then migrate goes on")
    if gone and not remove_vanished:
        raise UserError(f"{folder} is as it was: {len(gone)} of its pictures are not there: {shown(gone)}. Bring them "
                        f"back, say with --images where they are, or give --remove_vanished; then migrate goes on")


def _overlap(old: held.Held, new: held.Held) -> tuple[float, int]:
    """(the mean share of the nearest rows that the two have in common, of how many rows)."""
    ids = [name for name in new.places if name in old.places]
    k = min(_NEIGHBOURS, len(ids) - 1)
    if k < 1:
        return float("nan"), len(ids)
    sample = [ids[place] for place in np.unique(np.linspace(0, len(ids) - 1, _SAMPLE).astype(int))]
    both = []
    for one in (old, new):
        names = one.columns["id"].to_pylist()
        found = one.top(one.vectors([one.places[name] for name in sample]), k + 1)[0]
        both.append([[names[place] for place in row if place >= 0 and names[place] != name][:k]
                     for name, row in zip(sample, found, strict=True)])
    return float(np.mean([len({*before} & {*after}) / k for before, after in zip(*both, strict=True)])), len(sample)
