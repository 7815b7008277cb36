"""One self-contained HTML page about a run: scores, the papers' figures, training, ROC and DET, a classifier's
answers, neighbours, why pairs match, a map.

    geodesic report --workdir=runs/faces
"""

import html
import json
import os

from absl import flags

from geodesic import datasets, metrics
from geodesic.configs import stored
from geodesic.datasets import transforms
from geodesic.errors import UserError
from geodesic.experiments.checkpoints import imported
from geodesic.experiments.process import cli, hosts, progress, storage, workdir
from geodesic.experiments.protocols import run_scores
from geodesic.experiments.reporting import (
    classified,
    detected,
    embedding_map,
    galleries,
    matched,
    page,
    pictures,
    report_sections,
)
from geodesic.experiments.trained import loading
from geodesic.experiments.training import data
from geodesic.metrics import retrieval


def define_flags() -> None:
    flags.DEFINE_string("out", "", "Where to write the page; default: report.html in --workdir.")


# The headline figures of a classifier.
_CLASSIFIER = ("top1", "mean_per_class_accuracy", "macro_ap", "calibration_error")
_NO_RETRIEVAL = '<p class="protocol">Retrieval was not scored: geodesic evaluate --also=retrieval does it.</p>'
_TEMPLATE = os.path.join(os.path.dirname(__file__), "reporting", "report.html")


def main(config, values) -> None:
    out = values.out or os.path.join(values.workdir, "report.html")
    content = render(config, values.workdir)
    hosts.first_does(lambda: workdir.write_atomically(out, content.encode()))
    run_scores.print_table(run_scores.read(values.workdir))
    print(f"report in {storage.absolute(out)}")


def render(config, folder: str) -> str:
    """The page, from the files of a workdir. Raises FileNotFoundError where it has not been evaluated."""
    measured, arrays = run_scores.read(folder), run_scores.read_arrays(folder)
    paths, source = arrays["paths"].tolist(), _source(config)
    read = _reader(source, dict(zip(paths, arrays["index"].tolist(), strict=True)))
    if "detection" in measured:
        return page.render(detected.TEMPLATE, f"{config.embedder.name} + {config.loss.name}",
                           **detected.parts(folder, measured, arrays, read), **_shared(config, measured))
    tested = galleries.Tested(arrays["embeddings"], arrays["labels"], paths, arrays["class_names"].tolist(), read)
    return page.render(
        _TEMPLATE, f"{config.embedder.name} + {config.loss.name}",
        protocol=html.escape(". ".join((run_scores.what_was_tested(measured), *(
            measured["protocol"][name] for name in ("retrieval", "verification") if name in measured["protocol"])))
            + "."),
        cards=_cards(measured),
        scores=_scores(measured),
        papers=report_sections.papers(folder),
        threshold=report_sections.calibrated(folder),
        **_drawn(config, folder, measured, arrays, tested, source),
        **_shared(config, measured),
    )


def _shared(config, measured: dict) -> dict[str, str]:
    """The sections of every report, by name."""
    return {
        "config": html.escape(json.dumps(stored.as_dict(config), indent=2)),
        "environment": html.escape(json.dumps({key: measured[key] for key in (
            "seed", "config_hash", "checkpoint_step", "checkpoint_digest", "environment")}, indent=2)),
        "credit": html.escape(data.credit(config.test_data)),
    }


