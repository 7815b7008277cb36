"""Checks what the numbers of a configuration may be, before anything starts."""

from geodesic.configs import templates
from geodesic.errors import UserError


def check(config) -> None:
    """Checks the length of the training, and the fields of `config.template` against its limits; "" has none.

    Raises UserError, with what is allowed, for a field outside of it.

    Example:
        >>> from geodesic.configs import quickstart
        >>> check(quickstart.get_config())
    """
    if config.total_steps < 0 or not (config.total_steps or config.num_epochs > 0):
        raise UserError(f"num_epochs is {config.num_epochs:g} and total_steps {config.total_steps}: a training takes "
                        f"num_epochs above 0, or total_steps above 0 in its place")
    if not config.template:
        return
    for name, limit in templates.load(config.template).LIMITS.items():
        value = config
        for key in name.split("."):
            value = value[key]
        if not _is_within(value, limit):
            given = value if isinstance(value, str) else f"{value:g}"
            raise UserError(f"{config.template}: {name} is {_described(limit)}; got {given}. --config.template='' "
                            f"lifts the limits")


def _is_within(value, limit: templates.Range | tuple[str, ...]) -> bool:
    if not isinstance(limit, templates.Range):
        return value in limit
    steps = (value - limit.low) / limit.step if limit.step else 0
    return limit.low <= value <= limit.high and steps == round(steps)


def _described(limit: templates.Range | tuple[str, ...]) -> str:
    if not isinstance(limit, templates.Range):
        return " or ".join(limit)
    return f"{limit.low:g} to {limit.high:g}" + (f" in steps of {limit.step:g}" if limit.step else "")
