"""Tables, headers and folders changed at random, each tried against what an independent reader makes of it.

A try is "refused" (in one line that a user can read), "survived" (and means what it should), or says what went wrong.
"""

import csv
import datetime
import io
import os
import pathlib
import re
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from geodesic import datasets
from geodesic.datasets.sources import image_folder
from geodesic.errors import UserError

LABELS = ["7", "07", "1e1", "123456789012345678901", "New York", " New York ", '"Smith, ""J"""', "Jos\u00e9", "NA",
          "a|b", '"two\nlines"', "7 "]
NAMES = ["a", "A", "b", "\u00e9", "e\u0301", "\udce9", "\n", "\t", " ", ".", "-", "[", "]", "$", "#", "@", "%", ":",
         "\\", "'", '"', "\U0001f600", "__MACOSX", "lost+found", "@eaDir", ".git", "x" * 60]
ENDINGS = [".jpg", ".PNG", ".gif", ".jfif", ".AVIF", ".jp2", ".txt", "", ".", ".jpg~", ".t\nxt", "jpg", ".\udcff"]


def mutate(content: bytes, rng: np.random.Generator, same_length: bool = False) -> bytes:
    """One to four times: a bit flipped, a byte set, a run of bytes filled with noise or zeros, lost, doubled or put in,
    or the end cut off. It begins at a byte that is not zero: padding does not matter to anybody.
    """
    content = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        at = int(rng.choice(np.flatnonzero(np.frombuffer(bytes(content), np.uint8)) if any(content) else [0]))
        end = int(min(at + rng.integers(1, 64), len(content)))
        noise = rng.integers(0, 256, end - at, np.uint8).tobytes()
        changes = [(at, at + 1, bytes([content[at] ^ 1 << int(rng.integers(8))])), (at, at + 1, noise[:1]),
                   (at, end, noise), (at, end, bytes(end - at)), (at, end, b""), (at, at, bytes(content[at:end])),
                   (at, at, noise), (max(at, 1), len(content), b"")]
        start, stop, new = changes[rng.integers(4 if same_length else len(changes))]
        content[start:stop] = new
    return bytes(content)


def mutate_text(content: bytes, rng: np.random.Generator) -> bytes:
    """Also puts in, or takes out, what tables are made of: separators, quotes, ends of lines, blanks, zeros."""
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(len(content) + 1))
        new = (b",", b'"', b"\n", b"\r", b"\r\n", b" ", b"0", b";", b"\t", b"\0", b"#", b"|", b"\xe9", b"\xc2\xa0",
               b"\xef\xbb\xbf", b"nan", b",,", b'""')[rng.integers(18)]
        content = content[:at] + new + content[at + int(rng.integers(0, 3)):]
    if rng.integers(6) == 0:  # a quote is opened
        at = int(rng.choice([place for place, byte in enumerate(content) if byte == ord(",")] or [0])) + 1
        content = content[:at] + b'"' + content[at:]
    return mutate(content, rng) if content and rng.integers(4) == 0 else content


def meaning(content: bytes, split: str) -> list[tuple[str, list[str]]] | None:
    """(path, labels) of every row by Python's own reader; None where the table is none of a manifest."""
    text = content.decode("utf-8-sig", "surrogateescape")
    rows = list(csv.reader(io.StringIO(text, newline="")))
    try:
        list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        if "unexpected end" in str(error):  # a quote that is never closed has swallowed rows
            return None
    head, *rows = [row for row in rows if row] or [[]]
    head = [name.strip() for name in head]
    column = "label" if "label" in head else "labels"
    if any(head.count(name) != 1 for name in ("path", column, *(("split",) if split else ()))):
        return None
    if any(len(row) != len(head) for row in rows):
        return None
    cell = lambda row, name: row[head.index(name)]
    rows = [row for row in rows if not split or cell(row, "split").strip() == split]
    texts = lambda text: [text.strip()] if column == "label" else [
        part.strip() for part in text.split("|") if part.strip()]
    return [(cell(row, "path"), texts(cell(row, column))) for row in rows]


