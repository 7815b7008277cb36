"""A page of results in one file that opens offline: every page has the same head and style."""

import base64
import html
import os
import string

_PAGE = os.path.join(os.path.dirname(__file__), "page.html")


def render(template: str, title: str, **parts: str) -> str:
    """The page around the template file's text. parts: HTML for the template's $names.

    Letters of files' names that are in no encoding become question marks.
    """
    page = _read(_PAGE).substitute(title=html.escape(title), body=_read(template).substitute(parts))
    return page.encode(errors="replace").decode()


def plot(png: bytes, alt: str) -> str:
    return f'<img class="plot" alt="{html.escape(alt)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def _read(path: str) -> string.Template:
    with open(path) as file:
        return string.Template(file.read())
