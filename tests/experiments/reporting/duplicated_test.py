from geodesic.experiments.protocols.duplicates import Pair
from geodesic.experiments.reporting import duplicated


def test_every_picture_but_the_first_says_what_it_is():
    """The second is the earlier one of its pair, and is linked with the first by the third alone."""
    pairs = [Pair(0, 2, "near", 0.95, float("nan")), Pair(1, 2, "pixels", 1.0, float("nan"))]
    rows = lambda parts: [[cell.strip() for cell in line.split("│")[1:-1]] for line in
                          duplicated.text(pairs, ["a", "b", "c"], parts, [], "table").splitlines() if "│" in line]
    assert rows(["one"] * 3) == [["0", "a", ""], ["", "b", "the same pixels"], ["", "c", "the same pixels"]]
    assert [row[-1] for row in rows(["one", "one", "other"])] == ["one", "one", "other"]
