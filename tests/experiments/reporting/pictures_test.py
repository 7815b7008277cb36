import io
import itertools

import matplotlib
import numpy as np
import PIL.Image
import pytest

from geodesic.experiments.reporting import pictures


def curve(pairs: int) -> tuple[np.ndarray, np.ndarray]:
    far = np.geomspace(1 / pairs, 1, 50)
    return far, far ** 0.2


@pytest.mark.parametrize("pairs", [30, 100, 3_000, 100_000, 5_000_000])
def test_ticks_of_det_do_not_overlap(pairs):
    figure = pictures.roc_and_det({"one": curve(pairs)}, "one", None)
    pictures.png(figure)
    for axis in (figure.axes[1].xaxis, figure.axes[1].yaxis):
        labels = [label for label in axis.get_ticklabels() if label.get_text()]
        assert len(labels) >= 3 and labels[-1].get_text() == "0.5"
        boxes = [label.get_window_extent().expanded(1.1, 1.1) for label in labels]
        assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_matplotlibs_settings_are_those_of_the_figure_alone():
    """A notebook that draws with its own style keeps it."""
    with matplotlib.rc_context({"font.size": 17, "axes.grid": False}):
        before = dict(matplotlib.rcParams)
        figure = pictures.curves([{"step": 1, "loss": 2.0}], {"map@r": 0.1})
        assert figure.axes[0].title.get_fontsize() == pytest.approx(9 * 1.2)
        assert dict(matplotlib.rcParams) == before
        pictures.png(figure)
        assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("name", ["Ba$$in.png", "shoe_$20_$30.png", "a\\frac{.png", "\udce9.png", "\u540d.png"])
def test_any_name_of_a_file_has_its_contact_sheet(name, recwarn):
    sheet = pictures.contact_sheet([(name, [("other/" + name, 0.5)])])  # neither is there: two grey squares
    shown = sheet.axes[1].get_title()
    assert shown == f"0.500\nother/{name}".replace("\udce9", "?")
    assert PIL.Image.open(io.BytesIO(pictures.png(sheet))).size == (322, 210)
    assert not recwarn.list
