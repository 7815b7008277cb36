"""Shows why two pictures match, place by place; or, of one picture, why it has its class; of a detector, its best box.

    geodesic explain --workdir=runs/faces one.jpg other.jpg [--out=why.html]
    geodesic explain --workdir=runs/birds photo.jpg [--class=wren] [--out=why.png]
    geodesic explain --workdir=runs/cells photo.jpg [--class=WBC]              # a detector's best box (of a class)

What each place of a picture adds to the cosine, or to the score of the class, is exact where the embedding is a sum
over the places of a map, as it is with every pooling and neck: the map sums to the cosine. Of a detector it is an
approximation, and says how far off. Places that are joined add most together. Grad-CAM is shown beside it; --curves
measures both, by taking the places away and by bringing them.
"""

import os

import numpy as np
from absl import flags

from geodesic.errors import UserError
from geodesic.experiments.process import cli
from geodesic.experiments.reporting import explained
from geodesic.experiments.trained import attribution, box_attribution, inputs, loading


def define_flags() -> None:
    flags.DEFINE_string("class", "", "Of one picture: the class to explain, in place of the likeliest or, of a "
                        "detector, of the best box's.")
    flags.DEFINE_string("out", "", f"File to write, {', '.join(explained.EXTENSIONS)}; default: explained.html in "
                        "--workdir.")
    flags.DEFINE_bool("curves", False, "Measure the maps by deletion and insertion: some 130 more images a picture.")


def main(config, values, images: list[str]) -> None:
    wanted = getattr(values, "class")
    if len(images) not in (1, 2):
        raise UserError(f"explain takes one picture or two; got {len(images)}: --workdir=RUN ONE [OTHER]")
    if len(images) == 2 and wanted:
        raise UserError("--class is of one picture; of two, their cosine is explained")
    if len(images) == 2 and config.task == "detection":
        raise UserError(f"{values.workdir} is a detector, where two pictures have no cosine: give one, whose best "
                        f"box is explained")
    out = values.out or os.path.join(values.workdir, "explained.html")
    if not out.endswith(explained.EXTENSIONS):
        raise UserError(f"--out is one of {', '.join(explained.EXTENSIONS)}; got {out!r}")
    inputs.as_source(images)  # before a model is loaded
    run = loading.load(values.workdir, config)
    explains = _boxed if config.task == "detection" else _pair if len(images) == 2 else _scored
    record, rows, links, curves = explains(run, images, wanted, values.curves)
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
    rows = [*map(explained.Row, names, found.views, found.maps, found.gradients)]
    measured = None
    if curves:
        unit = run.embed(list(found.views))
        measured = [one | {"name": f"{name}, {one['name']}"} for place, (name, view, map_, gradient) in enumerate(
            row[:4] for row in rows)
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
    return record, [explained.Row(name, found.view, found.map, found.gradient)], [], measured


def _boxed(run, images: list[str], wanted: str, curves: bool):
    found = box_attribution.boxed(run, images[0], wanted)
    name, corners = os.path.basename(images[0]), " ".join(f"{side:.0f}" for side in found.box)
    record = {
        "title": f"{name}: {found.name}, score {found.score:.4f}",
        "what": f"{found.name} at {corners}: score {found.score:.4f}, whose logit {found.logit:.4f} is explained; "
                f"{_approximate(found.error)}.",
        "images": images, "class": found.name, "score": found.score, "logit": found.logit, "box": found.box.tolist(),
        "exact": False, "error": found.error, "model": run.identity, "maps": [found.map.tolist()]}
    measured = None
    if curves:
        # A map that is 0 everywhere has no order of places to measure.
        maps = {"our map": found.map} | ({"Grad-CAM": found.gradient} if found.gradient.any() else {})
        measured = explained.curves_of(lambda shown: box_attribution.scores_of(run, shown, found.output), found.view,
                                       maps)
    return record, [explained.Row(name, found.view, found.map, found.gradient, found.shown)], [], measured


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
    return _approximate(found.error)


def _approximate(error: float) -> str:
    return (f"the head is no sum over places: the maps are gradient times value, an approximation whose sum is off by "
            f"{error:.2g}")


if __name__ == "__main__":
    cli.run(main, define_flags, takes="IMAGE [IMAGE]", buckets=("workdir",))
