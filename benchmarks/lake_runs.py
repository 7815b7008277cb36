"""Are the twenty runs the published ones? A distance without learning, on them and on trials drawn by lot.

    python -m benchmarks.lake_runs --data=omniglot.npz

Omniglot's repository says that the modified Hausdorff distance of two drawings' ink (Dubuisson, Jain: A modified
Hausdorff distance for object matching, 1994) errs in 38.8 % of the runs' 400 decisions. Beside it, trials of
omniglot_within_alphabet, and trials of the runs' own characters by any two drawers: what the choice of drawers is
worth. Writes benchmarks/results/lake_runs.json and .md. Ten minutes of one core.
"""

import pathlib

import jax
import numpy as np
from scipy.spatial import cKDTree

from benchmarks import turns
from geodesic import datasets
from geodesic.experiments.process import workdir
from geodesic.experiments.protocols import episodes, lake_runs

_OUT = pathlib.Path(__file__).parent / "results" / "lake_runs"
_PUBLISHED = "38.8"


def main() -> None:
    asked = turns.options(__doc__, data="", trials=400, seed=0, out=str(_OUT))
    source = datasets.build("omniglot", path=asked.data, classes=(964, 1623))
    labels, alphabet = source.labels, episodes.alphabets(source)
    drawer = episodes.drawers(source, np.arange(len(source)))
    runs = lake_runs.rows(labels, drawer, source.class_names)
    theirs = np.isin(np.arange(source.num_classes), [labels[rows] for rows, _ in runs])

    def drawn(alphabet_of_class) -> list[np.ndarray]:
        rng = np.random.default_rng(asked.seed)
        return episodes.within_alphabets(labels, drawer, alphabet_of_class, asked.trials, rng)

    decisions = {"the twenty runs": runs,
                 # A character that is not theirs is an alphabet of its own, which is too small for a trial.
                 "their characters, by any two drawers": drawn(np.where(theirs, alphabet, source.class_names)),
                 "omniglot_within_alphabet": drawn(alphabet)}
    inks = [ink(source[place]["image"]) for place in range(len(source))]
    rows = [{"trials": name, "decisions": 20 * len(drawings),
             "errors": float(np.mean([errors(inks, *one) for one in drawings]) / 20)}
            for name, drawings in decisions.items()]
    record = {"command": f"python -m benchmarks.lake_runs --data=omniglot.npz --trials={asked.trials}",
              "seed": asked.seed, "rows": rows, "environment": workdir.environment(jax.devices())}
    turns.write(asked.out, record, markdown(record))
    print(markdown(record))


def ink(image: np.ndarray) -> cKDTree:
    """Puts where the ink is, in pixels from its middle, where the nearest is found at once."""
    places = np.argwhere(image[..., 0] == 0).astype(float)
    return cKDTree(places - places.mean(axis=0))


def errors(inks: list[cKDTree], asked: np.ndarray, known: np.ndarray) -> int:
    """Counts the asked drawings whose least distance is to another character's."""
    away = lambda one, other: other.query(one.data)[0].mean()
    distances = [[max(away(inks[a], inks[k]), away(inks[k], inks[a])) for k in known] for a in asked]
    return int(np.sum(np.argmin(distances, axis=1) != np.arange(len(asked))))


def markdown(record: dict) -> str:
    made = record["environment"]
    return "\n".join([
        "# One-shot trials of Omniglot, by the modified Hausdorff distance", "",
        f"`{record['command']}`, seed {record['seed']}. Omniglot's repository says {_PUBLISHED} % of its runs.", "",
        "| 20-way one-shot trials within an alphabet | decisions | errors, in % |", "|---|---|---|",
        *(f"| {row['trials']} | {row['decisions']:,} | {100 * row['errors']:.2f} |" for row in record["rows"]), "",
        f"{made['machine']}, {made['date'][:10]}, commit {made['commit']}.", ""])


if __name__ == "__main__":
    main()
