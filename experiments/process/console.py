"""The terminal, for tables: their text is shown as it stands."""

import rich.console


def plain() -> rich.console.Console:
    """Makes a console of rich's that reads no markup and no emoji into a text: `cat [old].png` is a file's name."""
    return rich.console.Console(markup=False, emoji=False, highlight=False)
