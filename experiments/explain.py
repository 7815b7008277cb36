"""Shows why two pictures match, place by place; or, of one picture, why it has its class.

    geodesic explain --workdir=runs/faces one.jpg other.jpg [--out=why.html]
    geodesic explain --workdir=runs/birds photo.jpg [--class=wren] [--out=why.png]

What each place of a picture adds to the cosine, or to the score of the class, is exact where the embedding is a sum
over the places of a map, as it is with every pooling and neck: the map sums to the cosine. Places that are joined add
most together. Grad-CAM is shown beside it; --curves measures both, by taking the places away and by bringing them.
"""

import os

import numpy as np
from absl import flags

from geodesic.errors import UserError
from geodesic.experiments.process import cli
from geodesic.experiments.reporting import explained
from geodesic.experiments.trained import attribution, inputs, loading


def define_flags() -> None:
    flags.DEFINE_string("class", "", "Of one picture: the class to explain, in place of the likeliest.")
    flags.DEFINE_string("out", "", f"File to write, {', '.join(explained.EXTENSIONS)}; default: explained.html in "
                        "--workdir.")
    flags.DEFINE_bool("curves", False, "Measure the maps by deletion and insertion: some 130 more images a picture.")


def main(config, values, images: list[str]) -> None:
    wanted = getattr(values, "class")
    if len(images) not in (1, 2):
        raise UserError(f"explain takes one picture or two; got {len(images)}: --workdir=RUN ONE [OTHER]")
    if len(images) == 2 and wanted:
        raise UserError("--class is of one picture; of two, their cosine is explained")
    out = values.out or os.path.join(values.workdir, "explained.html")
    if not out.endswith(explained.EXTENSIONS):
        raise UserError(f"--out is one of {', '.join(explained.EXTENSIONS)}; got {out!r}")
    inputs.as_source(images)  # before a model is loaded
    run = loading.load(values.workdir, config)
    record, rows, links, curves = (_pair if len(images) == 2 else _scored)(run, images, wanted, values.curves)
    print(record["what"])
    for one in record.get("channels", [])[:5]:
        print(f"  number {one['channel']} adds {one['adds']:+.4f}")
    for one in curves or []:
        print(f"  {one['name']}: deletion {one['deletion_area']:.4f}, insertion {one['insertion_area']:.4f}")
    explained.write(out, record | {"curves": curves}, rows, links, curves)
    print(f"shown in {out}")


def _pair(run, images: list[str], _: str, curves: bool):
    found = attribution.pair(run, *images)
    names = [os.path.basename(path) for path in images]
    links = [] if found.links is None else explained.strongest_links(found.links)
    record = {
        "title": f"{names[0]} and {names[1]}: cosine {found.cosine:.4f}",
        "what": f"cosine {found.cosine:.4f}{_verdict(run, found.cosine)}; {_sums(found)}.",
        "images": images, "cosine": found.cosine, "exact": found.exact, "error": found.error, "model": run.identity,
        "channels": explained.channels_of(found), "links": links, "maps": [map_.tolist() for map_ in found.maps]}
    rows = [*zip(names, found.views, found.maps, found.gradients, strict=True)]
    measured = None
    if curves:
        unit = run.embed(list(found.views))
        measured = [one | {"name": f"{name}, {one['name']}"} for place, (name, view, map_, gradient) in enumerate(rows)
                    for one in explained.curves_of(lambda shown, place=place: run.embed(shown) @ unit[1 - place], view,
                                                   {"our map": map_, "Grad-CAM": gradient})]
    return record, rows, links, measured


def _scored(run, images: list[str], wanted: str, curves: bool):
    found = attribution.scored(run, images[0], wanted)
    name = os.path.basename(images[0])
    record = {
        "title": f"{name}: {found.name}, {found.kind} {found.score:.4f}",
        "what": f"{found.name}: {found.kind} {found.score:.4f}; {_sums(found)}.",
        "images": images, "class": found.name, "score": found.score, "exact": found.exact, "error": found.error,
        "model": run.classifier_identity, "maps": [found.map.tolist()]}
    measured = None
    if curves:
        place = run.class_names.index(found.name)
        score = lambda shown: run.classify(shown)[:, place]
        measured = explained.curves_of(score, found.view, {"our map": found.map, "Grad-CAM": found.gradient})
    return record, [(name, found.view, found.map, found.gradient)], [], measured


def _verdict(run, cosine: float) -> str:
    try:
        threshold = run.threshold
    except UserError:
        threshold = None
    if threshold is None:
        return " (no threshold is calibrated)"
    return f", {'same' if cosine >= threshold else 'different'} (threshold {threshold:.4f})"


def _sums(found) -> str:
    if found.exact:
        return f"what its places add is exact, and sums to it within {max(found.error, np.finfo(np.float64).eps):.0e}"
    return (f"the head is no sum over places: the maps are gradient times value, an approximation whose sum is off by "
            f"{found.error:.2g}")


if __name__ == "__main__":
    cli.run(main, define_flags, takes="IMAGE [IMAGE]", buckets=("workdir",))
