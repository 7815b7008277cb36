import pathlib

from benchmarks import paper_table
from geodesic.experiments.protocols import record
from tests.experiments.protocols.comparison_test import made

ROOT = pathlib.Path(__file__).parents[2]


def test_the_committed_page_is_what_the_configurations_and_records_say():
    page = (ROOT / "docs" / "papers.md").read_text()
    assert page == paper_table.page(str(ROOT / "benchmarks" / "results" / "records")), \
        "write it anew: python -m benchmarks.paper_table"


def test_results_come_from_records_alone(tmp_path):
    assert "not run here" in paper_table.page(str(tmp_path))
    record.write(str(tmp_path), made(**{"recall@1": 0.703}))
    lines = [line for line in paper_table.page(str(tmp_path)).splitlines() if "cub_resnet50`" in line]
    assert any("70.30 [69.30, 71.30], reproduced, SELECTED ON TEST" in line for line in lines)
