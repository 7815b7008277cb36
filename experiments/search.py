"""Finds the nearest images to one or many: a ranked table and a contact sheet.

    geodesic search --workdir=runs/faces --embeddings=photos.parquet --query=face.jpg --out=found.png
"""

import os

import rich.table
from absl import flags

from geodesic import datasets
from geodesic.errors import UserError
from geodesic.experiments.process import cli, console, hosts, storage
from geodesic.experiments.reporting import pictures
from geodesic.experiments.trained import embedding_file, loading, thresholds
from geodesic.metrics import retrieval


def define_flags() -> None:
    flags.DEFINE_string("embeddings", "", "File of geodesic embed to search in.")
    flags.DEFINE_string("root", "", "Folder below which the pictures of --embeddings lie now; default: where they "
                        "were, relative to that file if they lay below its folder.")
    flags.DEFINE_string("query", "", "An image, or a folder of images.")
    flags.DEFINE_string("out", "", "Where to write the contact sheet, a .png file; default: search.png in --workdir.")
    flags.DEFINE_integer("k", 8, "Neighbours to show.")
    flags.DEFINE_float("far", 0.0, "Mark hits by the threshold of this false accept rate; 0 = of the smallest that "
                       "`geodesic calibrate` has set.")


def main(config, values) -> None:
    gallery = embedding_file.read(values.embeddings, values.root)
    source = _queries(values.query)
    out = values.out or os.path.join(values.workdir, "search.png")
    if not out.endswith(".png"):
        raise UserError(f"the contact sheet is a .png file; got {out!r}")
    run = loading.load(values.workdir, config)
    embedding_file.check_same(gallery.identity, run.identity, values.embeddings)
    calibrated = _threshold(values, run.identity)
    embedded = run.embed_source(source)
    for problem in embedded.problems:
        print(f"skipped: {problem}")
    kept = embedded.readable.nonzero()[0]
    if not len(kept):
        raise UserError(f"no query image of {values.query} can be read")
    paths = [source.paths[index] for index in kept]
    results = find(retrieval.normalized(embedded.embeddings[kept]), paths, gallery, values.k)
    print_table(results, calibrated["threshold"] if calibrated else None)
    if calibrated:
        print(f"same: cosine at least {calibrated['threshold']:.4f}; {thresholds.describe_rates(calibrated)}")
    _say_missing(results, gallery.root)
    hosts.first_does(lambda: pictures.write_png(pictures.contact_sheet(results), out))
    print(f"contact sheet in {out}")


def _threshold(values, model: dict) -> dict | None:
    """The stored threshold; one of another checkpoint stops the search only where --far asks for it."""
    try:
        found = thresholds.load(values.workdir, model, values.far)
    except ValueError as error:
        if values.far:
            raise
        print(f"hits are not marked: {error}")
        return None
    if values.far and found is None:
        raise UserError(f"--far={values.far:g}: {values.workdir} has no threshold, set one with geodesic calibrate")
    return found


def _say_missing(results, root: str) -> None:
    found = {path for _, hits in results for path, _ in hits}
    missing = storage.each(storage.exists, [*found]).count(False) if root else 0
    if missing:
        print(f"{missing} of the {len(found)} pictures that were found are not below {root} any more: --root=FOLDER "
              f"says where they are")


def find(queries, paths: list[str], gallery: embedding_file.Embeddings, k: int) -> list[pictures.Found]:
    """(query path, [(gallery path, cosine), ...] best first). A query that lies in the gallery does not find itself."""
    if k < 1:
        raise UserError(f"--k={k}: ask for at least one neighbour")
    place = {os.path.realpath(path): index for index, path in enumerate(gallery.paths)}
    exclude = [place.get(os.path.realpath(path), -1) for path in paths]
    inside = any(row >= 0 for row in exclude)
    k = min(k, len(gallery.paths) - inside)
    if k < 1:
        raise UserError("the embeddings hold the query alone: there is nothing to find")
    indices, scores = retrieval.neighbors(queries, gallery.embeddings, k, exclude=exclude if inside else None)
    return [(path, [(gallery.paths[index], float(score)) for index, score in zip(found, cosines, strict=True)])
            for path, found, cosines in zip(paths, indices, scores, strict=True)]


def print_table(results, threshold: float | None = None) -> None:
    """Paths are shown below the folder that all of the results share; hits of at least `threshold` are marked."""
    shown = [path for query, found in results for path in (query, *(path for path, _ in found))]
    root = storage.common_folder(shown)
    print("nearest by cosine" + (f"; paths are below {root}" if root else ""))
    short = lambda path: storage.absolute(path).removeprefix(os.path.join(root, "")) if root else path
    table = rich.table.Table()
    for name, justify in (("query", "left"), ("rank", "right"), ("cosine", "right"), ("image", "left")):
        table.add_column(name, justify=justify, overflow="fold")
    if threshold is not None:
        table.add_column("same")
    for query, found in results:
        for rank, (path, cosine) in enumerate(found, start=1):
            mark = [] if threshold is None else ["yes" if cosine >= threshold else ""]
            table.add_row(short(query) if rank == 1 else "", str(rank), f"{cosine:.4f}",
                          short(path), *mark, end_section=rank == len(found))
    console.plain().print(table)


def _queries(path: str) -> datasets.Source:
    if storage.is_file(path):
        return datasets.Files([path], [0], [""])
    if not storage.exists(path):
        raise FileNotFoundError(f"no query {path!r}: expected an image or a folder of images")
    return datasets.build("image_folder", path=path)


if __name__ == "__main__":
    cli.run(main, define_flags, required=("workdir", "embeddings", "query"),
            buckets=("workdir", "embeddings", "query", "out"))
