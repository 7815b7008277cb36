"""Few-shot, one-shot and pair protocols of Omniglot: trials drawn from a seed, and the published runs."""

from typing import NamedTuple

import numpy as np

from geodesic.errors import UserError
from geodesic.experiments.protocols import intervals, lake_runs
from geodesic.experiments.protocols import task as tasks
from geodesic.metrics import few_shot as episodic

# An episode has so many queries of a class, as in Snell et al. 2017 for testing.
_QUERIES = 5
_WAYS = 20


class Trials(NamedTuple):
    """Decisions, one after another."""

    right: np.ndarray       # f[M], whether each was right
    classes: np.ndarray     # i[M], of what was decided on


def few_shot(task: tasks.Task, root: str) -> tasks.Measured:
    """Measures N-way K-shot accuracy for each (N, K) of the protocol."""
    source = tasks.source(task, task.protocol.test, root)
    embeddings, places, problems = tasks.embed(task, source)
    labels, metrics = source.labels[places], {}
    for way, shot in task.protocol.ways_shots:
        trials = classify(embeddings, labels, way, shot, task.protocol.episodes, task.seed)
        metrics |= intervals.of_means({f"{way}way_{shot}shot": trials.right}, trials.classes, task.seed)
    return _measured(task, metrics, labels, problems, episodes=task.protocol.episodes)


def classify(embeddings, labels, way: int, shot: int, episodes: int, seed: int) -> Trials:
    """Decides episodes of `way` classes as `metrics.few_shot.accuracy` does; each decision apart, with its class.

    embeddings f[N,D], L2-normalised. Raises UserError where too few classes have shot + 5 items.
    """
    drawn = episodic.sample_episodes(labels, ways=way, shots=shot, queries=_QUERIES, episodes=episodes, seed=seed)
    right = [episodic.answers(embeddings, episode) == episode.answers for episode in drawn]
    return Trials(np.concatenate(right).astype(float), np.concatenate([labels[episode.queries] for episode in drawn]))


def one_shot(task: tasks.Task, root: str) -> tasks.Measured:
    """Measures how often each of 20 characters of one alphabet, by one drawer, is found among those by another.

    The drawings are those of the runs of Lake et al. 2015 or, where the protocol has episodes, drawn by lot.
    """
    source = tasks.source(task, task.protocol.test, root)
    labels, drawer = source.labels, drawers(source, np.arange(len(source)))
    if task.protocol.episodes:
        rng = np.random.default_rng((task.seed, _WAYS))
        drawings = within_alphabets(labels, drawer, alphabets(source), task.protocol.episodes, rng)
    else:
        drawings = lake_runs.rows(labels, drawer, source.class_names)
    embeddings, _, problems = tasks.embed(task, source)
    if problems:
        raise UserError(f"a one-shot trial needs every drawing; {problems[0]}")
    trials = nearest(embeddings, labels, drawings)
    metrics = intervals.of_means({task.protocol.primary: trials.right}, trials.classes, task.seed)
    return _measured(task, metrics, labels, problems, episodes=len(drawings))


def within_alphabets(labels, drawer, alphabet_of_class, trials: int, rng) -> list[np.ndarray]:
    """Draws trials, i[2,20]: the rows of 20 characters of one alphabet by one drawer, and by another.

    Goes round the alphabets that have 20. Raises UserError where none has.
    """
    number = {(label, who): row for row, (label, who) in enumerate(zip(labels.tolist(), drawer.tolist(), strict=True))}
    kinds = [np.flatnonzero(alphabet_of_class == name) for name in np.unique(alphabet_of_class)]
    kinds = [characters for characters in kinds if len(characters) >= _WAYS]
    if not kinds:
        raise UserError(f"no alphabet has {_WAYS} characters")
    drawings = []
    for trial in range(trials):
        characters = rng.choice(kinds[trial % len(kinds)], _WAYS, replace=False)
        people = rng.choice(drawer.max() + 1, 2, replace=False)
        drawings.append(np.array([[number[int(label), int(who)] for label in characters] for who in people]))
    return drawings