def outcome(path: pathlib.Path, split: str, expected: list[tuple[str, list[str]]] | None) -> str:
    """Of a manifest that has, or would have, these paths and labels."""
    try:
        source = datasets.build("manifest", path=f"{path}#{split}" if split else str(path))
    except (UserError, FileNotFoundError) as error:
        assert str(path) in str(error), error
        return "refused"
    if expected is None:
        return "READ WHAT IS NO MANIFEST"
    if source.paths != [os.path.join(path.parent, os.fsdecode(file)) for file, _ in expected]:
        return "OTHER PATHS"
    if any(not labels or not all(labels) for _, labels in expected):
        return "READ WHAT HAS NO LABEL"
    if [source.class_names[label] for label in source.labels] != [labels[0] for _, labels in expected]:
        return "OTHER LABELS"
    if {*source.class_names} != {label for _, labels in expected for label in labels}:
        return "OTHER CLASSES"
    if source.tags is not None and [{source.class_names[tag] for tag in np.flatnonzero(tags)} for tags in source.tags
                                    ] != [{*labels} for _, labels in expected]:
        return "OTHER TAGS"
    return "survived" if len({*source.class_names}) == source.num_classes else "CLASSES OF ONE NAME"


def try_csv(rng: np.random.Generator, folder: pathlib.Path) -> str:
    lines = [f"{place}.png,{label},{'train' if place % 3 else 'test'},note {place}"
             for place, label in enumerate(LABELS)]
    content = mutate_text("\n".join(["path,label,split,note", *lines, ""]).encode(), rng)
    (folder / "m.csv").write_bytes(content)
    split = ("", "train", "test")[rng.integers(3)]
    return outcome(folder / "m.csv", split, meaning(content, split))


def try_header(rng: np.random.Generator, folder: pathlib.Path) -> str:
    head = ["path", "label", "split", "note"]
    for _ in range(rng.integers(1, 4)):
        at, kind = int(rng.integers(len(head))), rng.integers(9)
        other = ("path", "label", "labels", "split", "", " ", "Label", "#", 'a"b', "a,b", "\u00e9", "\ufeff", "x\n",
                 "\0")
        new = [[head[at] + " "], [" " + head[at]], [head[at].upper()], [head[at], head[at]], [],
               [other[rng.integers(len(other))]], [head[at], other[rng.integers(len(other))]], [head[at][:-1]],
               [head[at] + "s"]][kind]
        head[at:at + 1] = new
        head = head or [""]
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator=("\n", "\r\n", "\r")[rng.integers(3)])
    writer.writerow(head)
    writer.writerows([f"{place}.{column}" if name.strip() == "path" else LABELS[(place + column) % 12].strip('"')
                      for column, name in enumerate(head)] for place in range(6))
    content = buffer.getvalue().encode("utf-8-sig" if rng.integers(3) == 0 else "utf-8")
    (folder / "m.csv").write_bytes(content)
    split = ("", "", "7")[rng.integers(3)]
    return outcome(folder / "m.csv", split, meaning(content, split))


def _values(rng: np.random.Generator) -> tuple[pa.Array, list]:
    """(a column of any type, the text of each value, None for none)."""
    names = [("a", " a", "B", "07", "7")[place] if place < 5 else ("", " ", None, "\u00a0", "a")[rng.integers(5)]
             for place in rng.integers(0, 6, 6) - (rng.integers(3, size=6) > 0)]
    numbers = [None if rng.integers(40) == 0 else int(number) for number in rng.integers(-3, 12, 6)]
    shift = lambda by: [None if number is None else number + by for number in numbers]
    text = lambda values: [None if value is None or value != value else str(value) for value in values]
    floats = [float("nan") if number == 11 else None if number is None else number / 4 for number in numbers]
    days = [None if number is None else datetime.date(2020, 1, 1) + datetime.timedelta(number) for number in numbers]
    truths = [None if number is None else number % 2 == 0 for number in numbers]
    raw = [None if name is None else name.encode() + b"\xff" * int(rng.integers(12) == 0) for name in names]
    return [
        (pa.array(names), names), (pa.array(names, pa.large_string()), names),
        (pa.array(names).dictionary_encode(), names), (pa.array(numbers, pa.int8()), text(numbers)),
        (pa.array(shift(2 ** 62), pa.int64()), text(shift(2 ** 62))), (pa.array(shift(2 ** 63), pa.uint64()),
                                                                      text(shift(2 ** 63))),
        (pa.array(floats, pa.float64()), text(floats)), (pa.array(floats, pa.float32()), text(floats)),
        (pa.array(truths, pa.bool_()), text(truths)),
        (pa.array(days, pa.date32()), text(days)),
        (pa.array(raw, pa.binary()), [value and (None if b"\xff" in value else value.decode()) for value in raw]),
        (pa.array([[name] for name in names]), [None] * 6), (pa.nulls(6), [None] * 6),
    ][rng.integers(13)]


