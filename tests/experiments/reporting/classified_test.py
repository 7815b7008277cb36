import re

import numpy as np
import pytest

from geodesic.experiments.protocols import intervals
from geodesic.experiments.reporting import classified, galleries


def shown(labels):
    def read(path):
        return np.full((8, 8, 3), int(path), np.uint8)

    return galleries.Tested(np.eye(len(labels), dtype=np.float32), labels, [str(place) for place in range(len(labels))],
                            ["<a>", "b", "c"], read)


def told(labels, answers, sure, calibrated=()):
    names = ["<a>", "b", "c"]
    return {f"classified/{name}": np.asarray(values) for name, values in (
        ("labels", labels), ("answers", answers), ("confidence", sure), ("calibrated", calibrated),
        ("class_names", names))}


LABELS, ANSWERS = np.array([0, 0, 0, 0, 1, 1, 2, 2]), np.array([0, 1, 1, 2, 1, 1, 1, 2])
SURE = np.array([0.9, 0.6, 0.8, 0.99, 0.7, 0.5, 0.4, 0.95])


def test_a_run_that_classifies_nothing_has_no_section():
    assert classified.render({"scores": {}}, {}, shown(LABELS)) == ""


def test_classes_confusions_and_errors_of_a_classifier():
    metric = intervals.metric(0.625, 0.5, 0.75)
    measured = {"classification": {"what": "a softmax", "metrics": {"top1": metric, "nll": metric}, "temperature": 1.25,
                                   "calibrated": {"top1": metric, "nll": intervals.metric(0.5)}}}
    page = classified.render(measured, told(LABELS, ANSWERS, SURE, SURE**2), shown(LABELS))
    assert "<td>0.6250</td><td>0.5000 to 0.7500</td><td>0.5000</td>" in page and "of all it is 1.25" in page
    rows = re.findall(r"<tr><th>([^<]*)</th><td>(\d+)</td><td>([\d.]+)</td>", page)
    assert rows == [("b", "2", "1.000"), ("c", "2", "0.500"), ("&lt;a&gt;", "4", "0.250")]
    titles = re.findall(r'<p class="protocol">([^<]*) taken for ([^<]*): (\d+) of (\d+) images</p>', page)
    assert titles == [("&lt;a&gt;", "b", "2", "4"), ("&lt;a&gt;", "c", "1", "4"), ("c", "b", "1", "2")]
    first = page.split("taken for b: 2 of 4")[1].split("</div>")[0]
    assert re.findall(r'class="(\w+)" title="(\d)"', first) == [("miss", "2"), ("miss", "1"), ("hit", "4")]
    errors = page.split("<h3>Surest errors</h3>")[1]
    assert re.findall(r"<figcaption>([^<]*)</figcaption>", errors) == [
        "c 0.99, is &lt;a&gt;", "b 0.80, is &lt;a&gt;", "b 0.60, is &lt;a&gt;", "b 0.40, is c"]


def test_a_classifier_that_is_always_right_has_no_errors_and_no_temperature():
    measured = {"classification": {"what": "a softmax", "metrics": {"top1": intervals.metric(1)},
                                   "problem": "all 8 rows are answered rightly"}}
    page = classified.render(measured, told(LABELS, LABELS, SURE), shown(LABELS))
    assert page.count("<p>none</p>") == 2 and "No temperature: all 8 rows are answered rightly." in page
    assert "calibrated</th>" not in page


@pytest.mark.parametrize("calibrated", [None, SURE**2])
def test_the_diagrams_bars_are_the_accuracy_of_their_confidences(calibrated):
    figure = classified.reliability(LABELS == ANSWERS, SURE, calibrated)
    assert len(figure.axes) == (2 if calibrated is None else 4)
    bars, counts = (axis.patches for axis in figure.axes[::len(figure.axes) // 2])
    heights = [bar.get_height() for bar in bars]
    assert len(heights) == 15 and heights[14] == pytest.approx(0.5)  # .99 is wrong and .95 right
    assert sum(bar.get_height() for bar in counts) == 8 and counts[14].get_height() == 2
    assert [bar.get_x() for bar in bars] == pytest.approx(np.linspace(0, 14 / 15, 15))
