"""What a few seeds say: means with intervals, and paired differences with a test that is right for few of them."""

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

from geodesic.errors import UserError
from geodesic.experiments.sweeping.trials import Trial


class Interval(NamedTuple):
    mean: float
    low: float
    high: float


class Difference(NamedTuple):
    """How a point differs from the baseline, over the seeds that both have."""

    seeds: int
    interval: Interval     # 95 %, paired
    p: float               # paired t-test, two-sided; NaN below two seeds
    p_adjusted: float      # Holm: as many comparisons as the table has rows


class Row(NamedTuple):
    """A point of the sweep."""

    label: str
    trials: list[Trial]
    records: list[dict]
    values: dict[str, dict[int, float]]   # metric -> seed -> value
    means: dict[str, Interval]
    differences: dict[str, Difference]    # metric -> the difference to the baseline; {} for the baseline
    hours: float                          # accelerator-hours: wall-clock hours times devices, of all attempts


def interval(values) -> Interval:
    """Mean and its 95 % interval by Student's t, which for few seeds is wide, as it must be; NaN ends for one value."""
    values = np.asarray(values, np.float64)
    mean = float(values.mean())
    if len(values) < 2:
        return Interval(mean, math.nan, math.nan)
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return Interval(mean, mean - half, mean + half)


def paired(ours: dict[int, float], baseline: dict[int, float]) -> Difference:
    """The difference on the same seeds: what a seed does to both cancels out. p_adjusted is not yet adjusted."""
    seeds = sorted(set(ours) & set(baseline))
    differences = np.array([ours[seed] - baseline[seed] for seed in seeds])
    if not seeds:
        return Difference(0, Interval(math.nan, math.nan, math.nan), math.nan, math.nan)
    if len(seeds) < 2:
        p = math.nan
    elif np.ptp(differences) == 0:  # the t statistic is 0/0 or x/0
        p = 1.0 if differences[0] == 0 else 0.0
    else:
        p = float(stats.ttest_1samp(differences, 0.0).pvalue)
    return Difference(len(seeds), interval(differences), p, p)


def holm(p_values: list[float]) -> list[float]:
    """Adjusts for their number (Holm 1979: A simple sequentially rejective multiple test procedure). NaN stays NaN."""
    p_values = np.asarray(p_values, np.float64)
    adjusted, largest = p_values.copy(), 0.0
    known = [index for index in np.argsort(p_values) if not np.isnan(p_values[index])]
    for rank, index in enumerate(known):
        largest = max(largest, min((len(known) - rank) * p_values[index], 1.0))
        adjusted[index] = largest
    return adjusted.tolist()


def against(baseline: str, values: dict[str, dict[int, float]]) -> dict[str, Difference]:
    """How each other label differs from the baseline. values: label -> seed -> value."""
    found = {label: paired(of, values[baseline]) for label, of in values.items() if label != baseline}
    adjusted = holm([one.p for one in found.values()])
    return {label: one._replace(p_adjusted=p) for (label, one), p in zip(found.items(), adjusted, strict=True)}


def probability(p: float) -> str:
    return "" if math.isnan(p) else "<0.001" if p < 0.001 else f"{p:.3f}"


def rows(trials: list[Trial], records: list[dict], metrics: tuple[str, ...], baseline: str) -> list[Row]:
    """Makes a row for each label, in the sweep's order. Raises UserError for a baseline that no point has."""
    grouped: dict[str, list] = {}
    for trial, record in zip(trials, records, strict=True):
        grouped.setdefault(trial.label, []).append((trial, record))
    baseline = baseline or next(iter(grouped))
    if baseline not in grouped:
        raise UserError(f"the baseline {baseline!r} is not a point of the sweep: {', '.join(grouped)}")
    values = {label: {metric: {trial.seed: record["scores"][metric] for trial, record in group
                               if record["state"] == "done" and metric in record["scores"]} for metric in metrics}
              for label, group in grouped.items()}
    differences = {label: {} for label in grouped}
    for metric in metrics:
        found = against(baseline, {label: of[metric] for label, of in values.items()})
        for label, difference in found.items():
            differences[label][metric] = difference
    return [Row(label, [trial for trial, _ in group], [record for _, record in group], values[label],
                {metric: interval(list(seeds.values())) for metric, seeds in values[label].items() if seeds},
                differences[label], sum(hours(record) for _, record in group))
            for label, group in grouped.items()]


def hours(record: dict) -> float:
    devices = int(record["environment"]["devices"].split(" x ")[0]) if "environment" in record else 1
    return record["seconds"] * devices / 3600
