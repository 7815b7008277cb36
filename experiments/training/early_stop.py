"""When a run has learnt enough: a score of its evaluations has not been better for some time.

Nothing is remembered but the records of the evaluations, so that a run that goes on stops where it would have stopped.
"""

import math

from geodesic import metrics
from geodesic.errors import UserError


def check(options, known: dict[str, int]) -> None:
    """Raises UserError where `early_stop` is not of a score that comes again and again.

    options: the section `evaluation` of a configuration. known: score -> steps from one evaluation to the next, 0 for
    only after the last.
    """
    wanted = options.early_stop
    if wanted == ():
        return
    if not (len(wanted) == 2 and isinstance(wanted[0], str) and isinstance(wanted[1], int) and wanted[1] > 0):
        raise UserError(f"evaluation.early_stop is {wanted!r}; expected a score and a number of evaluations, such as "
                        f"(\"map@r\", 5)")
    if wanted[0] not in known:
        raise UserError(f"evaluation.early_stop {wanted[0]!r} is not a score of the evaluation; known: "
                        f"{', '.join(known) or 'none'}")
    if not known[wanted[0]]:
        raise UserError(f"evaluation.early_stop: {wanted[0]!r} is evaluated only after the last step: give "
                        f"--config.evaluation.every_epochs")


def reason(options, records: list[dict]) -> str:
    """Why the run ends after these evaluations, or "".

    options: the section `evaluation` of a configuration. records: one for each evaluation, oldest first, with its
    "step" and scores. A score that is not a number is no better than any.

    Example:
      >>> from geodesic.configs import default
      >>> from geodesic.experiments.training import early_stop
      >>> options = default.get_config().evaluation
      >>> options.early_stop = ("map@r", 2)
      >>> early_stop.reason(options, [{"step": step, "map@r": score} for step, score in ((10, 0.4), (20, 0.3))])
      ''
      >>> early_stop.reason(options, [{"step": step, "map@r": 0.4} for step in (10, 20, 30)])
      'map@r has not been better than 0.4000, of step 10, in 2 evaluations'
    """
    if options.early_stop == ():
        return ""
    name, patience = options.early_stop
    sign = -1 if metrics.lower_is_better(name) else 1
    best, since = None, 0
    for record in (record for record in records if name in record):
        if not math.isnan(record[name]) and (best is None or sign * record[name] > sign * best[name]):
            best, since = record, 0
        else:
            since += 1
    if since < patience:
        return ""
    better = f"better than {best[name]:.4f}, of step {best['step']:,}," if best else "a number"
    return f"{name} has not been {better} in {since} evaluations"
