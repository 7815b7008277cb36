"""Are two photographs of one identity? By the threshold that `calibrate` stored with the model.

    geodesic verify --workdir=runs/faces one.jpg other.jpg [--far=1e-3]

Exit status: 0 the same, 1 different, 2 an error.
"""

from absl import flags

from geodesic.errors import UserError
from geodesic.experiments.process import cli
from geodesic.experiments.trained import loading, thresholds

SAME, DIFFERENT, ERROR = 0, 1, 2


def define_flags() -> None:
    flags.DEFINE_float("far", 0.0, "Use the threshold of this false accept rate; 0 = of the smallest there is.")


def main(config, values, images: list[str]) -> int:
    if len(images) != 2:
        raise UserError(f"verify takes two images; got {len(images)}: --workdir=RUN ONE OTHER")
    run = loading.load(values.workdir, config)
    entry = run.threshold_of(values.far)
    cosine = run.cosine(*images)
    same = cosine >= entry["threshold"]
    print(f"{'same' if same else 'different'}: cosine {cosine:.4f}, threshold {entry['threshold']:.4f}")
    print(f"expected of such pairs: {thresholds.describe_rates(entry)}")
    return SAME if same else DIFFERENT


if __name__ == "__main__":
    cli.run(main, define_flags, takes="IMAGE IMAGE", error_status=ERROR, buckets=("workdir",))
