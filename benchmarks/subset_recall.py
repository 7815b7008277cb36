"""recall@1 among random subsets of the images that `evaluate` embedded: comparable with figures from fewer images.

    python -m benchmarks.subset_recall --workdir=weights/keras --images=700

More images make recall@1 easier, for there are more of each class to find.
"""

import sys

import numpy as np

from geodesic.experiments import evaluate

SEEDS = range(5)


def main() -> None:
    given = dict(argument.removeprefix("--").split("=") for argument in sys.argv[1:])
    arrays = evaluate.read_arrays(given["workdir"])
    labels, embeddings = arrays["labels"], arrays["embeddings"]
    values = []
    for seed in SEEDS:
        chosen = np.random.default_rng(seed).permutation(len(labels))[:int(given["images"])]
        cosines = embeddings[chosen] @ embeddings[chosen].T
        np.fill_diagonal(cosines, -2.0)
        values.append(float((labels[chosen][cosines.argmax(1)] == labels[chosen]).mean()))
    print(f"recall@1 among {given['images']} of {len(labels)} images, seeds {SEEDS.start}..{SEEDS.stop - 1}: "
          f"{', '.join(f'{value:.3f}' for value in values)}")


if __name__ == "__main__":
    main()
