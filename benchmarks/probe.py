"""How long a linear probe takes: the sweep over C with its refit, beside single fits of scikit-learn at the same C.

    python -m benchmarks.probe --workdir=weights/resnet50 --data=grocery [--features=FOLDER]

--data is a folder with train, val and test, --workdir a run or imported weights; their features are computed first, or
read from --features. Then ours sweeps 45 values of C, each starting from the ones before, and fits the best again; and
at single values ours and scikit-learn's LogisticRegression (as it comes, but for max_iter) start from nothing, in
turns, and are held against each other: their losses, and their answers for the test images. scikit-learn stops early
at a large C, so at the chosen C it also runs until its gradient is below 1e-7: there the two must be the same model.
"""

import datetime
import os
import pathlib
import time

import jax
import numpy as np

import geodesic
from benchmarks import turns
from geodesic import datasets
from geodesic.experiments.process import runtime
from geodesic.experiments.process import workdir as workdirs
from geodesic.experiments.protocols import fitting
from geodesic.experiments.trained import features
from geodesic.metrics import logistic

_OUT = pathlib.Path(__file__).parent / "results"
_SINGLE = (1e-2, 1.0, 100.0)


def main() -> None:
    asked = turns.options(__doc__, workdir="", data="", features="", image_size=160, rounds=2, out=str(_OUT / "probe"))
    runtime.start()
    load = os.getloadavg()[0]
    train, validation, test = rows(asked)
    both = fitting.Rows(*map(np.concatenate, zip(train, validation, strict=True)))
    (found, best), seconds = timed(lambda: fitting.sweep(train, validation))
    refit, again = timed(lambda: logistic.fit(*both, best.c, start=best))
    print(f"sweep {seconds}, refit {again}", flush=True)
    record = {
        **workdirs.environment(jax.devices()), "date": datetime.date.today().isoformat(),
        "rows": [len(train.labels), len(both.labels), len(test.labels)], "size": train.values.shape[1],
        "classes": len(refit.classes), "sweep_seconds": seconds, "refit_seconds": again, "c": best.c,
        "evaluations": sum(one["evaluations"] for one in found), "validation": max(one["validation"] for one in found),
        "test": float((refit.predict(test.values) == test.labels).mean()),
        "single": [single(c, both, test, asked.rounds) for c in _SINGLE],
        "optimum": single(best.c, both, test, 1, tol=1e-7), "load": [load, os.getloadavg()[0]],
    }
    turns.write(asked.out, record, table(record))
    print(table(record))


def rows(asked) -> tuple[fitting.Rows, ...]:
    """Of the training, validation and test images, as they are."""
    run = geodesic.load(asked.workdir, overrides={"input.image_size": asked.image_size})
    sources = [datasets.build("image_folder", path=os.path.join(asked.data, part)) for part in ("train", "val", "test")]
    place = {name: label for label, name in enumerate(sources[0].class_names)}
    return tuple(fitting.Rows(
        np.asarray(features.of(run, source, folder=asked.features)["embedding"].values, np.float64),
        np.array([place[name] for name in source.class_names])[source.labels]) for source in sources)


def timed(action):
    """(its result, [seconds, seconds of processor])."""
    started, worked = time.perf_counter(), time.process_time()
    result = action()
    return result, [round(time.perf_counter() - started, 2), round(time.process_time() - worked, 2)]


def single(c: float, both: fitting.Rows, test: fitting.Rows, rounds: int, tol: float = 1e-4) -> dict:
    from sklearn.linear_model import LogisticRegression

    ours, peers = [], []
    for _ in range(rounds):
        fit, seconds = timed(lambda: logistic.fit(*both, c))
        peer, theirs = timed(lambda: LogisticRegression(C=c, max_iter=100_000, tol=tol).fit(*both))
        ours, peers = [*ours, seconds], [*peers, theirs]
        print(f"C {c:g}: ours {seconds}, scikit-learn {theirs}", flush=True)
    scores = both.values @ peer.coef_.T + peer.intercept_
    own = scores[np.arange(len(scores)), np.searchsorted(peer.classes_, both.labels)]
    loss = c * float((np.logaddexp.reduce(scores, axis=1) - own).sum()) + float((peer.coef_ ** 2).sum()) / 2
    return {"c": c, "ours_seconds": ours, "peer_seconds": peers, "loss": fit.loss, "peer_loss": loss,
            "evaluations": fit.evaluations, "peer_iterations": int(peer.n_iter_[0]),
            "same_answers": float((fit.predict(test.values) == peer.predict(test.values)).mean())}


def table(record: dict) -> str:
    best = lambda rounds: f"{min(wall for wall, _ in rounds):.1f} ({min(worked for _, worked in rounds):.1f})"
    sweep, refit, (fits, all_rows, _) = record["sweep_seconds"], record["refit_seconds"], record["rows"]
    lines = [
        "# A linear probe", "",
        "`python -m benchmarks.probe --workdir=... --data=...`; Grocery Store, Keras' ResNet-50, features as they are.",
        "",
        f"{fits:,} images that fit and {all_rows - fits:,} that validate, {record['classes']} classes, "
        f"{record['size']:,} numbers each. {len(fitting.CS)} values of C from 1e-6 to 1e5: **{sweep[0]:.1f} s** "
        f"({sweep[1]:.1f} s of processor), {record['evaluations']:,} evaluations of loss and gradient; the refit at "
        f"C {record['c']:.3g}: {refit[0]:.1f} s ({refit[1]:.1f}). Validation {record['validation']:.4f}, test "
        f"{record['test']:.4f}.", "",
        "One value of C, from nothing, on both together: seconds (of processor), the least of "
        f"{len(record['single'][0]['ours_seconds'])} rounds in turns.", "",
        "| C | ours | scikit-learn | our loss / its loss - 1 | same answers for the test images |",
        "|---|---|---|---|---|"]
    lines += [f"| {one['c']:g} | {best(one['ours_seconds'])} | {best(one['peer_seconds'])} | "
              f"{one['loss'] / one['peer_loss'] - 1:+.1e} | {one['same_answers']:.4f} |" for one in record["single"]]
    tight = record["optimum"]
    (ours, _), (theirs, _) = tight["ours_seconds"][0], tight["peer_seconds"][0]
    lines += ["", f"At C {tight['c']:.3g}, scikit-learn run until its gradient is below 1e-7 "
              f"({tight['peer_iterations']:,} iterations, {theirs:.1f} s; ours {ours:.1f} s): our loss / its loss - 1 "
              f"is {tight['loss'] / tight['peer_loss'] - 1:+.1e}, and {tight['same_answers']:.4f} of the answers for "
              "the test images are the same."]
    before, after = record["load"]
    return "\n".join([*lines, "", f"{record['machine']}; load average {before:.1f} before and {after:.1f} after: above "
                      f"the number of cores, other work shared the machine, and seconds of processor say more. "
                      f"{record['date']}, commit {record['commit']}.", ""])


if __name__ == "__main__":
    main()
