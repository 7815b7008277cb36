"""Embeds a folder of images, or any other source, with a trained run.

    geodesic embed --workdir=runs/faces --images=photos --out=photos.parquet
    geodesic embed --workdir=runs/faces --source=manifest --path=people.csv#gallery --out=gallery.parquet
    geodesic embed --workdir=runs/faces --images=photos --gallery=people

Paths are stored relative to --root, so that pictures and embeddings can be moved together. docs/embedding_files.md has
the format. --gallery adds to a gallery instead (docs/gallery.md), also from all hosts of a pod.
"""

import os

from absl import flags

from geodesic import datasets
from geodesic.errors import UserError
from geodesic.experiments.galleries import engines, shared
from geodesic.experiments.process import cli, hosts, progress, storage
from geodesic.experiments.reporting import asked, found
from geodesic.experiments.trained import embedding_file, inputs, loading
from geodesic.metrics import retrieval

# So many paths of a source say whether its images are files.
_LOOKED_AT = 1000


def define_flags() -> None:
    asked.define_pictures("Folder of images to embed, searched with its sub-folders.")
    flags.DEFINE_string("root", "", "Folder to which the paths in --out are relative; default: --images, or the "
                        "deepest one that holds all pictures of --source.")
    flags.DEFINE_bool("labels", True, "Write the name of each image's class too, where the source has classes.")
    flags.DEFINE_string("out", "", "Where to write the embeddings: a .parquet or .npz file.")
    flags.DEFINE_string("gallery", "", "In place of --out: the gallery to add them to, as of geodesic gallery; it is "
                        "made where there is none.")
    flags.DEFINE_bool("overwrite", False, "Replace --out where it exists.")


def main(config, values) -> int:
    """Exit status 0, or 1 when not one image could be read."""
    if bool(values.out) == bool(values.gallery):
        raise UserError("--out=... is required, or --gallery=..., and not both")
    if values.gallery:
        return _into_gallery(config, values)
    embedding_file.check_extension(values.out)
    if storage.exists(values.out) and not values.overwrite:
        raise UserError(f"{values.out} exists: choose another --out, or give --overwrite")
    source = _source(values)
    root = _root(source, values)
    run = loading.load(values.workdir, config)
    with progress.bar("embedding", len(source)) as advance:
        embedded = run.embed_source(source, advance)
    kept, problems = inputs.usable(source, embedded.embeddings, embedded.readable, embedded.problems,
                                   "its embedding is")
    for problem in problems:
        print(f"skipped: {problem}")
    if not len(kept):
        raise UserError(f"none of the {len(source)} images of {asked.which(values)} "
                        + ("has a finite embedding: the weights, or the preprocessing, are not those of a trained "
                           "model" if embedded.readable.any() else "can be read") + "; nothing written")
    content = embedding_file.Embeddings(
        [source.paths[index] for index in kept], retrieval.normalized(embedded.embeddings[kept]), run.identity,
        [source.class_names[source.labels[index]] for index in kept] if values.labels and any(source.class_names)
        else None, root)
    hosts.first_does(lambda: embedding_file.write(values.out, content))
    print(f"{len(kept)} embeddings of {embedded.embeddings.shape[1]} numbers in {values.out}"
          + (f"; {len(problems)} image(s) skipped" if problems else ""))
    return 0


def _into_gallery(config, values) -> int:
    asked.check_pictures(values)
    engines.of(values.gallery).require()
    run = loading.load(values.workdir, config)
    gallery = run.gallery(values.gallery, say=lambda line: print(line, flush=True))
    change = shared.add(gallery, asked.pictures(values) if values.source else values.images)
    if change is not None:
        print(found.change_text(change, len(gallery), gallery.path), end="", flush=True)
    return 0


def _source(values) -> datasets.Source:
    asked.check_pictures(values)
    return datasets.build(values.source or "image_folder", path=values.images or values.path)


def _root(source: datasets.Source, values) -> str:
    """The folder that holds all pictures, an absolute path; "" where the source's images are no files."""
    are_files = isinstance(source, datasets.Files) and storage.is_remote(source.paths[0])
    if not are_files and not any(map(os.path.lexists, source.paths[:_LOOKED_AT])):
        if values.root:
            raise UserError(f"--root={values.root}: the images of source {values.source!r} are no files")
        return ""
    root = values.root or values.images
    if not root:
        return storage.common_folder(source.paths)
    for path in source.paths:
        embedding_file.below(storage.absolute(root), path)
    return storage.absolute(root)


if __name__ == "__main__":
    cli.run(main, define_flags, required=("workdir",), buckets=("workdir", "out"))
