"""Keeps a gallery of pictures: adds, removes, and finds who or what a picture shows. docs/gallery.md shows every verb.

    geodesic gallery create  --workdir=runs/faces --gallery=people --images=photos [--vectors=float16]
    geodesic gallery add     --workdir=runs/faces --gallery=people --images=more
    geodesic gallery update  --workdir=runs/faces --gallery=people [--remove_vanished]
    geodesic gallery remove  --gallery=people photos/ann/3.jpg photos/bob    (or --images=photos/bob)
    geodesic gallery search  --workdir=runs/faces --gallery=people --images=query.jpg [--sheet=found.html]
    geodesic gallery list    --gallery=people [--format=json]
    geodesic gallery export  --gallery=people --out=people.parquet
    geodesic gallery compact --gallery=people [--index=ivf_pq]
    geodesic gallery check   --gallery=people [--workdir=runs/faces]
    geodesic gallery migrate --workdir=runs/better --gallery=people

A gallery is bound to the model that made it, and every other one is refused. What was committed stays, whatever ends
the command; the same command goes on. Exit status: 0; 1 of an error, and where `check` finds one; 130 or 143 where a
signal stopped it.
"""

import contextlib
import sys

from absl import flags

from geodesic import datasets
from geodesic.errors import UserError
from geodesic.experiments.galleries import approximate, engines, exporting, table, vectors
from geodesic.experiments.galleries.gallery import Gallery
from geodesic.experiments.process import cli, hosts, progress
from geodesic.experiments.process.stop_signal import StopSignal
from geodesic.experiments.reporting import asked, found, pictures
from geodesic.experiments.trained import inputs, loading

VERBS = ("create", "add", "remove", "update", "search", "list", "export", "compact", "check", "migrate")
_OF_A_MODEL = ("create", "add", "update", "search", "migrate")
_COMMITS = ("create", "add", "update", "migrate")  # again and again: a signal stops them after a commit


def define_flags() -> None:
    flags.DEFINE_string("gallery", "", "Where the gallery is: a folder, s3://BUCKET/FOLDER, gs://BUCKET/FOLDER, "
                        "postgresql://USER@HOST/DATABASE#NAME, or qdrant://HOST:PORT/NAME.")
    asked.define_pictures("A picture, a folder of pictures with its sub-folders, or a manifest (.csv, .parquet, "
                          "FILE#SPLIT), whose column id names the rows.")
    flags.DEFINE_enum("vectors", "", ["", *vectors.KINDS], "create, migrate: how vectors are stored; default: float32, "
                      "or as they were.")
    flags.DEFINE_integer("k", 10, "search: neighbours of each picture.")
    flags.DEFINE_float("threshold", None, "search: below this cosine a picture is unknown; default: as `geodesic "
                       "calibrate` has set.")
    flags.DEFINE_float("far", 0.0, "search: the threshold of this false accept rate; 0 = of the smallest there is.")
    flags.DEFINE_enum("index", "", ["", *engines.INDEXES], "compact: make such an approximate index; search: ask it.")
    flags.DEFINE_float("recall", approximate.RECALL, "An index that finds less of the true 10 or 100 neighbours is "
                       "refused.")
    flags.DEFINE_integer("probes", approximate.PROBES, "compact: parts of the index that a query looks into.")
    flags.DEFINE_bool("remove_vanished", False, "update, migrate: remove the rows whose pictures have gone.")
    flags.DEFINE_bool("pictures", True, "check: look at the pictures too.")
    asked.define_form("search, list: file to write to, in place of printing; export: the .parquet file.",
                      "search: where to put the pictures that were found", of="search, list: ")


def main(config, values, arguments: list[str]) -> int:
    hosts.must_be_alone("geodesic gallery")
    verb, *names = arguments or [""]
    if verb not in VERBS:
        raise UserError(f"a gallery knows {', '.join(VERBS)}; got {verb!r}" if verb else
                        f"what is to be done? geodesic gallery {'|'.join(VERBS)} --gallery=...")
    if names and verb != "remove":
        raise UserError(f"unexpected argument {names[0]!r}: every option is --name=value")
    _check(verb, names, values)
    run = loading.load(values.workdir, config) if values.workdir else None
    signals = StopSignal()
    with signals if verb in _COMMITS else contextlib.nullcontext():
        say = lambda line: print(line, file=sys.stderr if verb in ("search", "list") else sys.stdout, flush=True)
        gallery = Gallery(values.gallery, run, say=say, stop=lambda: signals.received is not None)
        status = _VERBS[verb](gallery, values, names) or 0
        return 128 + signals.received if signals.received else status


def _check(verb: str, names: list[str], values) -> None:
    """Raises UserError for what can be seen before a model is loaded; of the options, before anything else."""
    if verb in _OF_A_MODEL and not values.workdir:
        raise UserError(f"--workdir=... is required: geodesic gallery {verb} needs the model")
    asked.check_pictures(values, required=verb in ("add", "search"))
    if values.source and verb in ("update", "remove"):
        raise UserError(f"{verb} looks at pictures where the rows say they are: --images=... is a folder, or a file")
    if verb == "remove" and not (names or values.images):
        raise UserError("what is to be removed? geodesic gallery remove --gallery=... ID_OR_PICTURE_OR_FOLDER ...")
    asked.check_sheet(values)
    if verb == "export":
        exporting.check_extension(values.out)
    engine = engines.of(values.gallery)
    engine.require()
    if verb != "create" and not engine.exists(values.gallery):
        raise table.none_there(table.shown(values.gallery))


