"""Measures a trained run on classes it never saw, beside what the same images score without training; one that
classifies, by its own classifier, and by its embeddings where --also=retrieval asks for it.

    geodesic evaluate --workdir=runs/faces [--config.evaluation.recall_at=1,10] [--also=health,clustering]
    geodesic evaluate --workdir=runs/faces --exported=exported/model.onnx,exported/model.int8.onnx
    geodesic evaluate --workdir=runs/birds --protocol=cub200 --data=CUB_200_2011

With --protocol it follows one of configs/protocols.py instead and writes a result record, which
`geodesic compare` puts beside the paper's figure.
"""

import time
from collections.abc import Iterable

from absl import flags

from geodesic.errors import UserError
from geodesic.experiments.process import cli, progress
from geodesic.experiments.protocols import detecting, exported_files, follow, run_scores, selection
from geodesic.experiments.trained import loading
from geodesic.experiments.training import data


def define_flags() -> None:
    flags.DEFINE_integer("step", -1, "Step of the checkpoint to evaluate; -1 is the last one.")
    flags.DEFINE_bool("baselines", True, "Score the retrieval of raw pixels, eigenfaces and the untrained "
                      "network too.")
    flags.DEFINE_list("also", [], f"What else to say of the embeddings: {', '.join(run_scores.ALSO)}.")
    flags.DEFINE_list("exported", [], "Files that `geodesic export` has written of this run: the same scores through "
                      "them, beside the run's.")
    flags.DEFINE_bool("overwrite", False, "Replace an evaluation of this run on other test data.")
    follow.define_flags()


def main(config, values) -> None:
    if values.protocol:
        if values.exported:
            raise UserError("--exported is scored on the run's own test data: leave out --protocol")
        follow.run(config, values)
        return
    follow.check_unused(values)
    run_scores.check_also(values.also)
    evaluate(loading.load(values.workdir, config, step=None if values.step < 0 else values.step),
             baselines=values.baselines, also=tuple(values.also), overwrite=values.overwrite, exported=values.exported,
             selected=selection.last() if values.step < 0 else selection.given(values.step))


def evaluate(run, *, baselines: bool = True, also: tuple[str, ...] = (), overwrite: bool = False,
             exported: Iterable[str] = (), selected: selection.Selected | None = None) -> dict:
    """Scores a run on its own test data, writes evaluation.json and its record, prints both, and returns the first.

    exported: files of the run that are scored too. Raises UserError, unless `overwrite`, where the workdir holds an
    evaluation on other test data; and for files of another model.
    """
    started, selected = time.monotonic(), selected or selection.last()
    test = data.test_source(run.config)
    rule = "last step" if selected.step is None else "step given by hand"
    files = exported_files.opened(exported, run)
    if run.config.task == "detection":
        return _detections(run, test, rule, also, overwrite, files)
    if files and not run_scores.scores_retrieval(run.config, also):
        raise UserError(f"--exported is scored by retrieval, which --also={run_scores.RETRIEVAL} asks for")
    if not overwrite:
        run_scores.check_replaceable(run.workdir, test)
    with progress.bar("embedding", len(test)) as advance:
        scores = run_scores.measure(run, test, baselines=baselines, also=also, progress=advance, rule=rule, files=files)
    path = run_scores.write(run, scores)
    followed = scores.record["scores"] and follow.record_own(run, selected, scores.unit, scores.labels,
                                                             scores.record["unreadable"], started)
    run_scores.print_table(scores.record)
    print(f"written to {path}" + (f" and, with intervals, to {followed}" if followed else ""))
    return scores.record


def _detections(run, test, rule: str, also: tuple[str, ...], overwrite: bool, files: dict) -> dict:
    """`evaluate` of a detector. Raises UserError where more is asked of its embeddings, which it has not."""
    if also:
        raise UserError(f"--also={','.join(also)} is of embeddings, and {run.workdir} is a detector")
    if not overwrite:
        run_scores.check_replaceable(run.workdir, test)
    with progress.bar("detecting", len(test)) as advance:
        scores = detecting.measure(run, test, rule=rule, progress=advance)
    if files:
        scores.record["scores"] |= exported_files.detections(files, test, run)
        scores.record["exported"] = exported_files.told(scores.record, files)
    path = run_scores.write_files(run.workdir, scores.record, scores.arrays)
    run_scores.print_table(scores.record)
    print(f"written to {path}")
    return scores.record


if __name__ == "__main__":
    cli.run(main, define_flags, buckets=("workdir", "concatenate"))