def try_parquet(rng: np.random.Generator, folder: pathlib.Path) -> str:
    """Half of them with other values, half of them damaged besides: their pages have checksums."""
    column, texts = _values(rng)
    paths = [f"{place}.png" for place in range(6)]
    table = pa.table({"path": pa.array(paths), "label": column, "note": pa.array(range(6))})
    path = folder / "m.parquet"
    pyarrow.parquet.write_table(table, path, write_page_checksum=True,
                                compression=("none", "snappy", "zstd")[rng.integers(3)])
    if rng.integers(2):
        path.write_bytes(mutate(path.read_bytes(), rng))
    expected = [(file, [text.strip()] if text and text.strip() else [])
                for file, text in zip(paths, texts, strict=True)]
    return outcome(path, "", expected)


def try_folder(rng: np.random.Generator, folder: pathlib.Path) -> str:
    root, outside = folder / "photos", folder / "outside"
    for made in (root, outside):
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir()
    draw = lambda of: of[rng.integers(len(of))]
    name = lambda: "".join(draw(NAMES) for _ in range(rng.integers(1, 4)))
    files = {}
    for _ in range(rng.integers(1, 12)):
        parts = [name() for _ in range(rng.integers(0, 4))] + [name() + draw(ENDINGS)]
        if {".", ".."} & {*parts}:
            continue
        try:
            root.joinpath(*parts[:-1]).mkdir(parents=True, exist_ok=True)
            root.joinpath(*parts).write_bytes(b"x")
        except (NotADirectoryError, FileExistsError, IsADirectoryError):
            continue
        files[os.path.join(*parts)] = parts
    if rng.integers(2):  # a class elsewhere, twice, and a link to what lies here, and to what holds it
        (outside / "0.jpg").write_bytes(b"x")
        (root / "zz1").symlink_to(outside)
        (root / "zz2").symlink_to(outside)
        (root / "zz3").symlink_to("..")
        files["zz1/0.jpg"] = ["zz1", "0.jpg"]
        for inner in sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.is_symlink())[:1]:
            (root / "zz4").symlink_to(inner.name)
            if _hidden(inner.name):  # it is read at its link, then
                files |= {os.path.join("zz4", *parts[1:]): ["zz4", *parts[1:]] for parts in [*files.values()]
                          if parts[0] == inner.name}
    hidden = [key for key, parts in files.items() if any(map(_hidden, parts[:-1])) or parts[-1].startswith(".")]
    shown = {key: parts for key, parts in files.items() if key not in hidden}
    images = {key: parts for key, parts in shown.items() if re.search(r"(?s).\.(jpg|png|gif|jfif|avif)\Z", key.lower())}
    try:
        source = datasets.build("image_folder", path=str(root))
    except FileNotFoundError:
        return "refused" if not images else "REFUSED IMAGES"
    if sorted(source.paths) != sorted(os.path.join(root, key) for key in images):
        return "OTHER IMAGES"
    of = {os.path.join(root, key): parts[0] if len(parts) > 1 else "" for key, parts in images.items()}
    if [source.class_names[label] for label in source.labels] != [of[path] for path in source.paths]:
        return "OTHER CLASSES"
    if source.class_names != sorted({*of.values()}):
        return "OTHER ORDER"
    said = re.search(r"passed over ([0-9]+) file", " ".join(source.remarks))
    if int(said[1] if said else 0) != len(shown) - len(images):
        return "FILES LOST IN SILENCE"
    if any(not remark.replace("\udce9", "").replace("\udcff", "").isprintable() for remark in source.remarks):
        return "REMARKS OF SEVERAL LINES"
    return "survived"


def _hidden(name: str) -> bool:
    return name.startswith(".") or name in image_folder.SYSTEM_FOLDERS


KINDS = {"tables of text": try_csv, "headers": try_header, "Parquet tables": try_parquet, "folders": try_folder}
