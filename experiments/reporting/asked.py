"""What several programs are asked alike: of which pictures, told in which form, and with a sheet of them or without."""

import csv
import io
import os
import sys
from collections.abc import Callable, Iterable

from absl import flags

from geodesic import datasets
from geodesic.errors import UserError
from geodesic.experiments.process import hosts
from geodesic.experiments.process import workdir as workdirs
from geodesic.experiments.trained import inputs

FORMATS, SHEETS = ("table", "csv", "json"), (".png", ".html")


def define_pictures(images: str = "A picture, or a folder of pictures, searched with its sub-folders.") -> None:
    """--images, and --source with --path in its place. images: what --images says of itself."""
    flags.DEFINE_string("images", "", images)
    flags.DEFINE_string("source", "", "In place of --images: name of a source (docs/data.md).")
    flags.DEFINE_string("path", "", "Folder or file of --source.")


def check_pictures(values, required: bool = True) -> None:
    """Raises UserError for pictures that are asked for in no way, where they are required, or in two."""
    if (values.images and values.source) or (required and not (values.images or values.source)):
        raise UserError("--images=... is required, or --source=... with --path=..., and not both")
    if values.path and not values.source:
        raise UserError("--path needs --source: how is it to be read?")


def pictures(values) -> datasets.Source:
    return datasets.build(values.source, path=values.path) if values.source else inputs.as_source(values.images)


def which(values) -> str:
    """The pictures, for messages."""
    return values.images or values.path or values.source


def define_form(told: str, shown: str, of: str = "") -> None:
    """--format, --out and --sheet. told, shown: what is written, what the sheet has. of: the verbs that they are of."""
    flags.DEFINE_enum("format", "", ["", *FORMATS], f"{of}How it is told; default: by the extension of --out, else "
                      "table.")
    flags.DEFINE_string("out", "", told)
    flags.DEFINE_string("sheet", "", f"{shown}: a .png file, or a .html page that opens offline.")


def check_sheet(values) -> None:
    if values.sheet and not values.sheet.endswith(SHEETS):
        raise UserError(f"--sheet is a .png or a .html file; got {values.sheet!r}")


def form_of(values) -> str:
    """The format that is asked for, else that of the extension of --out, else a table."""
    extension = os.path.splitext(values.out)[1].removeprefix(".")
    return values.format or (extension if extension in FORMATS else "table")


def say_beside(form: str, out: str) -> Callable[[str], None]:
    """A function that prints a line where it does not stand within the CSV or JSON that is printed."""
    return lambda line: print(line, file=sys.stdout if form == "table" or out else sys.stderr, flush=True)


def give(text: str, out: str, say: Callable[[str], None], told: str, errors: str = "replace") -> None:
    """Prints the text; or writes it to the file `out`, whole or not at all, and says what is told of it.

    errors: as of `str.encode`, what becomes of names in no encoding.
    """
    if out:
        hosts.first_does(lambda: workdirs.write_atomically(out, text.encode(errors=errors)))
        say(told)
    else:
        print(text, end="", flush=True)


def csv_text(head: Iterable[str], rows: Iterable[Iterable]) -> str:
    """The lines of a CSV file.

    Example:
        >>> from geodesic.experiments.reporting import asked
        >>> asked.csv_text(("path", "class"), [("a,b.jpg", "wren")])
        'path,class\\n"a,b.jpg",wren\\n'
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return buffer.getvalue()
