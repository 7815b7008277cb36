"""A result record beside the figures that were published for its row: what differs, by how much, and what that says.

A figure is compared only where protocol, split, selection, views, number of models and recipe are the paper's.
"""

from geodesic.configs import papers, protocols, stored
from geodesic.experiments.protocols import record

REPRODUCED, BETTER, WORSE, NOT_COMPARABLE = "reproduced", "better", "worse", "not comparable"


def compare(measured: dict, file: str, paper: str = "") -> list[dict]:
    """A row for each published figure of this record's protocol; one that says why where there is none."""
    paper = paper or measured["paper"]
    name = measured["protocol"]["name"]
    empty = {"record": file, "paper": paper, "protocol": record.followed(measured), "metric": "", "published": None,
             "tolerance": None, "ours": None, "low": None, "high": None, "difference": None, "verdict": NOT_COMPARABLE,
             "selected_on_test": measured["selection"]["rule"] == record.TEST}
    if not paper:
        return [empty | {"why": "the run is of no row of configs/papers (--paper=FILE:ROW says which)"}]
    module, row = papers.split(paper)
    figures = [figure for figure in module.expected(row) if figure["protocol"] == name]
    if not figures:
        return [empty | {"why": f"nothing was published for this row under protocol {name}"}]
    return [empty | _row(measured, figure, module.get_config(row)) for figure in figures]


def _row(measured: dict, figure: dict, recipe) -> dict:
    row = {"metric": figure["metric"], "published": figure["value"], "tolerance": figure["tolerance"],
           "note": figure["note"]}
    reasons = differences(measured, figure, recipe)
    ours = measured["metrics"].get(figure["metric"])
    if ours is None:
        return row | {"why": "; ".join(["the record does not have this metric", *reasons])}
    difference = ours["value"] - figure["value"]
    row |= {"ours": ours["value"], "low": ours["low"], "high": ours["high"], "difference": difference}
    if reasons:
        return row | {"why": "; ".join(reasons)}
    # A difference of exactly the tolerance is within it; in floats it may come out a little larger.
    outside = abs(difference) > figure["tolerance"] + 1e-9
    return row | {"verdict": (BETTER if difference > 0 else WORSE) if outside else REPRODUCED, "why": figure["note"]}


def differences(measured: dict, figure: dict, recipe) -> list[str]:
    """Why this record and this figure are not of the same thing; [] where they are."""
    done, wanted = measured["protocol"], protocols.get(figure["protocol"])
    reasons = [] if done["complete"] else ["not all of the protocol's images, or others"]
    rule = measured["selection"]["rule"]
    if rule not in figure["selection"]:
        reasons.append(f"checkpoint {_selected(rule)}, the paper's {_selected(figure['selection'][0])}")
    expected = {"models": figure["models"], "fit": wanted.fit, "resize": wanted.resize,
                "average_horizontal_flips": wanted.flips, "split": wanted.split,
                "image_size": figure["image_size"] or wanted.image_size or done["image_size"]}
    reasons += [f"{name} {done[name]} (paper {value})" for name, value in expected.items() if done[name] != value]
    if done.get("quarter_turns"):
        reasons.append("images seen in four quarter turns (paper as they are)")
    if figure["same_recipe"]:
        reasons += _other_recipe(measured["config"], recipe)
    if figure["pretrained"] and not measured["config"]["init_from"]:
        reasons.append("trained from scratch, the paper from ImageNet weights")
    return reasons


def _selected(rule: str) -> str:
    return {record.TEST: "selected on the test set", record.VALIDATION: "selected on validation",
            record.LAST: "is the last", record.GIVEN: "given by hand"}[rule]


def _other_recipe(config: dict, recipe) -> list[str]:
    """The first fields in which the run was configured otherwise than the paper's row."""
    filled = stored.from_dict(config, "the record's configuration")  # it may be an older version's
    ours, theirs = (stored.flat(stored.as_dict(values)) for values in (filled, recipe))
    loss = recipe.loss.name
    is_free = lambda name: any(name == free or (free[-1] == "." and name.startswith(free)) for free in papers.FREE)
    counts = lambda name: not is_free(name) and (
        not name.startswith("loss.") or name.count(".") == 1 or name.startswith(f"loss.{loss}."))
    differing = [f"{name} {ours[name]} (paper {theirs[name]})" for name in sorted(theirs)
                 if counts(name) and ours[name] != theirs[name]]
    more = [f"and {len(differing) - 3} more fields"] if len(differing) > 3 else []
    return differing[:3] + more


def status(rows: list[dict], allow_better: bool = False) -> int:
    """The exit status of `geodesic compare` for these rows."""
    verdicts = {row["verdict"] for row in rows}
    if WORSE in verdicts or (BETTER in verdicts and not allow_better):
        return 1
    return 3 if NOT_COMPARABLE in verdicts else 0


def cells(row: dict) -> tuple[str, str, str]:
    """Published with its tolerance, ours with its interval, and the difference, in per cent."""
    percent = lambda value: "" if value is None else f"{100 * value:.2f}"
    span = "" if row["low"] is None else f" [{percent(row['low'])}, {percent(row['high'])}]"
    published = "" if row["published"] is None else f"{percent(row['published'])} ± {percent(row['tolerance'])}"
    difference = "" if row["difference"] is None else f"{100 * row['difference']:+.2f}"
    return published, percent(row["ours"]) + span, difference


def verdict(row: dict) -> str:
    """The verdict in words, with a mark where the record was selected on the test set."""
    return row["verdict"] + (", SELECTED ON TEST" if row["selected_on_test"] else "")


def side_by_side(cards: dict[str, dict]) -> list[dict]:
    """A row for each figure of the runs of scorecards: the metric of each card, None where it has none, and "apart".

    cards: name -> record. "apart": pairs of names whose intervals exclude each other, the better first, or the higher
    where neither is better by itself; None where the cards are of other images or drawn otherwise, and then no pair
    can be told.
    """
    rows, comparable = {}, not otherwise(cards)
    for name, card in cards.items():
        for row in card["scores"]:
            if "run" in row["of"]:
                empty = {"task": row["task"], "metric": row["metric"], "better": row["better"],
                         "of": dict.fromkeys(cards)}
                rows.setdefault((row["task"], row["metric"]), empty)["of"][name] = row["of"]["run"]
    order = [*dict.fromkeys(task for task, _ in rows)]
    return [row | {"apart": _apart(row) if comparable else None}
            for row in sorted(rows.values(), key=lambda row: order.index(row["task"]))]


def otherwise(cards: dict[str, dict]) -> str:
    """In what scorecards were made otherwise, so that their intervals tell no difference; "" for nothing."""
    of = lambda get: len({get(card) for card in cards.values()}) > 1
    if of(lambda card: card["protocol"]["records"]):
        return "they are of other test images"
    return "their seeds drew otherwise" if of(lambda card: card["seed"]) else ""


def _apart(row: dict) -> list[tuple[str, str]]:
    known = [(name, metric) for name, metric in row["of"].items() if metric and metric["low"] is not None]
    pairs = [(one, other) for one, high in known for other, low in known if high["low"] > low["high"]]
    return [pair[::-1] for pair in pairs] if row["better"] == "lower" else pairs
