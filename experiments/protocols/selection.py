"""Which checkpoint is measured: the last, or the best on classes that are not reported. The choice is in the record."""

from collections.abc import Callable
from typing import NamedTuple

from geodesic.errors import UserError
from geodesic.experiments.checkpoints import checkpoint, imported
from geodesic.experiments.protocols import record
from geodesic.experiments.trained import loading
from geodesic.experiments.trained.run import Run
from geodesic.experiments.training import data
from geodesic.metrics import retrieval

# What a validation chooses by: the metric that sees most of a ranking.
_VALIDATION_METRIC = "map@r"


class Selected(NamedTuple):
    step: int | None        # None: the last, or imported weights
    how: dict               # for the record: rule, on, and the candidates with their scores


def last() -> Selected:
    return Selected(None, {"rule": record.LAST, "on": "", "candidates": []})


def given(step: int) -> Selected:
    return Selected(step, {"rule": record.GIVEN, "on": "", "candidates": []})


def on_validation(config, workdir: str, tested_paths: set[str]) -> Selected:
    """The kept checkpoint of the highest map@r on `config.test_data`, the images that training was watched on.

    tested_paths: of the images that will be reported. Raises UserError where the two share an image.
    """
    source = data.test_source(config)
    shared = len(tested_paths & set(source.paths))
    if shared:
        raise UserError(f"{shared} images of config.test_data are among those to be reported: a checkpoint chosen on "
                        f"them is chosen on the test set. Give --config.test_data of other classes, or "
                        f"--select_on_test, which marks the record")

    def score(run: Run) -> float:
        embedded = run.embed_source(source)
        rows, labels = embedded.embeddings[embedded.readable], source.labels[embedded.readable]
        return retrieval.ranking_scores(rows, labels, mesh=run.mesh)[_VALIDATION_METRIC]

    return _best(config, workdir, score, record.VALIDATION,
                 f"{_VALIDATION_METRIC} of {len(source)} images of config.test_data")


def on_test(config, workdir: str, protocol, score: Callable[[Run], float]) -> Selected:
    """The kept checkpoint that is best at what is reported: an optimistic number, and the record says so."""
    return _best(config, workdir, score, record.TEST, f"{protocol.primary} of the test set itself")


def _best(config, workdir: str, score: Callable[[Run], float], rule: str, on: str) -> Selected:
    if imported.exist(workdir):
        raise UserError(f"{workdir} holds imported weights: there is no checkpoint to choose")
    candidates = []
    for step in steps(workdir):
        candidates.append({"step": step, "score": score(loading.load(workdir, config, step=step))})
        print(f"step {step}: {candidates[-1]['score']:.4f} {on}", flush=True)
    best = max(candidates, key=lambda candidate: candidate["score"])  # of equals the earliest
    return Selected(best["step"], {"rule": rule, "on": on, "candidates": candidates})


def steps(workdir: str) -> list[int]:
    """Of the kept checkpoints, rising."""
    with checkpoint.Checkpoints(workdir) as checkpoints:
        return sorted(checkpoints.all_steps())
