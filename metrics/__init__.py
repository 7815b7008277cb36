"""Metrics: embeddings [N, D] and integer labels [N] -> numbers. Pure functions."""

# Names, up to their "@", of the metrics of which less is better; of every other metric more is better.
_LOWER_IS_BETTER = frozenset({"adaptive_calibration_error", "alignment", "brier", "calibration_error", "eer",
                              "fnmr", "hubness", "nll", "uniformity"})


def lower_is_better(name: str) -> bool:
    """Says whether the smaller of two values of a metric is the better one.

    Args:
        name: a metric as it stands in results, with what follows its "@": "eer", "fnmr@fmr=0.001", "recall@1".

    Returns:
        True for error rates, and for the three diagnostics of `health` that fall as embeddings get better.

    Example:
        >>> from geodesic import metrics
        >>> metrics.lower_is_better("eer"), metrics.lower_is_better("fnmr@fmr=0.001")
        (True, True)
        >>> metrics.lower_is_better("recall@1")
        False
    """
    return name.partition("@")[0] in _LOWER_IS_BETTER
