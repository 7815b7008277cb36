"""Groups pictures by what, or whom, they show: nobody says which groups there are.

    geodesic cluster --workdir=runs/faces --embeddings=photos.parquet [--far=1e-4] --sheet=groups.html --out=groups.csv
    geodesic cluster --gallery=people --links=people_by_face
    geodesic cluster --workdir=runs/faces --images=photos --method=hdbscan

Pictures that are among each other's nearest, and whose cosine reaches the threshold of `geodesic calibrate`, are
linked, and a group is what links connect (--method=neighbours). leiden divides such groups where links are few; kmeans
is told how many groups there are; hdbscan goes by density. Where there are labels, the groups are scored by them.
docs/groups.md says which to take.
"""

from absl import flags

from geodesic.experiments.process import cli, hosts
from geodesic.experiments.protocols import grouping
from geodesic.experiments.reporting import asked, asked_collection, grouped
from geodesic.experiments.trained import collection, thresholds


def define_flags() -> None:
    asked_collection.define()
    flags.DEFINE_enum("method", "neighbours", list(grouping.METHODS), "How groups are made.")
    asked_collection.define_threshold()
    flags.DEFINE_integer("groups", 0, "kmeans: how many groups there are.")
    flags.DEFINE_integer("smallest", 2, "Pictures of smaller groups are left alone.")
    flags.DEFINE_integer("neighbours", 0, "neighbours, leiden: so many nearest pictures may be linked with one; 0: 5, "
                         "and 10 for leiden.")
    flags.DEFINE_integer("probes", -1, "neighbours, leiden: parts in which a picture's neighbours are looked for; 0: "
                         "in all; -1: in all of 100,000 pictures, in 32 parts of more.")
    flags.DEFINE_float("resolution", 1.0, "leiden: the greater, the smaller the groups.")
    flags.DEFINE_integer("seed", 0, "Of k-means' centres, of Leiden's order, of parts and of intervals.")
    flags.DEFINE_string("links", "", "Folder to make, with a folder of links to the pictures for each group.")
    asked.define_form("File to write to, in place of printing.", "A row of pictures for each group")


def main(config, values) -> None:
    hosts.must_be_alone("geodesic cluster")
    asked_collection.check(values)
    asked.check_sheet(values)
    if values.links:
        grouped.check_links(values.links)
    # What is wrong is said before anything is embedded; which threshold it is depends on whose vectors these are.
    there = values.gallery or values.threshold is not None or (values.workdir and thresholds.entries(values.workdir))
    grouping.check(values.method, 0.0 if there else None, values.groups, values.smallest, values.neighbours)
    form = asked.form_of(values)
    say = asked.say_beside(form, values.out)
    found = asked_collection.load(values, config, say)
    limit = collection.threshold(found, values.workdir, values.threshold, values.far) if (
        values.method in grouping.LINKED) else collection.Threshold(None)
    made = grouping.group(found.embeddings, values.method, threshold=limit.cosine, groups=values.groups,
                          smallest=values.smallest, k=values.neighbours, probes=values.probes,
                          resolution=values.resolution, seed=values.seed)
    how = made.how + ([f"threshold: {limit.whence}"] if limit.whence else [])
    if limit.far:
        how.append(grouping.expected(len(found.ids), limit.far))
    scores = grouping.scores(found, made.groups, values.seed)
    text = grouped.text(found, made, scores, how, form)
    asked.give(text, values.out, say, f"{len(found.ids):,} pictures in {made.count:,} groups, "
               f"{len(made.members(-1)):,} left alone: {values.out}", "surrogateescape")
    if values.sheet:
        grouped.write_page(values.sheet, found, made, "; ".join(how))
        say(f"pictures in {values.sheet}")
    if values.links:
        missing = grouped.write_links(values.links, found, made)
        say(f"links in {values.links}" + (f"; {missing:,} pictures are no files here: they have none" if missing else
                                          ""))


if __name__ == "__main__":
    cli.run(main, define_flags, required=(), alone=True, buckets=("workdir", "embeddings", "out", "sheet"))
