"""Which figure is the best of its row, and what the page says of those that are missing."""

from geodesic.experiments.reporting import scorecard_page
from tests.experiments.protocols.scorecard_files_test import made

METRIC = {"value": 0.5, "low": None, "high": None}


def row(better, **values):
    return {"task": "retrieval", "metric": "map@r", "better": better,
            "of": {name: METRIC | {"value": value} for name, value in values.items()}}


def test_the_best_is_the_highest_or_the_lowest_and_of_equal_ones_all():
    assert scorecard_page.best(row("higher", a=0.5, b=0.7, c=0.7)) == {"b", "c"}
    assert scorecard_page.best(row("lower", a=0.5, b=0.7)) == {"a"}
    assert scorecard_page.best(row("", a=0.5, b=0.7)) == scorecard_page.best(row("higher")) == set()


def test_one_reason_is_one_line_with_all_whom_it_concerns():
    record = {"left_out": [{"task": "few-shot", "contestant": name, "why": why} for name, why in (
        ("run", "few classes"), ("reference", "few classes"), ("run", "few images"))]}
    assert scorecard_page.left_out(record) == ["few-shot of run, reference: few classes", "few-shot of run: few images"]


def test_a_page_of_what_is_there():
    """Pixels alone have an error rate, the run alone a map@r; no contestant has curves."""
    record = made(retrieval__map=(0.5, 0.4, 0.6), verification__eer=(0.1, None, None))
    record["scores"][1]["of"] = {"raw pixels": METRIC}
    record["contestants"] |= {"reference": {"name": "<b>50", "classes_trained_on": 3}, "raw pixels": {"name": "64 px"}}
    record["contestants"]["run"]["workdir"] = "runs/a"
    record |= {"what": {"retrieval": "By cosine."}, "speed": {"batch": 32, "load": 0.5, "rates": {"run": [9.5, 12.0]}},
               "intervals": {"retrieval": {"level": 0.95, "over": "classes", "resamples": 1000}}}
    page = scorecard_page.render(record, credit="A & B")
    assert "<b>0.5000 [0.4000, 0.6000]</b></td><td></td><td></td>" in page
    assert "<td></td><td></td><td><b>0.5000</b></td>" in page
    assert "reference (&lt;b&gt;50, 3 of the classes also trained on), raw pixels (64 px)" in page
    assert "By cosine. Intervals: the central 95 % of 1,000 draws of classes." in page and "A &amp; B" in page
    assert "32 images at a time on 1 x cpu" in page and "run 9.5 to 12 images a second" in page
    assert "Corrupted images were not asked for." in page and page.count("data:image/png") == 1