def nearest(embeddings, labels, drawings: list[np.ndarray]) -> Trials:
    """Decides trials, i[2,W] each: whether the nearest of the second row's drawings shows the first's character."""
    right = [np.argmax(embeddings[asked] @ embeddings[known].T, axis=1) == np.arange(len(asked))
             for asked, known in drawings]
    return Trials(np.concatenate(right).astype(float), labels[np.concatenate([asked for asked, _ in drawings])])


def pair_accuracy(task: tasks.Task, root: str) -> tasks.Measured:
    """Decides whether pairs of one alphabet show the same character; the threshold is the best of training pairs."""
    threshold, _ = _pairs(task, root, task.protocol.train)
    _, (scores, same, classes, labels, problems) = _pairs(task, root, task.protocol.test)
    right = ((scores >= threshold) == same).astype(float)
    metrics = intervals.of_means({"pair_accuracy": right}, classes, task.seed)
    return _measured(task, metrics, labels, problems, pairs=len(same))


def _pairs(task: tasks.Task, root: str, wanted):
    """Gives the best threshold of these pairs, and the pairs: scores, sameness, classes of the first, all labels, and
    problems.
    """
    source = tasks.source(task, wanted, root)
    embeddings, places, problems = tasks.embed(task, source)
    labels = source.labels[places]
    rng = np.random.default_rng((task.seed, source.num_classes))
    first, second = draw_pairs(labels, alphabets(source), task.protocol.episodes, rng)
    scores, same = np.sum(embeddings[first] * embeddings[second], axis=1), labels[first] == labels[second]
    return best_threshold(scores, same), (scores, same, labels[first], labels, problems)


def draw_pairs(labels, alphabet_of_class, count: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """Draws the rows of `count` pairs: half of one class, half of two classes of one alphabet."""
    members = {label: np.flatnonzero(labels == label) for label in np.unique(labels).tolist()}
    several = [label for label, rows in members.items() if len(rows) > 1]
    others = {label: [other for other in members if other != label and
                      alphabet_of_class[other] == alphabet_of_class[label]] for label in members}
    rivals = [label for label in members if others[label]]
    if not several or not rivals:
        raise UserError("pairs need a class of two images, and two classes of one alphabet")
    rows = [rng.choice(members[rng.choice(several)], 2, replace=False) for _ in range(count // 2)]
    for _ in range(count - count // 2):
        label = rng.choice(rivals)
        rows.append((rng.choice(members[label]), rng.choice(members[rng.choice(others[label])])))
    first, second = np.array(rows).T
    return first, second


def best_threshold(scores, same) -> float:
    """Finds the first threshold between two scores that decides most pairs rightly (same iff score >= threshold)."""
    order = np.argsort(scores, kind="stable")
    sorted_same = np.asarray(same)[order]
    # Accepting all from place i on: genuine pairs from i, and impostors before i, are right.
    correct = np.append(np.cumsum(sorted_same[::-1])[::-1], 0) + np.append(0, np.cumsum(~sorted_same))
    place = int(np.argmax(correct))
    return float(scores[order[place]]) if place < len(scores) else float("inf")


def drawers(source, places: np.ndarray) -> np.ndarray:
    """Says who drew each of these records. Raises UserError where the source does not know."""
    records = [source[place] for place in places.tolist()]
    if "drawer" not in records[0]:
        raise UserError(f"this protocol needs to know who drew, and {records[0]['path']} does not say: use Omniglot's "
                        f".npz (docs/data.md)")
    return np.array([record["drawer"] for record in records])


def alphabets(source) -> np.ndarray:
    """Reads each class's alphabet from its name, evaluation/ULOG/character26. Raises UserError for other names."""
    if any(name.count("/") < 2 for name in source.class_names):
        raise UserError(f"classes are set/alphabet/character in this protocol; got {source.class_names[0]!r}")
    return np.array(["/".join(name.split("/")[:2]) for name in source.class_names])


def _measured(task: tasks.Task, metrics: dict, labels, problems: list[str], **counts: int) -> tasks.Measured:
    counts = {"images": len(labels), "classes": len(np.unique(labels))} | counts
    return tasks.Measured(metrics, counts, tasks.complete(task, len(labels), counts["classes"]), "classes", problems)
