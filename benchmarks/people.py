"""The quickstart's question asked of all 40 people: four times 10 of them are left out of the training, three seeds.

    python -m benchmarks.people [--workdir=runs/people] [--seeds=3] [--out=benchmarks/results/people]

Trains configs/quickstart.py on 30 people and searches the other 10, who are folds 0 to 3 of the people in their order:
every person is one of those never seen in one fold. Beside it raw pixels, PCA of the training images, and the network
before its first step. A person's score is the mean over the 10 portraits and the seeds; the interval is over people,
drawn with replacement (a network has seen 30 of the others, so that people are not quite independent). Runs that are
there are not trained again.
"""

import pathlib

import jax
import numpy as np

import geodesic
from benchmarks import turns
from geodesic.configs import quickstart
from geodesic.experiments.process import runtime
from geodesic.experiments.process import workdir as workdirs
from geodesic.experiments.protocols import evaluation
from geodesic.experiments.training import data
from geodesic.metrics import bootstrap, retrieval, verification

_OUT = pathlib.Path(__file__).parent / "results" / "people"
FOLDS, PEOPLE = 4, 40
_TRAINED = "trained"


def main() -> None:
    asked = turns.options(__doc__, workdir="runs/people", seeds=3, out=str(_OUT))
    runtime.start()
    scores, errors = {}, {}
    for seed in range(asked.seeds):
        for fold in range(FOLDS):
            run = geodesic.train(config(fold, seed), f"{asked.workdir}/fold{fold}_seed{seed}")
            test = data.test_source(run.config)
            rows = evaluation.baselines(run, test) | {_TRAINED: run.embed_source(test).embeddings}
            for name, embeddings in rows.items():
                people, of_people, eer = measured(embeddings, np.asarray(test.labels))
                scores.setdefault(name, np.full((asked.seeds, PEOPLE), np.nan))[seed, fold * 10 + people] = of_people
                errors.setdefault(name, np.full((asked.seeds, FOLDS), np.nan))[seed, fold] = eer
            print(f"fold {fold}, seed {seed}: " + ", ".join(
                f"{name} map@r {scores[name][seed, fold * 10:fold * 10 + 10].mean():.3f}" for name in rows), flush=True)
    record = {"seeds": asked.seeds, "folds": FOLDS, "rows": summarised(scores, errors),
              "people": {name: of.mean(axis=0).round(4).tolist() for name, of in scores.items()},
              "environment": workdirs.environment(jax.devices())}
    turns.write(asked.out, record, table(record))
    print(table(record))


def config(fold: int, seed: int):
    """The quickstart's, on the people who are not of a fold; watched on nobody before its end."""
    made = quickstart.get_config()
    made.seed = seed
    for section, part in ((made.train_data, "train"), (made.test_data, "validation")):
        section.update(classes=(0, PEOPLE), folds=FOLDS, fold=fold, part=part)
    made.evaluation.every_epochs = 0.0
    return made


def measured(embeddings: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """(people, map@r of each, equal error rate over all pairs) of embeddings f[N,D]."""
    unit = retrieval.normalized(embeddings)
    of_queries = retrieval.rank_self(unit, labels).map_at_r
    people = np.unique(labels)
    return (people, np.array([of_queries[labels == person].mean() for person in people]),
            verification.verification_scores(unit, labels, far=())["eer"])


def summarised(scores: dict[str, np.ndarray], errors: dict[str, np.ndarray]) -> dict[str, dict]:
    """Name -> map@r with its interval over people, the means of the seeds, and the folds' equal error rates."""
    rows = {}
    for name, of in scores.items():
        value, low, high = bootstrap.mean_interval(of.mean(axis=0), np.arange(of.shape[1]))
        rows[name] = {"map@r": {"value": value, "low": low, "high": high}, "seeds": of.mean(axis=1).tolist(),
                      "eer": float(errors[name].mean()), "eer of folds": errors[name].mean(axis=0).tolist()}
    return rows


def table(record: dict) -> str:
    """The page."""
    made = record["environment"]
    lines = ["# All 40 people, each left out once", "",
             f"`python -m benchmarks.people --seeds={record['seeds']}`: configs/quickstart.py, trained on 30 people "
             f"and asked for 10 others, {record['folds']} folds.", "",
             "| | map@r, 95 % over people | of each seed | equal error rate | of each fold |", "|---|---|---|---|---|"]
    several = lambda values: ", ".join(f"{value:.3f}" for value in values)
    for name, row in record["rows"].items():
        found = row["map@r"]
        span = f"[{found['low']:.3f}, {found['high']:.3f}]"
        lines.append(f"| {name} | {found['value']:.3f} {span} | {several(row['seeds'])} | {row['eer']:.3f} | "
                     f"{several(row['eer of folds'])} |")
    return "\n".join([*lines, "", f"{made['machine']}, {made['devices']}, jax {made['packages']['jax']}, "
                                  f"{made['date'][:10]}, commit {made['commit']}.", ""])


if __name__ == "__main__":
    main()
