"""Writes a trained run, or imported weights, as files that other programs run: ONNX, the same in eight bits, StableHLO,
safetensors.

    geodesic export --workdir=runs/faces --out=exported
    geodesic export --workdir=runs/birds --out=exported --output=scores --formats=onnx,stablehlo,safetensors
    geodesic export --workdir=runs/birds --out=exported --free_size
    geodesic export --workdir=runs/cells --out=exported [--output=boxes]
    geodesic export --workdir=weights/resnet50 --out=exported --layer=stage3 --images=photos

Each file is run by its own runtime in a process without this code, on real pictures: where it does not give what the
run gives, nothing is kept, and the exit status is 1. docs/export.md says how to use the files.
"""

from absl import flags

from geodesic.experiments.process import cli, hosts
from geodesic.experiments.trained import export, export_wanted, loading


def define_flags() -> None:
    flags.DEFINE_list("formats", ["onnx"], f"Of {', '.join(export_wanted.FORMATS)}.")
    flags.DEFINE_string("out", "", "Folder to write, which must be new or empty.")
    flags.DEFINE_enum("output", "", ["", *export_wanted.OUTPUTS], "embedding: of length 1, as `geodesic embed` writes "
                      "it; scores: of the run's classes; map: the layer as it is; of a detector detections: the best "
                      "boxes, as `geodesic detect` finds them; boxes: those of all points, with their scores. Default: "
                      "embedding, or detections.")
    flags.DEFINE_string("layer", "", "The named layer to take, averaged over its map but for --output=map; default: "
                        "that of --config.evaluation.layer.")
    flags.DEFINE_bool("preprocessing", True, "The files take uint8 pixels, and normalise them; without, they take "
                      "numbers that are normalised.")
    flags.DEFINE_bool("free_size", False, "The files take pictures of any height and width, or of multiples of the "
                      "network's stride, where the network allows it.")
    flags.DEFINE_string("images", "", "Folder of real pictures to compare on; default: the run's test data.")


def main(config, values) -> None:
    hosts.must_be_alone("geodesic export")
    wanted = export_wanted.wanted(config, values.out, values.formats, layer=values.layer or None, output=values.output,
                           preprocessing=values.preprocessing, free_size=values.free_size,
                           images=values.images or None)
    record = export.export(loading.load(values.workdir, config), wanted, print)
    given = record["output"]
    arrays = given.get("arrays") or {given["name"]: given["shape"]}
    print(f"written to {values.out}: {record['input']['dtype']} {record['input']['shape']} -> "
          + ", ".join(f"{name} {shape}" for name, shape in arrays.items())
          + (f" of {given['layer']}" if given["layer"] else "")
          + (", the mirror averaged" if given.get("mirror_averaged") else "")
          + (f", {len(record['thresholds'])} threshold(s)" if record["thresholds"] else ""))


if __name__ == "__main__":
    cli.run(main, define_flags, required=("workdir", "out"), alone=True, buckets=("workdir", "out"))
