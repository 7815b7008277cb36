import numpy as np
import pytest

from geodesic.metrics import health


def test_what_cannot_be_scored_is_said_so():
    assert health.health(np.ones((5, 3)))["status"] == "collapsed"
    assert health.health(np.array([[1, np.nan], [0, 1]])) == {
        "status": "not finite", "rows": 2, "rows_with_nan": 1, "rows_with_inf": 0, "zero_rows": 0}
    assert health.effective_rank(np.eye(4)) == pytest.approx(4)
