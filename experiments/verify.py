"""Are two photographs of one identity? By the threshold that `calibrate` stored with the model.

    geodesic verify --workdir=runs/faces one.jpg other.jpg [--far=1e-3]

Exit status: 0 the same, 1 different, 2 an error.
"""

from absl import flags

from geodesic import datasets
from geodesic.errors import UserError
from geodesic.experiments.process import cli
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.trained import embedding, thresholds
from geodesic.metrics import retrieval

SAME, DIFFERENT, ERROR = 0, 1, 2


def define_flags() -> None:
    flags.DEFINE_float("far", 0.0, "Use the threshold of this false accept rate; 0 = of the smallest there is.")


def main(config, values, images: list[str]) -> int:
    if len(images) != 2:
        raise UserError(f"verify takes two images; got {len(images)}: --workdir=RUN ONE OTHER")
    mesh = meshes.make()
    trained = embedding.load(config, values.workdir, mesh)
    entry = thresholds.load(values.workdir, thresholds.model(trained, config), values.far)
    if entry is None:
        raise UserError(f"{values.workdir} has no threshold: set one with geodesic calibrate")
    source = datasets.Files(list(images), [0, 0], [""])
    embedded = embedding.embed_source(trained.embed, trained.variables, source, config, mesh)
    if embedded.problems:
        raise UserError(embedded.problems[0])
    one, other = retrieval.normalized(embedded.embeddings)
    cosine = float(one @ other)
    same = cosine >= entry["threshold"]
    print(f"{'same' if same else 'different'}: cosine {cosine:.4f}, threshold {entry['threshold']:.4f}")
    print(f"expected of such pairs: {rates(entry)}")
    return SAME if same else DIFFERENT


def rates(entry: dict) -> str:
    """FAR and TAR at a stored threshold, with their intervals."""
    parts = []
    for name, value, interval in (("FAR", entry["measured_far"], entry["far_interval"]),
                                  ("TAR", entry["tar"], entry["tar_interval"])):
        low, high = interval
        parts.append(f"{name} {value:.3g}" + ("" if low is None else f" [{low:.3g}, {high:.3g}]"))
    return ", ".join(parts) + f" (calibrated on {entry['identities']:,} identities for FAR {entry['far']:g})"


if __name__ == "__main__":
    cli.run(main, define_flags, takes="IMAGE IMAGE", error_status=ERROR)
