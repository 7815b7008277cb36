"""The drawings of the runs of Lake et al. 2015, and those that their first eight drawers made beside.

    python -m tests.experiments.protocols.goldens.lake_runs omniglot.npz

Omniglot (Lake, Salakhutdinov, Tenenbaum 2015) is under the MIT licence. Writes lake_runs.npz beside this file, of the
form of the whole: 200 characters of ten alphabets, drawers 1 to 8.
"""

import pathlib
import sys

import numpy as np

from geodesic import datasets
from geodesic.experiments.protocols import lake_runs

PATH = pathlib.Path(__file__).with_suffix(".npz")


def main(path: str) -> None:
    source = datasets.build("omniglot", path=path, classes=(964, 1623))
    wanted = {f"{alphabet}/character{character:02}" for alphabet, (characters, _) in lake_runs.RUNS.items()
              for character in characters}
    classes = [label for label, name in enumerate(source.class_names) if name.split("/", 1)[1] in wanted]
    records = [source[int(place)] for label in classes for place in np.flatnonzero(source.labels == label)]
    records = [record for record in records if record["drawer"] < 8]
    np.savez_compressed(
        PATH, bits=np.stack([np.packbits(record["image"][..., 0] == 0) for record in records]),
        label=np.searchsorted(classes, [record["label"] for record in records]),
        names=np.array([source.class_names[label] for label in classes]))


if __name__ == "__main__":
    main(*sys.argv[1:])
