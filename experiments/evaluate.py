"""Measures a trained run on classes it never saw, beside what the same images score without training.

    geodesic evaluate --workdir=runs/faces [--config.evaluation.recall_at=1,10]
    geodesic evaluate --workdir=runs/birds --protocol=cub200 --data=CUB_200_2011

With --protocol it follows one of configs/protocols.py instead and writes a result record, which
`geodesic compare` puts beside the paper's figure.
"""

import io
import json
import time

import jax
import numpy as np
import rich
import rich.table
from absl import flags

from geodesic.configs import stored
from geodesic.experiments.process import cli, hosts, workdir
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.protocols import evaluation, protocol_run
from geodesic.experiments.trained import embedding
from geodesic.experiments.training import data
from geodesic.metrics import retrieval


def define_flags() -> None:
    flags.DEFINE_integer("step", -1, "Step of the checkpoint to evaluate; -1 is the last one.")
    flags.DEFINE_bool("baselines", True, "Score raw pixels, eigenfaces and the untrained network too.")
    protocol_run.define_flags()


def main(config, values) -> None:
    mesh, started = meshes.make(), time.monotonic()
    if values.protocol:
        protocol_run.run(config, values, mesh)
        return
    protocol_run.check_unused(values)
    trained = embedding.load(config, values.workdir, mesh, None if values.step < 0 else values.step)
    test = data.test_source(config)
    embedded = embedding.embed_source(trained.embed, trained.variables, test, config, mesh)
    for problem in embedded.problems:
        print(f"left out of the evaluation: {problem}")
    kept = embedded.readable.nonzero()[0]
    labels = test.labels[kept]
    trained_name = f"trained, step {trained.step}"
    rows = (evaluation.baselines(config, mesh) if values.baselines else {}) | {trained_name: embedded.embeddings[kept]}
    record = {
        "protocol": {
            "source": data.describe(config.test_data), "images": len(labels), "classes": len(np.unique(labels)),
            "classes_trained_on": len({*data.train_source(config).class_names} & {*test.class_names}),
            "retrieval": "Every image queries all others by cosine; ties by index; map@r of Musgrave et al. 2020",
            "verification": "All pairs of images by cosine; thresholds exact, not interpolated",
            "selected_on": "last step" if values.step < 0 else "step given by hand",
        },
        "seed": config.seed, "config_hash": stored.hash_of(config), "checkpoint_step": trained.step,
        "checkpoint_digest": trained.digest, "trained": trained_name, "unreadable": embedded.problems,
        "environment": workdir.environment(jax.devices()),
        "scores": {name: evaluation.score(embeddings, labels, config) for name, embeddings in rows.items()},
    }
    curves = {name: evaluation.roc(embeddings, labels) for name, embeddings in rows.items()}
    write_arrays(values.workdir, embeddings=retrieval.normalized(rows[trained_name]), labels=labels, index=kept,
                 paths=np.asarray([test.paths[index] for index in kept]), class_names=np.asarray(test.class_names),
                 **{f"far/{name}": curve.far for name, curve in curves.items()},
                 **{f"tar/{name}": curve.tar for name, curve in curves.items()})
    path = workdir.evaluation_path(values.workdir)
    hosts.first_does(lambda: workdir.write_json(path, record))
    followed = protocol_run.record_own(config, values, mesh, trained, retrieval.normalized(rows[trained_name]), labels,
                                       embedded.problems, started)
    print_table(record)
    print(f"written to {path}" + (f" and, with intervals, to {followed}" if followed else ""))


def print_table(record: dict) -> None:
    """A column for each way to embed, a row for each metric: narrow enough for any terminal."""
    scores = record["scores"]
    table = rich.table.Table(title=what_was_tested(record))
    table.add_column("")
    for name in scores:
        table.add_column(name, justify="right", style="bold" if name == record["trained"] else None)
    for metric, value in scores[record["trained"]].items():
        if isinstance(value, float):
            table.add_row(metric, *(f"{scores[name][metric]:.3f}" for name in scores))
    rich.print(table)


def what_was_tested(record: dict) -> str:
    protocol = record["protocol"]
    seen = protocol["classes_trained_on"]
    return (f"{protocol['images']:,} images of {protocol['classes']:,} classes"
            + (f", {seen:,} of them also trained on" if seen else " never trained on"))


def read(folder: str) -> dict:
    """The record that `evaluate` wrote into a workdir. Raises FileNotFoundError before there is one."""
    try:
        with open(workdir.evaluation_path(folder)) as file:
            return json.load(file)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{folder!r} has not been evaluated: run geodesic evaluate on it") from error


def write_arrays(folder: str, **arrays: np.ndarray) -> None:
    """What `report` draws from: embeddings of the unseen images, their labels and paths, and the ROC curves."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    hosts.first_does(lambda: workdir.write_atomically(workdir.evaluation_arrays_path(folder), buffer.getvalue()))


def read_arrays(folder: str) -> dict[str, np.ndarray]:
    with np.load(workdir.evaluation_arrays_path(folder), allow_pickle=False) as file:
        return dict(file)


if __name__ == "__main__":
    cli.run(main, define_flags)
