"""What queries have found in a gallery: as a table, CSV or JSON, and as pictures, a .png sheet or a .html page."""

import base64
import html
import io
import json
import os

import rich.table

from geodesic.experiments.process import console, storage, workdir
from geodesic.experiments.reporting import asked, page, pictures

# Queries of a page, and hits of each: more than anyone looks at.
_QUERIES, _HITS = 200, 12
_SHOWN = 5  # names of a line
_TEMPLATE = os.path.join(os.path.dirname(__file__), "found.html")


def text(results, written: str, how: str) -> str:
    """results: of `Gallery.search`. how: a line on what "unknown" means."""
    if written == "json":
        return json.dumps({"unknown": how, "queries": [
            {"query": one.query, "answer": one.answer, "hits": [
                {"rank": rank, **hit._asdict()} for rank, hit in enumerate(one.hits, start=1)]}
            for one in results]}, indent=2) + "\n"
    if written == "csv":
        return asked.csv_text(("query", "answer", "rank", "id", "path", "label", "cosine", "known"), (
            (one.query, one.answer or "", rank, hit.id, hit.path, hit.label, f"{hit.cosine:.6f}",
             "" if hit.known is None else "yes" if hit.known else "no")
            for one in results for rank, hit in enumerate(one.hits, start=1)))
    return _table(results, how)


def rows_text(rows: list[dict], written: str) -> str:
    """rows: of `Gallery.rows`."""
    if written == "json":
        return json.dumps(rows, indent=2) + "\n"
    if written == "csv":
        return asked.csv_text(("id", "path", "label", "metadata", "digest"), (
            (row["id"], row["path"], row["label"], json.dumps(row["metadata"]), row["digest"]) for row in rows))
    root, short = _below([row["path"] for row in rows])
    cells = []
    for row in rows:
        words = ", ".join(f"{name} {value}" for name, value in row["metadata"].items())
        path = short(row["path"])
        cells.append((path, "", row["label"], words) if row["id"] == row["path"] else
                     (row["id"], path, row["label"], words))
    table = rich.table.Table()
    names = ("id", "picture", "label", "metadata")
    shown = [place for place in range(len(names)) if not place or any(row[place] for row in cells)]
    for place in shown:
        table.add_column(names[place], overflow="fold")
    for row in cells:
        table.add_row(*(row[place] for place in shown))
    return (f"paths are below {root}\n" if root else "") + console.text(table) + f"{len(rows):,} row(s)\n"


def change_text(change, rows: int, place: str) -> str:
    """change: of `Gallery.add`. rows: how many the gallery has now."""
    lines = "".join(f"skipped: {line}\n" for line in change.skipped)
    lines += names_text("vanished", change.vanished, "their rows were removed" if change.removed else
                        "their rows stay; geodesic gallery update --remove_vanished removes them")
    parts = [f"{getattr(change, name):,} {what}" for name, what in (
        ("added", "added"), ("changed", "embedded anew, as they had changed"), ("renamed", "with other words"),
        ("removed", "removed"), ("unchanged", "as they were")) if getattr(change, name) or name == "added"]
    return (f"{lines}{'stopped, and the same command goes on: ' if change.stopped else ''}{', '.join(parts)}; "
            f"{rows:,} row(s) in {place}\n")


def names_text(what: str, names, then: str) -> str:
    """A line with the first of them; "" of none."""
    more = f", and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return f"{what}: {', '.join(names[:_SHOWN])}{more}: {then}\n" if names else ""


def write(path: str, results, read: pictures.Reader, how: str) -> None:
    """The pictures, whole or not at all. read: from a query's or a row's path to its pixels."""
    if path.endswith(".html"):
        shown = results[:_QUERIES]
        more = f"the first {len(shown)} of {len(results):,} queries; " if len(results) > len(shown) else ""
        colours = "; framed in green: at least that, in red: below" if any(one.answer for one in shown) else ""
        content = page.render(_TEMPLATE, os.path.splitext(os.path.basename(path))[0],
                              what=html.escape(more + how + colours),
                              rows="\n".join(_row(one, read) for one in shown)).encode()
    else:
        content = pictures.png(pictures.contact_sheet([
            (one.query, [(hit.path, hit.cosine) for hit in one.hits[:_HITS]]) for one in results]))
    workdir.write_atomically(path, content)


def _row(one, read: pictures.Reader) -> str:
    answer = "" if one.answer is None else f'<div class="answer"><b>{html.escape(one.answer)}</b></div>'
    cells = [_cell(one.query, "query", os.path.basename(one.query), "", read)]
    cells += [_cell(hit.path, {None: "plain", True: "hit", False: "miss"}[hit.known],
                    hit.label or os.path.basename(hit.path) or hit.id, f"{hit.cosine:.3f}", read)
              for hit in one.hits[:_HITS]]
    return f'  <div class="row">{answer}{"".join(cells)}</div>'


def _cell(path: str, kind: str, name: str, cosine: str, read: pictures.Reader) -> str:
    buffer = io.BytesIO()
    pictures.thumbnail(path, 112, read).save(buffer, "JPEG", quality=85)
    return (f'<figure class="found {kind}" title="{html.escape(path)}"><img alt="" '
            f'src="data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}">'
            f"<figcaption><b>{cosine}</b> {html.escape(name)}</figcaption></figure>")


def _table(results, how: str) -> str:
    root, short = _below([path for one in results for path in (one.query, *(hit.path for hit in one.hits))])
    known = any(one.answer is not None for one in results)
    table = rich.table.Table()
    for name, justify in (("query", "left"), *((("answer", "left"),) if known else ()), ("rank", "right"),
                          ("cosine", "right"), ("label", "left"), ("row", "left")):
        table.add_column(name, justify=justify, overflow="fold")
    for one in results:
        first = [short(one.query), *([one.answer] if known else [])]
        if not one.hits:
            table.add_row(*first, end_section=True)
        for rank, hit in enumerate(one.hits, start=1):
            table.add_row(*first, str(rank), f"{hit.cosine:.4f}", hit.label, short(hit.path) or hit.id,
                          end_section=rank == len(one.hits))
            first = [""] * len(first)
    return (f"paths are below {root}\n" if root else "") + console.text(table) + f"{how}\n"


def _below(paths: list[str]):
    """(the folder that all of the files share, or "", a function that leaves it out of a path)."""
    files = {path for path in paths if os.path.isabs(path) or storage.is_remote(path) or storage.exists(path)}
    root = storage.common_folder(files) if files else ""
    if not root:
        return "", lambda path: path
    return root, lambda path: (storage.absolute(path).removeprefix(os.path.join(root, "")) if path in files else path)
