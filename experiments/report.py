"""One self-contained HTML page about a run: scores, curves, ROC, neighbours, a map, the configuration.

    python -m experiments.report --workdir=runs/faces
"""

import base64
import html
import io
import json
import os
import string

import numpy as np
from absl import flags

import datasets
from experiments import cli, data, evaluate, pictures, progress, workdir
from metrics import retrieval


def define_flags() -> None:
    flags.DEFINE_string("out", "", "Where to write the page; default: report.html in --workdir.")

# Queries shown at each end of the ranking, and neighbours of each.
_QUERIES, _NEIGHBOURS = 5, 9
_TEMPLATE = os.path.join(os.path.dirname(__file__), "report.html")


def main(config, values) -> None:
    out = values.out or os.path.join(values.workdir, "report.html")
    page = render(config, values.workdir)
    workdir.write_atomically(out, page.encode())
    evaluate.print_table(evaluate.read(values.workdir))
    print(f"report in {os.path.abspath(out)}")


def render(config, folder: str) -> str:
    """The page, from the files of a workdir. Raises FileNotFoundError where it has not been evaluated."""
    record, arrays = evaluate.read(folder), evaluate.read_arrays(folder)
    embeddings, labels, paths = arrays["embeddings"], arrays["labels"], arrays["paths"].tolist()
    names = arrays["class_names"].tolist()
    trained = record["trained"]
    read = _reader(data.test_source(config), dict(zip(paths, arrays["index"].tolist(), strict=True)))
    curves = {name: (arrays[f"far/{name}"], arrays[f"tar/{name}"]) for name in record["scores"]}
    with open(_TEMPLATE) as file:
        template = string.Template(file.read())
    return template.substitute(
        title=html.escape(f"{config.embedder.name} + {config.loss.name}"),
        protocol=html.escape(f"{evaluate.what_was_tested(record)}. {record['protocol']['retrieval']}. "
                             f"{record['protocol']['verification']}."),
        cards=_cards(record),
        scores=_scores(record),
        curves=_plot(pictures.curves(progress.read_metrics(folder), record["scores"].get("untrained network")),
                     "training curves"),
        roc=_plot(pictures.roc(curves, trained), "ROC of the trained network and the baselines"),
        neighbours=_neighbours(embeddings, labels, paths, names, read),
        map=_plot(pictures.embedding_map(embeddings, labels, paths, names, config.seed, read), "map of embeddings"),
        config=html.escape(json.dumps(workdir.as_dict(config), indent=2)),
        environment=html.escape(json.dumps({key: record[key] for key in (
            "seed", "config_hash", "checkpoint_step", "checkpoint_digest", "environment")}, indent=2)),
        credit=html.escape(data.credit(config.test_data)),
    )


def _cards(record: dict) -> str:
    """The headline figures, each beside the best baseline's."""
    ours = record["scores"][record["trained"]]
    others = {name: scores for name, scores in record["scores"].items() if name != record["trained"]}
    cards = []
    for name in ("map@r", "recall@1", *(name for name in ours if name.startswith("tar@far")), "eer"):
        best = min if name == "eer" else max
        rival = best(others, key=lambda other: others[other][name])
        cards.append(f'<div class="card"><div class="name">{html.escape(name)}</div>'
                     f'<div class="value">{ours[name]:.3f}</div>'
                     f'<div class="rival">{others[rival][name]:.3f} {html.escape(rival)}</div></div>')
    return "\n".join(cards)


def _scores(record: dict) -> str:
    names = [name for name, value in record["scores"][record["trained"]].items() if isinstance(value, float)]
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    rows = "".join(f'<tr{" class=ours" if row == record["trained"] else ""}><th>{html.escape(row)}</th>'
                   + "".join(f"<td>{scores[name]:.3f}</td>" for name in names) + "</tr>"
                   for row, scores in record["scores"].items())
    return f"<table><tr><th></th>{head}</tr>{rows}</table>"


def _reader(source: datasets.Source, place: dict[str, int]) -> pictures.Reader:
    """Images by the paths that the evaluation stored, through their places in the source.

    Not every source has a file for each image, and files may have moved with their folder since.
    """
    return lambda path: datasets.decode(source[place[path]])


def _neighbours(embeddings, labels, paths, names, read: pictures.Reader) -> str:
    """The queries with the highest and the lowest average precision, of different classes, and their neighbours."""
    k = min(_NEIGHBOURS, len(labels) - 1)
    precision = retrieval.average_precision_at_r(embeddings, labels)
    order = np.argsort(-precision, kind="stable")
    order = order[np.isfinite(precision[order])]
    parts = []
    for title, ranked in (("Best queries", order), ("Worst queries", order[::-1])):
        # One of each class: five photographs of the easiest person would show nothing new.
        _, first = np.unique(labels[ranked], return_index=True)
        queries = ranked[np.sort(first)][:_QUERIES]
        found, cosines = retrieval.neighbors(embeddings[queries], embeddings, k, exclude=queries)
        parts.append(f"<h3>{title}</h3>")
        for query, row, scores in zip(queries, found, cosines, strict=True):
            cells = [_cell(paths[query], read, "query", f"class {names[labels[query]]}, map@r {precision[query]:.2f}")]
            cells += [_cell(paths[index], read, "hit" if labels[index] == labels[query] else "miss",
                            f"{names[labels[index]]} · {score:.2f}") for index, score in zip(row, scores, strict=True)]
            parts.append(f'<div class="row">{"".join(cells)}</div>')
    return "\n".join(parts)


def _cell(path: str, read: pictures.Reader, kind: str, caption: str) -> str:
    buffer = io.BytesIO()
    pictures.thumbnail(path, 112, read).save(buffer, "JPEG", quality=85)
    return (f'<figure class="{kind}" title="{html.escape(path)}">'
            f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}">'
            f"<figcaption>{html.escape(caption)}</figcaption></figure>")


def _plot(figure, alt: str) -> str:
    content = base64.b64encode(pictures.png(figure)).decode()
    return f'<img class="plot" alt="{html.escape(alt)}" src="data:image/png;base64,{content}">'


if __name__ == "__main__":
    cli.run(main, define_flags)
