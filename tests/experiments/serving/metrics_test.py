"""What Prometheus reads."""

from geodesic.experiments.serving import metrics


def test_counts_and_cumulative_buckets():
    told = metrics.Metrics()
    for seconds in (0.004, 0.005, 0.3, 40):
        told.request("/search", 200, seconds)
    told.request("/search", 422, 0.001)
    told.request("/", 200, 0.001)
    told.batch(3)
    lines = told.text({"rows": 12.0}).splitlines()
    assert 'geodesic_requests_total{path="/search",status="200"} 4' in lines
    assert 'geodesic_requests_total{path="/search",status="422"} 1' in lines
    of = lambda bound: next(int(line.rsplit(" ", 1)[1]) for line in lines
                            if line.startswith(f'geodesic_request_seconds_bucket{{path="/search",le="{bound}"}}'))
    assert [of(bound) for bound in ("0.005", "0.01", "0.25", "0.5", "30.0", "+Inf")] == [3, 3, 3, 4, 4, 5]
    assert 'geodesic_request_seconds_sum{path="/search"} 40.310000' in lines
    assert 'geodesic_batch_pictures_bucket{le="2"} 0' in lines and 'geodesic_batch_pictures_bucket{le="4"} 1' in lines
    assert lines[-1] == "geodesic_rows 12"
    names = [line.split(" ")[2] for line in lines if line.startswith("# TYPE")]
    assert len(names) == len({*names}) == 4
