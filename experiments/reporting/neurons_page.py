"""The page of what the neurons of a layer stand for (protocols/dissecting.py): one file that answers offline."""

import base64
import html
import io
import json
import os
from collections.abc import Callable

import numpy as np
import PIL.Image

from geodesic.experiments.process import storage
from geodesic.experiments.protocols import dissecting
from geodesic.experiments.reporting import page

_TEMPLATE = os.path.join(os.path.dirname(__file__), "neurons_page.html")
# What a page holds: pictures, and values of neurons. Past either, it has the strongest pictures alone.
MOST_PICTURES, MOST_VALUES = 10_000, 8_000_000
_SIDE, _COLUMNS, _BINS = 64, 32, 16
_MADE = 136  # of a picture that was made, as wide as two of the others
_SHEET = _COLUMNS * _COLUMNS  # pictures of a sheet: phones decode no larger images


def render(found: dissecting.Neurons, paths: list[str], view: Callable[[int], np.ndarray], credit: str = "",
           visualized: dict[int, np.ndarray] | None = None) -> str:
    """The page. paths: of all images of the source. view: from a place in it to u8[S,S,3], as the network sees it.
    visualized: neuron -> u8[S,S,3], a picture that makes it high (trained/visualization.py); the record has its value.
    """
    record, (images, neurons) = found.record, found.values.shape
    whole = images <= MOST_PICTURES and images * neurons <= MOST_VALUES
    shown = np.arange(images) if whole else np.unique(found.strongest)
    content = _content(found, shown, paths) | (_matrix(found.values) if whole else {"matrix": None})
    content["made"] = _made(record, visualized or {})
    left_out = "" if whole else (
        f"<p class=\"protocol\">{images:,} images of {neurons:,} neurons are more than a page can hold: it has the "
        f"strongest pictures of each neuron, and cannot be asked for the neurons of a picture, for pictures by their "
        f"neurons, or for neurons that tell two classes apart.</p>")
    return page.render(
        _TEMPLATE, f"Neurons of {record['embedder']}, layer {record['layer']}", protocol=html.escape(describe(record)),
        says=html.escape(record["says"]), cards=_cards(record), controls=_controls(record), left_out=left_out,
        visualized=_told(record),
        styles=_sheets([found.places[row] for row in shown], view), credit=html.escape(credit),
        # "</script>" in a file's name would end the script, and "<!--" open a comment in it.
        data=json.dumps(content, separators=(",", ":")).replace("<", "\\u003c"),
        environment=html.escape(json.dumps({name: record[name] for name in (
            "workdir", "digest", "step", "input", "seed", "records", "left_out", "environment")}, indent=2)))


def describe(record: dict) -> str:
    """What was looked at, in a sentence or three."""
    text = (f"Layer {record['layer']} of {record['embedder']}, {record['input']['image_size']} px, on "
            f"{record['images']:,} images.")
    if record["controls"]:
        text += (f" The class of a neuron, one of {record['usable_classes']:,}, is the one that it tells best among "
                 f"{record['chosen_on']:,} images; its AUC and its pictures are of the other {record['scored_on']:,}.")
        if rest := record["classes"] - record["usable_classes"]:
            text += f" {rest:,} more classes have too few images to be a neuron's."
    return text + ("" if record["map"] else " The layer has no map: no picture shows which place made a neuron fire.")


def table(record: dict) -> list[list[str]]:
    """Head and rows of the controls; no rows without classes."""
    rows = [[name, f"{one['axes']:,}", f"{one['median']:.3f}", f"{one['share']:.3f}", f"{one['above']:.3f}"]
            for name, one in record["controls"].items() if isinstance(one, dict) and "share" in one]
    level = f" ({record['controls']['level']:.3f})" if rows else ""
    return [["", "axes", "median AUC", f"share with AUC >= {dissecting.HIGH_AUC:g}",
             f"share above the 95th percentile of the turned ones{level}"], *rows]


def _told(record: dict) -> str:
    """Which neurons have been visualised, and how."""
    if "visualized" not in record:
        return ""
    made = ", ".join(f'<a href="#find={one["neuron"]}">{one["neuron"]}</a>' for one in record["visualized"]["neurons"])
    return (f'<p class="protocol">Beside the pictures of {made}: one that was made, by gradient, to make the neuron '
            "high. What it looks like is the regulariser's doing too: "
            f"{html.escape(record['visualized']['regulariser'])}.</p>")


def _made(record: dict, visualized: dict[int, np.ndarray]) -> dict:
    """Neuron -> [its made picture, what it reaches, the highest of all images]."""
    made = {}
    for one in record["visualized"]["neurons"] if visualized else []:
        buffer = io.BytesIO()
        image = PIL.Image.fromarray(visualized[one["neuron"]])
        image.resize((_MADE, _MADE), PIL.Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=85)
        made[one["neuron"]] = [f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}",
                               _short(one["value"]), _short(one["highest_of_the_images"])]
    return made


