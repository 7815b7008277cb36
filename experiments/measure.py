"""Follows a protocol: from trained embedders to metrics with intervals. One function for each kind of task."""

from typing import NamedTuple

import ml_collections
import numpy as np

import datasets
from experiments import embedding, intervals
from metrics import retrieval, verification


class Measured(NamedTuple):
    """What a protocol gives, for the record and for the report."""

    metrics: dict[str, dict]    # name -> {"value", "low", "high"}
    counts: dict[str, int]      # images, classes, queries ...
    complete: bool              # whether the images are those that the protocol names, as many as it says
    over: str                   # what the intervals resample
    problems: list[str]         # images that could not be read


class Task(NamedTuple):
    """What the task functions are given."""

    protocol: ml_collections.ConfigDict
    models: list                # of (config, Trained); several are concatenated
    mesh: object
    seed: int


def options_of(config, protocol, root: str) -> ml_collections.ConfigDict:
    """The run's configuration with what the protocol fixes. root: the --data folder, "" for the run's own paths."""
    changed = config.copy_and_resolve_references()
    changed.test_data.update(locate(protocol.test, config, root))
    changed.input.fit = protocol.fit
    changed.input.image_size = protocol.image_size or config.input.image_size
    changed.evaluation.average_horizontal_flips = protocol.flips
    if protocol.recall_at:
        changed.evaluation.recall_at = protocol.recall_at
    return changed


def locate(wanted, config, root: str) -> dict:
    """A protocol's data section with its real path: below `root`, or where the run's own data of this source are.

    Raises ValueError where neither says where they lie.
    """
    options = dict(name=wanted.name, path=wanted.path, classes=tuple(wanted.classes))
    if root:
        file, mark, split = wanted.path.partition("#")
        options["path"] = (f"{root.rstrip('/')}/{file}" if file else root) + mark + split
    elif wanted.name != "orl_faces":  # which brings its own images
        for own in (config.test_data, config.train_data):
            path, _, _ = own.path.partition("#")
            if own.name == wanted.name and path:
                return options | {"path": path + ("#" + wanted.path.partition("#")[2] if "#" in wanted.path else "")}
        raise ValueError(f"the images of source {wanted.name!r} are needed: say where they lie with --data=PATH")
    return options


def measure(protocol, models: list, mesh, seed: int, root: str) -> Measured:
    """models: of (config, Trained). Raises ValueError for a task whose parts are not there."""
    if protocol.task not in TASKS:
        raise ValueError(f"protocol {protocol.name}: no task {protocol.task!r}; known: {', '.join(TASKS)}")
    fixed = [(options_of(config, protocol, root), trained) for config, trained in models]
    return TASKS[protocol.task](Task(protocol, fixed, mesh, seed), root)


def embed(task: Task, source) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """(unit embeddings f32[N,D] of the readable images, their places, problems). Models are put side by side."""
    parts, problems, readable = [], [], np.ones(len(source), bool)
    for config, trained in task.models:
        embedded = embedding.embed_source(trained.embed, trained.variables, source, config, task.mesh)
        parts.append(retrieval.normalized(embedded.embeddings))
        readable &= embedded.readable
        problems = embedded.problems or problems
    places = np.flatnonzero(readable)
    return retrieval.normalized(np.concatenate(parts, axis=1)[places]), places, problems


def _source(task: Task, wanted, root: str) -> datasets.Source:
    return datasets.build(**locate(wanted, task.models[0][0], root))


def _complete(task: Task, images: int, classes: int, gallery: int = 0) -> bool:
    given = {"images": images, "classes": classes, "gallery_images": gallery}
    return all(not task.protocol[name] or task.protocol[name] == count for name, count in given.items())


def _retrieval(task: Task, root: str) -> Measured:
    """Every query against the gallery, or against all other queries."""
    source = _source(task, task.protocol.test, root)
    queries, places, problems = embed(task, source)
    labels = source.labels[places]
    gallery, gallery_labels, own = queries, labels, np.arange(len(queries))
    if task.protocol.gallery.name:
        gallery_source = _source(task, task.protocol.gallery, root)
        gallery, gallery_places, more = embed(task, gallery_source)
        problems = problems + more
        # The two lists number their classes apart: the names are what they share.
        number = {name: index for index, name in enumerate(source.class_names)}
        gallery_labels = np.array([number.get(gallery_source.class_names[label], -1) for label in
                                   gallery_source.labels[gallery_places]])
        own = None
    values, kept = per_query(queries, labels, gallery, gallery_labels, own, task.protocol.recall_at)
    found = intervals.of_means(values, labels[kept], task.seed)
    if task.protocol.far:
        found |= pair_rates(queries, labels, task.protocol.far, task.seed)
    counts = {"images": len(labels), "classes": len(np.unique(labels)), "queries": int(kept.sum()),
              "queries_without_match": int((~kept).sum()), "gallery": len(gallery)}
    complete = _complete(task, len(labels), counts["classes"], 0 if own is not None else len(gallery))
    return Measured(found, counts, complete, "classes", problems)


def per_query(queries, labels, gallery, gallery_labels, own, recall_at) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """(metric -> its term for each query that has a match, which queries those are bool[Q]).

    own: i[Q], the gallery row of each query itself, which it does not find; None where queries are no part of it.
    Raises ValueError where embeddings have collapsed to one point, and where no query has a match.
    """
    if np.ptp(gallery, axis=0).max(initial=0.0) == 0:
        raise ValueError("the embeddings have collapsed to one point: a ranking of them would mean nothing")
    counts = np.bincount(gallery_labels[gallery_labels >= 0], minlength=labels.max() + 1)
    matches = counts[labels] - (own is not None)
    kept = matches > 0
    if not kept.any():
        raise ValueError("no query has an image of its class to find: there is nothing to retrieve")
    r = matches[kept]
    depth = min(max(int(r.max()), *recall_at, 1), len(gallery) - (own is not None))
    found, _ = retrieval.neighbors(queries[kept], gallery, depth, exclude=None if own is None else own[kept])
    relevant = gallery_labels[found] == labels[kept][:, None]
    rank = np.arange(1, depth + 1)
    within = relevant & (rank <= r[:, None])
    precision = np.cumsum(relevant, axis=1) / rank
    values = {f"recall@{k}": relevant[:, :k].any(axis=1).astype(float) for k in recall_at}
    return values | {"precision@1": relevant[:, 0].astype(float), "r_precision": within.sum(axis=1) / r,
                     "map@r": (precision * within).sum(axis=1) / r}, kept


def pair_rates(embeddings, labels, far, seed: int) -> dict[str, dict]:
    """TAR at each FAR and the EER, over all pairs; the values exact, the intervals over identities."""
    scores, same = verification.all_pairs(embeddings, labels)
    exact = verification.verification_scores(embeddings, labels, far=far)
    first, second = np.triu_indices(len(labels), k=1)
    _, identity = np.unique(labels, return_inverse=True)
    rates = intervals.Rates(scores, same, identity[first], identity[second], seed)
    resampled = {f"tar@far={rate:g}": rates.tar_at(rate) for rate in far} | {"eer": rates.equal_error()}
    return {name: intervals.metric(exact[name], *intervals.percentiles(values[1:]))
            for name, values in resampled.items()}


TASKS = {"retrieval": _retrieval}
