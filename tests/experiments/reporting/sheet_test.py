import io
import re

import numpy as np
import PIL.Image
import pytest

from geodesic.experiments.reporting import sheet


def rows(count):
    return [sheet.Named(f"photos/$1 <{place}>.jpg", place, [("giant panda", 0.93), ("a $very$ <odd> name", 0.05)])
            for place in range(count)]


def read(row):
    if row.place == 1:
        raise OSError("gone")
    return np.full((30, 40, 3), row.place, np.uint8)


def test_a_page_has_every_picture_with_its_names(tmp_path):
    sheet.write(str(tmp_path / "named.html"), rows(3), read, "probabilities: of <something>")
    page = (tmp_path / "named.html").read_text()
    assert page.count('<figure class="named">') == 3 == page.count("giant panda <b>0.93</b>")
    assert "a $very$ &lt;odd&gt; name" in page and "of &lt;something&gt;" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)


@pytest.mark.parametrize("count", [1, 8, 20])
def test_a_picture_of_pictures(tmp_path, monkeypatch, count):
    monkeypatch.setattr(sheet, "_MOST", 13)
    sheet.write(str(tmp_path / "named.png"), rows(count), read, "what")
    width, height = PIL.Image.open(io.BytesIO((tmp_path / "named.png").read_bytes())).size
    lines = -(-min(count, 13) // 6)
    assert width == (1680 if count > 5 else 840) and height == pytest.approx(140 * (2.6 * lines + 0.4), abs=2)


def test_names_are_below_their_own_pictures():
    axes = sheet.draw(rows(8), read, "8 pictures").axes
    for place in (0, 7):
        assert axes[place].get_title() == f"$1 <{place}>.jpg"
        assert axes[place].get_xlabel() == "giant panda  0.93\na $very$ <odd> name  0.05"
        assert axes[place].images[0].get_array()[0, 0, 0] == place
    assert (axes[1].images[0].get_array() == 200).all()  # it has gone


def test_names_end_above_the_next_row():
    figure = sheet.draw(rows(8), lambda row: np.zeros((112, 92, 3), np.uint8))
    figure.draw_without_rendering()
    names, title = figure.axes[0].xaxis.label.get_window_extent(), figure.axes[6].title.get_window_extent()
    assert names.y0 >= title.y1
