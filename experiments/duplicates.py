"""Finds pictures that are the same: the same file, the same pixels, or one of them edited.

    geodesic duplicates --images=photos --sheet=same.html [--workdir=runs/faces]
    geodesic duplicates --images=photos/train --against=photos/test --workdir=weights/resnet50 --out=leaks.csv
    geodesic duplicates --embeddings=photos.parquet

A copy may have been cropped, framed, turned, mirrored, written upon, made smaller or compressed. Hashes of how pictures
look, and with --workdir or kept vectors their embeddings, name candidates; then one picture is laid over the other, and
their pixels must agree. Two photographs of one thing are no copies. Exit status 1 where a picture of --images is in
--against too. docs/groups.md has what is found of thirteen edits.
"""

import os

import numpy as np
from absl import flags

from geodesic import datasets
from geodesic.datasets import overlay
from geodesic.errors import UserError
from geodesic.experiments.process import cli, hosts, progress
from geodesic.experiments.protocols import duplicates
from geodesic.experiments.reporting import asked, asked_collection, duplicated
from geodesic.experiments.trained import inputs, loading
from geodesic.metrics import retrieval


def define_flags() -> None:
    asked_collection.define()
    flags.DEFINE_string("against", "", "Folder of further pictures: what is in both is told of first.")
    flags.DEFINE_integer("distance", duplicates.DISTANCE, "Pictures are looked at closely whose hashes differ in so "
                         "many of 64 bits at most; -1: none by their hashes.")
    flags.DEFINE_integer("neighbours", duplicates.NEIGHBOURS, "So many nearest by their vectors are looked at closely.")
    flags.DEFINE_float("agrees", overlay.AGREES, "From which correlation of their pixels two pictures are the same.")
    flags.DEFINE_integer("threads", os.cpu_count() or 1, "Threads that read and compare.")
    asked.define_form("File to write to, in place of printing.", "A row of pictures for each group")


def main(config, values) -> int:
    """Exit status 0, or 1 where a picture is on both sides of --against."""
    hosts.must_be_alone("geodesic duplicates")
    _check(values)
    form = asked.form_of(values)
    say = asked.say_beside(form, values.out)
    parts, embeddings = _pictures(values, config, say)
    seen = {name: duplicates.look(source, name, values.threads) for name, source in parts.items()}
    for image in (image for found in seen.values() for image in found if "problem" in image):
        say(f"skipped: {image['problem']}")
    pairs = duplicates.find(parts, seen, embeddings, distance=values.distance, neighbours=values.neighbours,
                            agrees=values.agrees, threads=values.threads)
    paths = [path for source in parts.values() for path in source.paths]
    names = [name for name, source in parts.items() for _ in range(len(source))]
    how = [f"{len(paths):,} pictures; edited: pixels agree to {values.agrees:g} at least, among those that "
           + ("look alike or are near by their vectors" if embeddings is not None else "look alike; with --workdir, or "
              "kept vectors, crops and the like are found too")]
    text = duplicated.text(pairs, paths, names, how, form)
    asked.give(text, values.out, say, f"{len(pairs):,} pair(s) in {values.out}; "
               + "; ".join(duplicated.counts(pairs, names)), "surrogateescape")
    if values.sheet and pairs:
        where = [(source, index) for source in parts.values() for index in range(len(source))]
        duplicated.write(values.sheet, pairs, paths, names,
                         lambda place: datasets.decode(where[place][0][where[place][1]]), how[0])
        say(f"pictures in {values.sheet}")
    return int(any(names[pair.one] != names[pair.other] for pair in pairs))


def _check(values) -> None:
    """Raises UserError for what cannot be done, before anything is read."""
    asked.check_sheet(values)
    given = [name for name in ("gallery", "embeddings") if getattr(values, name)]
    if given:
        asked_collection.check(values)
        if values.against:
            raise UserError(f"--against goes with --images: the pictures of --{given[0]} have vectors, and its do not")
    else:
        asked.check_pictures(values)
    if not -1 <= values.distance <= 16 or values.threads < 1 or values.neighbours < 1 or not 0 < values.agrees <= 1:
        raise UserError(f"--distance is -1..16, --threads and --neighbours at least 1, --agrees between 0 and 1; got "
                        f"{values.distance}, {values.threads}, {values.neighbours} and {values.agrees:g}")


def _pictures(values, config, say) -> tuple[dict, np.ndarray | None]:
    """(name -> source, vectors of all of them or None)."""
    if values.gallery or values.embeddings:
        found = asked_collection.load(values, config, say)
        files = [place for place, path in enumerate(found.paths) if path]
        if len(files) < len(found.ids):
            say(f"{len(found.ids) - len(files):,} pictures are no files, and are left out")
        source = datasets.Files([found.paths[place] for place in files], [0] * len(files), [""])
        return {"pictures": source}, found.embeddings[files]
    parts = {"images" if values.against else "pictures": asked.pictures(values)}
    if values.against:
        parts["against"] = inputs.as_source(values.against)
    if not values.workdir:
        return parts, None
    run, rows = loading.load(values.workdir, config), []
    for source in parts.values():
        with progress.bar("embedding", len(source)) as advance:
            embedded = run.embed_source(source, advance)
        finite = embedded.readable & np.isfinite(embedded.embeddings).all(axis=1)
        rows.append(retrieval.normalized(np.where(finite[:, None], embedded.embeddings, 0)))
    return parts, np.concatenate(rows)


if __name__ == "__main__":
    cli.run(main, define_flags, required=(), alone=True, buckets=("workdir", "embeddings", "out", "sheet"))
