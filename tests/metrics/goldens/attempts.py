"""A peer's answer, or the error that it ends with."""

import numpy as np


def attempt(function, name: str) -> dict[str, np.ndarray]:
    """`function()`, a dict, its keys after `name`; "NAME/error" where it stops with one."""
    try:
        return {f"{name}/{key}": np.asarray(value) for key, value in function().items()}
    except Exception as error:  # whatever the peer raises is what is recorded
        return {f"{name}/error": np.array(f"{type(error).__name__}: {str(error).splitlines()[0]}")}