def _drawn(config, folder: str, measured: dict, arrays: dict, tested: galleries.Tested, source) -> dict[str, str]:
    """The sections that take their time, by name; a bar shows how far they are."""
    untrained = measured["scores"].get("untrained network")  # not every evaluation has the baselines
    sections = {
        "curves": lambda: report_sections.plot(pictures.curves(progress.read_metrics(folder), untrained),
                                               "training curves"),
        "classification": lambda: classified.render(measured, arrays, tested),
        "map": lambda: embedding_map.render(tested.embeddings, tested.labels, tested.paths, tested.class_names,
                                            config.seed, tested.read),
    }
    drawn = dict.fromkeys(("roc", "neighbours", "classes", "hubs"), _NO_RETRIEVAL) | {"matched": ""}
    if measured["scores"]:
        precision = retrieval.rank_self(tested.embeddings, tested.labels).map_at_r
        decided = galleries.rivals(tested, precision, config.seed)
        sections |= {
            "roc": lambda: report_sections.rates(measured, arrays, tested, config.seed),
            "neighbours": lambda: galleries.neighbours(tested, precision, decided, config.seed),
            "classes": lambda: galleries.classes(tested, precision, decided),
            "hubs": lambda: galleries.hubs(tested),
            "matched": lambda: _matched(config, folder, measured, arrays, tested, precision, decided, source),
        }
    with progress.bar("drawing the report", len(sections)) as advance:
        for name, draw in sections.items():
            drawn[name] = draw()
            advance(1)
    return drawn


def _matched(config, folder, measured, arrays, tested, precision, decided, source) -> str:
    """Why pairs match, by the weights that were evaluated; where they or the photographs have gone, a line, or nothing.
    """
    if source is None:
        return ""
    try:
        run = loading.load(folder, config, step=None if imported.exist(folder) else measured["checkpoint_step"])
        if run.digest != measured["checkpoint_digest"]:
            raise UserError("the weights are no longer those that were evaluated")
        found = matched.render(run, tested, precision, decided,
                               lambda row: transforms.eval_view(source[int(arrays["index"][row])], config.input))
    except (UserError, FileNotFoundError) as error:
        found = f'<p class="protocol">There are no maps: {html.escape(str(error))}.</p>'
    return found and f"<h2>Why they match</h2>\n{found}"


def _cards(measured: dict) -> str:
    """The headline figures, each beside the best baseline's, where there are any; of a classifier its own first."""
    ours = measured["scores"].get(measured["trained"], {})
    others = {name: scores for name, scores in measured["scores"].items() if name != measured["trained"]}
    classifier = measured.get("classification", {}).get("metrics", {})
    cards = [_card(name, classifier[name]["value"]) for name in _CLASSIFIER if name in classifier]
    recall = [name for name in ours if name.startswith("recall@")][:1]
    for name in ("map@r", *recall, *(name for name in ours if name.startswith("tar@far")), "eer") if ours else ():
        best = min if metrics.lower_is_better(name) else max
        rival = best(others, key=lambda other: others[other][name], default="")
        beside = f"{others[rival][name]:.3f} {html.escape(rival)}" if rival else ""
        cards.append(_card(name, ours[name], beside))
    return "\n".join(cards)


def _card(name: str, value: float, beside: str = "") -> str:
    return (f'<div class="card"><div class="name">{html.escape(name)}</div>'
            f'<div class="value">{value:.3f}</div><div class="rival">{beside}</div></div>')


def _scores(measured: dict) -> str:
    if not measured["scores"]:
        return _NO_RETRIEVAL
    names = [name for name, value in measured["scores"][measured["trained"]].items() if isinstance(value, float)]
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    rows = "".join(f'<tr{" class=ours" if row == measured["trained"] else ""}><th>{html.escape(row)}</th>'
                   + "".join(f"<td>{scores[name]:.3f}</td>" for name in names) + "</tr>"
                   for row, scores in measured["scores"].items())
    return f"<table><tr><th></th>{head}</tr>{rows}</table>"


def _source(config) -> datasets.Source | None:
    """The test data; None where they have gone: the page is then made without photographs."""
    try:
        return data.test_source(config)
    except OSError as error:
        print(f"the page has no photographs: {error}")
        return None


def _reader(source: datasets.Source | None, place: dict[str, int]) -> pictures.Reader:
    """Images by the paths that the evaluation stored, through their places in the test source.

    Not every source has a file for each image, and files may have moved with their folder since.
    """
    return pictures.read_file if source is None else lambda path: datasets.decode(source[place[path]])


if __name__ == "__main__":
    cli.run(main, define_flags, buckets=("workdir", "out"))
