"""Every fault, as often as the table of benchmarks/results/faults.md says: `make faults` writes it."""

import os

import pytest

from tests.faults import table
from tests.faults.runs import Runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return Runs(tmp_path_factory.mktemp("faults"))


@pytest.mark.slow
@pytest.mark.parametrize("name", table.FAULTS)
def test_survived(runs, name):
    if table.FAULTS[name][0] is table.faults.disk_full and os.geteuid() != 0:
        pytest.skip("only root may mount the small disk")
    result = table.do(name, runs)
    assert result["survived"] == result["tries"]
