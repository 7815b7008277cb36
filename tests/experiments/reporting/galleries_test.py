import numpy as np
import pytest

from geodesic.experiments.reporting import galleries

# Degrees on a circle: two classes of three, "b" with one image among those of "a".
DEGREES = np.array([0, 10, 21, 90, 100, 5])
LABELS = np.array([0, 0, 0, 1, 1, 1])


@pytest.fixture
def tested():
    unit = np.stack([np.cos(np.radians(DEGREES)), np.sin(np.radians(DEGREES))], axis=1).astype(np.float32)
    grey = np.full((20, 16, 3), 128, np.uint8)
    return galleries.Tested(unit, LABELS, [f"<{i}>.jpg" for i in range(6)], ["<a>", "b"], lambda path: grey)


def test_margins_and_rivals(tested):
    """Image 5 lies at 5 degrees: 85 from its class, 5 from the other."""
    decided = galleries.rivals(tested, np.ones(6), 0)
    cos = lambda degrees: np.cos(np.radians(degrees))
    assert decided.margins[5] == pytest.approx(cos(85) - cos(5), abs=1e-6)
    assert decided.margins[3] == pytest.approx(cos(10) - cos(69), abs=1e-6)
    assert decided.strangers.tolist() == [5, 5, 5, 2, 2, 0]
    assert galleries.rivals(tested, np.array([1, np.nan, 1, 1, 1, 1]), 0).queries.tolist() == [0, 2, 3, 4, 5]


def test_pages_name_everything_escaped(tested):
    precision = np.array([0.5, 0.6, 0.7, 0.9, 0.8, 0.1])
    decided = galleries.rivals(tested, precision, 0)
    page = galleries.neighbours(tested, precision, decided, 0)
    assert page.count('<figure class="query"') == 2 + 2 + 5 + 2     # one of each class, but for the random ones
    assert "&lt;a&gt;" in page and "<a>" not in page and "<0>" not in page
    best, worst = page.index("map@r 0.90"), page.index("map@r 0.10")
    assert page.index("Best queries") < best < page.index("Worst queries") < worst
    classes = galleries.classes(tested, precision, decided)
    # Both have a mean of .6; each has the other for its nearest.
    assert classes.count("<td>0.600</td>") == 2 and "&lt;a&gt; (3)" in classes and "<td>b (3)</td>" in classes


def test_hubs_count_lists(tested):
    page = galleries.hubs(tested)
    assert "among the 5 nearest" in page and "in 5 lists, 3 of other classes" in page
    assert "Skewness 0.00" in page
