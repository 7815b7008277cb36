"""Embeds a folder of images with a trained run.

    geodesic embed --workdir=runs/faces --images=photos --out=photos.parquet
"""

import os

from absl import flags

from geodesic import datasets
from geodesic.errors import UserError
from geodesic.experiments.process import cli, hosts, progress
from geodesic.experiments.trained import embedding_file, loading
from geodesic.metrics import retrieval


def define_flags() -> None:
    flags.DEFINE_string("images", "", "Folder of images to embed, searched with its sub-folders.")
    flags.DEFINE_string("out", "", "Where to write the embeddings: a .parquet or .npz file.")
    flags.DEFINE_bool("overwrite", False, "Replace --out where it exists.")


def main(config, values) -> int:
    """Exit status 0, or 1 when not one image could be read."""
    embedding_file.check_extension(values.out)
    if os.path.exists(values.out) and not values.overwrite:
        raise UserError(f"{values.out} exists: choose another --out, or give --overwrite")
    source = datasets.build("image_folder", path=values.images)
    run = loading.load(values.workdir, config)
    with progress.bar("embedding", len(source)) as advance:
        embedded = run.embed_source(source, advance)
    for problem in embedded.problems:
        print(f"skipped: {problem}")
    kept = embedded.readable.nonzero()[0]
    if not len(kept):
        raise UserError(f"none of the {len(source)} images of {values.images} can be read: nothing written")
    found = embedding_file.Embeddings([source.paths[index] for index in kept],
                                      retrieval.normalized(embedded.embeddings[kept]), run.identity)
    hosts.first_does(lambda: embedding_file.write(values.out, found))
    print(f"{len(kept)} embeddings of {embedded.embeddings.shape[1]} numbers in {values.out}"
          + (f"; {len(embedded.problems)} image(s) skipped" if embedded.problems else ""))
    return 0


if __name__ == "__main__":
    cli.run(main, define_flags, required=("workdir", "images", "out"))