def _images(values):
    return datasets.build(values.source, path=values.path) if values.source else values.images or None


def _create(gallery: Gallery, values, _) -> None:
    images = _images(values)
    images = images and gallery.source(images)  # it is looked for before anything is written
    gallery.create(values.vectors or "float32")
    print(f"gallery in {gallery.path}, of {gallery.run!r}, vectors in {gallery.info['vectors']}")
    if images is not None:
        _tell(gallery, gallery.add(images))


def _add(gallery: Gallery, values, _) -> None:
    _tell(gallery, gallery.add(_images(values)))


def _update(gallery: Gallery, values, _) -> None:
    _tell(gallery, gallery.update(values.images or None, remove_vanished=values.remove_vanished))


def _remove(gallery: Gallery, values, names: list[str]) -> None:
    names += filter(None, [values.images])
    print(f"{gallery.remove(names):,} row(s) removed, {len(gallery):,} left; geodesic gallery compact takes them off "
          f"the disk too")


def _search(gallery: Gallery, values, _) -> None:
    written = asked.form_of(values)
    source = gallery.source(_images(values))
    gallery.check_bound()
    with progress.bar("embedding", len(source)) as advance:
        embedded = gallery.run.embed_queries(source, advance)
    kept, problems = inputs.usable(source, embedded.embeddings, embedded.readable, embedded.problems,
                                   "its embedding is")
    for problem in problems:
        gallery.say(f"skipped: {problem}")
    if not len(kept):
        raise UserError(f"no picture of {asked.which(values)} can be read")
    results = gallery.find(embedded.embeddings[kept], [source.paths[place] for place in kept], values.k,
                           threshold=values.threshold, far=values.far, index=values.index, recall=values.recall)
    limit = gallery.threshold(values.threshold, values.far)
    how = ("no threshold: nothing is called unknown; geodesic calibrate sets one, or --threshold" if limit is None else
           f"unknown: the nearest row has a cosine below {limit:.4f}")
    if values.index:
        how += f"; {approximate.describe(gallery.index_of(values.index, values.recall))}"
    _write(found.text(results, written, how), values.out, gallery.say)
    if values.sheet:
        places = {source.paths[place]: place for place in kept}
        read = lambda path: datasets.decode(source[places[path]]) if path in places else pictures.read_file(path)
        found.write(values.sheet, results, read, how)
        gallery.say(f"pictures in {values.sheet}")


def _list(gallery: Gallery, values, _) -> None:
    _write(found.rows_text(gallery.rows(), asked.form_of(values)), values.out, gallery.say)


def _export(gallery: Gallery, values, _) -> None:
    print(f"{gallery.export(values.out):,} row(s) in {values.out}")


def _compact(gallery: Gallery, values, _) -> None:
    made = gallery.compact(values.index, recall=values.recall, probes=values.probes)
    print(f"{len(gallery):,} row(s) in few files" + (f"; {approximate.describe(made)}" if made else ""))


def _check_all(gallery: Gallery, values, _) -> int:
    checked = gallery.check(look=values.pictures)
    for line in checked.problems:
        print(f"wrong: {line}")
    _some("changed", checked.changed, "geodesic gallery update embeds them anew")
    _some("vanished", checked.vanished, "geodesic gallery update --remove_vanished removes them")
    looked = (f"; pictures: {len(checked.unchanged):,} as they were, {len(checked.changed):,} changed, "
              f"{len(checked.vanished):,} vanished" if values.pictures else "")
    anew = "" if checked.cosine is None else f"; embedded anew, the least cosine of some is {checked.cosine:.4f}"
    print(f"{checked.rows:,} row(s), {len(checked.problems)} of them wrong{looked}{anew}")
    return 1 if checked.problems else 0


def _migrate(gallery: Gallery, values, _) -> None:
    done = gallery.migrate(_images(values), dtype=values.vectors, remove_vanished=values.remove_vanished)
    if done.stopped:
        print(f"stopped: {gallery.path} is as it was, and the same command goes on")
        return
    _some("vanished", done.removed, "their rows were removed")
    print(f"{done.rows:,} row(s), now of {gallery.run!r}; of a row's {done.neighbours} nearest neighbours "
          f"{done.overlap:.3f} are what they were (mean of {done.sampled:,} rows)")


def _tell(gallery: Gallery, change) -> None:
    print(found.change_text(change, len(gallery), gallery.path), end="", flush=True)


def _some(what: str, names, then: str) -> None:
    print(found.names_text(what, names, then), end="")


def _write(text: str, out: str, say) -> None:
    asked.give(text, out, say, f"written to {out}", "surrogateescape")  # names as they are on the disk


_VERBS = dict(zip(VERBS, (_create, _add, _remove, _update, _search, _list, _export, _compact, _check_all, _migrate),
                  strict=True))

if __name__ == "__main__":
    cli.run(main, define_flags, required=("gallery",), takes=f"{'|'.join(VERBS)} [ID_OR_PICTURE_OR_FOLDER ...]",
            alone=True, buckets=("workdir", "out", "sheet"))