def _cards(record: dict) -> str:
    cards = [("neurons", len(record["neurons"]), ""), ("dead", record["dead"], "one value for all images"),
             ("saturated", record["saturated"], "at the top for over half"),
             ("duplicates", record["alike"], f"correlate {dissecting.ALIKE:g} with another")]
    return "\n".join(f'<div class="card"><div class="name">{name}</div><div class="value">{value:,}</div>'
                     f'<div class="rival">{note}</div></div>' for name, value, note in cards)


def _controls(record: dict) -> str:
    head, *rows = table(record)
    cells = lambda row, tag: "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)
    ours = lambda row: ' class="ours"' if row[0] == "neurons" else ""
    return ("" if not rows else '<div class="scroll"><table id="controls">' + f"<tr>{cells(head, 'th')}</tr>"
            + "".join(f"<tr{ours(row)}><th>{html.escape(row[0])}</th>{cells(row[1:], 'td')}</tr>" for row in rows)
            + "</table></div>")


def _content(found: dissecting.Neurons, shown: np.ndarray, paths: list[str]) -> dict:
    """What the page's script reads; rows of pictures are places in `shown`."""
    paths = [paths[found.places[row]] for row in shown]
    root = storage.common_folder(paths) if all(map(os.path.lexists, paths)) else ""
    place = {row: index for index, row in enumerate(shown.tolist())}
    labelled = found.selected is not None
    return {
        "names": [*map(_text, found.names)] if labelled else [], "usable": found.usable.tolist() if labelled else [],
        "images": found.positive[found.scoring].sum(axis=0).tolist(), "side": _SIDE, "columns": _COLUMNS,
        "sheet": _SHEET, "map": found.record["map"],
        "pictures": [_text(os.path.relpath(path, root) if root else path) for path in paths],
        "of": [np.flatnonzero(found.positive[row]).tolist() if labelled else [] for row in shown],
        "scores": "".join("01"[int(found.scoring[row])] for row in shown),
        "neurons": [_neuron(found, one, place) for one in found.record["neurons"]]}


def _neuron(found: dissecting.Neurons, one: dict, place: dict[int, int]) -> dict:
    """Of one neuron, with short names: there may be thousands."""
    number, values = one["neuron"], found.values[:, one["neuron"]]
    kind = "dead" if one["dead"] else "saturated" if one["saturated"] else ""
    return ({} if found.selected is None else {"class": int(found.selected.concept[number]), "auc": one["auc"],
                                               "low": one["low"], "high": one["high"]}) | {
        "silent": one["silent"], "kind": kind, "near": one["nearest"], "far": one["opposite"],
        "least": _short(values.min()), "most": _short(values.max()),
        "bins": np.histogram(values, _BINS)[0].tolist() if not one["dead"] else [],
        "top": [[place[row], _short(shown["value"]), shown["region"] or ""] for row, shown in zip(
            found.strongest[number].tolist(), one["strongest"], strict=True)] if not one["dead"] else []}


def _matrix(values: np.ndarray) -> dict:
    """All values, a byte each, linear between the least and the greatest of their neuron, row by row."""
    least, most = values.min(axis=0), values.max(axis=0)
    width = np.where(most > least, most - least, 1)
    return {"matrix": base64.b64encode(np.rint((values - least) / width * 255).astype(np.uint8).tobytes()).decode()}


def _sheets(places: list[int], view: Callable[[int], np.ndarray]) -> str:
    """Styles with all pictures, each once, on sheets of so many: .s0 has the first as its background."""
    styles = []
    for number, start in enumerate(range(0, len(places), _SHEET)):
        part = places[start:start + _SHEET]
        sheet = PIL.Image.new("RGB", (_COLUMNS * _SIDE, -(-len(part) // _COLUMNS) * _SIDE), (255, 255, 255))
        for index, place in enumerate(part):
            small = PIL.Image.fromarray(view(place)).resize((_SIDE, _SIDE), PIL.Image.Resampling.LANCZOS)
            sheet.paste(small, (index % _COLUMNS * _SIDE, index // _COLUMNS * _SIDE))
        buffer = io.BytesIO()
        sheet.save(buffer, "JPEG", quality=75)
        styles.append(f".s{number} {{ background-image: url(data:image/jpeg;base64,"
                      f"{base64.b64encode(buffer.getvalue()).decode()}); }}")
    return "\n".join(styles)


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _text(name: str) -> str:
    return name.encode("utf-8", "replace").decode()  # a name of a file may be of no encoding at all
