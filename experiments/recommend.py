"""Recommends pictures: more like these, and unlike those.

    geodesic recommend --gallery=shop --like=photos/apple/1.jpg,photos/pear/7.jpg [--unlike=photos/juice/2.jpg]
    geodesic recommend --workdir=runs/shop --embeddings=shop.parquet --like=new.jpg --diversity=0.3 --sheet=more.html

What is looked for is the mean of what is liked minus half the mean of what is not; with --diversity what is near to
something that is recommended already comes later. The pictures that are liked or disliked are never recommended.
docs/groups.md has what it reaches.
"""

from absl import flags

from geodesic.errors import UserError
from geodesic.experiments.process import cli, hosts
from geodesic.experiments.reporting import asked, asked_collection, pictures, recommended
from geodesic.experiments.trained import loading, recommending


def define_flags() -> None:
    asked_collection.define()
    flags.DEFINE_list("like", [], "Ids or pictures, with commas between them, that are liked.")
    flags.DEFINE_list("unlike", [], "Ids or pictures that are not.")
    flags.DEFINE_integer("k", 10, "How many are recommended.")
    flags.DEFINE_float("diversity", 0.0, "0: the nearest, however alike; 1: the most different among the near ones.")
    asked.define_form("File to write to, in place of printing.", "The pictures")


def main(config, values) -> None:
    hosts.must_be_alone("geodesic recommend")
    asked_collection.check(values)
    asked.check_sheet(values)
    if not values.like:
        raise UserError("what is liked? --like=ID_OR_PICTURE,...")
    if values.k < 1 or not 0 <= values.diversity <= 1:
        raise UserError(f"--k is at least 1, --diversity between 0 and 1; got {values.k} and {values.diversity:g}")
    form = asked.form_of(values)
    say = asked.say_beside(form, values.out)
    run = loading.load(values.workdir, config) if values.workdir else None
    found = asked_collection.load(values, config, say, run)
    liked, disliked = (recommending.seeds(found, names, run, asked_collection.which(values))
                       for names in (values.like, values.unlike))
    rows = recommending.recommend(found, liked, disliked, values.k, values.diversity)
    how = (f"{len(rows)} of {len(found.ids):,} pictures, by their cosine to the mean of {len(liked.names)} liked"
           + (f" minus half the mean of {len(disliked.names)} disliked" if disliked.names else "")
           + (f"; diversity {values.diversity:g}" if values.diversity else ""))
    text = recommended.text(rows, liked, disliked, how, form)
    asked.give(text, values.out, say, f"written to {values.out}", "surrogateescape")
    if values.sheet:
        recommended.write(values.sheet, found, rows, liked, disliked, pictures.read_file, how)
        say(f"pictures in {values.sheet}")


if __name__ == "__main__":
    cli.run(main, define_flags, required=(), alone=True, buckets=("workdir", "embeddings", "out", "sheet"))
