"""Recommendations of photographs, leave-one-out: hits, coverage and diversity, beside random ones.

    python -m benchmarks.recommend --workdir=weights/resnet50 --data=grocery/test [--liked=3]

--data is a folder with a sub-folder for each class. A person likes some photographs of one class, drawn by a seed; one
more of the class is held out, and everything but the liked ones can be recommended. hit@10: the held-out one is among
ten. Class hits: how many of ten are of the class. Coverage: the share of all photographs that is ever recommended.
Diversity: the mean pairwise cosine of a person's ten, less is more diverse. In the last row each also dislikes as many
photographs of the class that is nearest to theirs.
"""

import datetime
import os
import pathlib

import jax
import numpy as np

import geodesic
from benchmarks import turns
from geodesic import datasets
from geodesic.experiments.process import runtime
from geodesic.experiments.process import workdir as workdirs
from geodesic.experiments.trained import features
from geodesic.metrics import bootstrap, recommendation, retrieval

_OUT = pathlib.Path(__file__).parent / "results" / "recommend"
_K, _DIVERSITIES = 10, (0.0, 0.1, 0.3, 0.5)


def main() -> None:
    asked = turns.options(__doc__, workdir="", data="", features="", image_size=96, liked=3, people=1000, seed=0,
                          out=str(_OUT))
    runtime.start()
    run = geodesic.load(asked.workdir, overrides={"input.image_size": asked.image_size,
                                                  "evaluation.batch_size": 32})
    source = datasets.build("image_folder", path=asked.data)
    rows = retrieval.normalized(np.array(features.of(run, source, folder=asked.features)["embedding"].values))
    rng = np.random.default_rng(asked.seed)
    people = list(draw(source.labels, rows, asked.liked, asked.people, rng))
    ways = {"random": lambda person: (rng.permutation(np.setdiff1d(np.arange(len(rows)), person["liked"]))[:_K])}
    for diversity in _DIVERSITIES:
        ways[f"diversity {diversity:g}"] = lambda person, diversity=diversity: _recommended(rows, person, diversity)
    ways["diversity 0, and unlike those of the nearest class"] = lambda person: _recommended(rows, person, 0.0, True)
    found = {name: measure([way(person) for person in people], people, source.labels, rows, asked.seed)
             for name, way in ways.items()}
    record = {"command": f"python -m benchmarks.recommend --liked={asked.liked} --people={asked.people} "
                         f"--image_size={asked.image_size}", "seed": asked.seed, "people": len(people),
              "photographs": len(rows), "classes": source.num_classes, "liked": asked.liked, "found": found,
              "environment": workdirs.environment(jax.devices()), "date": datetime.date.today().isoformat(),
              "load": os.getloadavg()[0]}
    turns.write(asked.out, record, table(record))
    print(table(record))


def draw(labels: np.ndarray, rows: np.ndarray, liked: int, people: int, rng):
    """Yields people: places of what each likes, dislikes, and of the one that is held out; and the class."""
    means = retrieval.normalized(np.stack([rows[labels == label].mean(axis=0) for label in np.unique(labels)]))
    names, counts = np.unique(labels, return_counts=True)
    able = np.flatnonzero(counts > liked)
    cosines = means @ means.T
    np.fill_diagonal(cosines, -np.inf)
    for number in rng.choice(able, people):
        places = rng.permutation(np.flatnonzero(labels == names[number]))
        other = np.flatnonzero(labels == names[int(cosines[number].argmax())])
        yield {"liked": places[:liked], "held_out": int(places[liked]), "label": int(names[number]),
               "disliked": rng.permutation(other)[:liked]}


def _recommended(rows: np.ndarray, person: dict, diversity: float, unlike: bool = False) -> np.ndarray:
    disliked = person["disliked"] if unlike else np.zeros(0, int)
    return recommendation.recommend(rows, rows[person["liked"]], rows[disliked], _K, diversity=diversity,
                                    exclude=np.concatenate([person["liked"], disliked]))[0]


def measure(lists: list[np.ndarray], people: list[dict], labels: np.ndarray, rows: np.ndarray, seed: int) -> dict:
    """Means over people, with intervals by the bootstrap over classes."""
    of = np.array([person["label"] for person in people])
    assert not any(np.isin(person["liked"], found).any() for person, found in zip(people, lists, strict=True))
    values = {
        "hit@10": [person["held_out"] in found for person, found in zip(people, lists, strict=True)],
        "class hits": [np.mean(labels[found] == person["label"]) for person, found in zip(people, lists, strict=True)],
        "pairwise cosine": [recommendation.spread(rows[found]) for found in lists]}
    return {name: list(bootstrap.mean_interval(np.array(value, float), of, seed=seed)) for name, value in values.items()
            } | {"coverage": len(np.unique(np.concatenate(lists))) / len(rows)}


def table(record: dict) -> str:
    here = record["environment"]
    cell = lambda interval: f"{interval[0]:.3f} [{interval[1]:.3f}, {interval[2]:.3f}]"
    lines = ["# Recommendations, leave-one-out", "",
             f"`{record['command']} --workdir=... --data=...`, seed {record['seed']}. {here['machine']}, jax "
             f"{here['packages']['jax']}, {record['date']}, commit {here['commit'][:12]}.", "",
             f"{record['people']:,} people, each of whom likes {record['liked']} photographs of one class and gets ten "
             f"of the other {record['photographs'] - record['liked']:,}, among them one more of the class that is held "
             f"out; {record['classes']} classes. Means over people, 95 % intervals by the bootstrap over classes.", "",
             "| | hit@10 | of ten, of the class | coverage | mean pairwise cosine |", "|---|---|---|---|---|"]
    lines += [f"| {name} | {cell(found['hit@10'])} | {cell(found['class hits'])} | {found['coverage']:.3f} | "
              f"{cell(found['pairwise cosine'])} |" for name, found in record["found"].items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
