"""The terminal, for tables: their text is shown as it stands."""

import rich.console
import rich.table


def plain() -> rich.console.Console:
    """Makes a console of rich's that reads no markup and no emoji into a text: `cat [old].png` is a file's name."""
    return rich.console.Console(markup=False, emoji=False, highlight=False)


def text(table: rich.table.Table) -> str:
    """A table as it would be printed.

    Example:
        >>> import rich.table
        >>> from geodesic.experiments.process import console
        >>> table = rich.table.Table("name", box=None)
        >>> table.add_row("[old]")
        >>> console.text(table).split()
        ['name', '[old]']
    """
    shown = plain()
    with shown.capture() as captured:
        shown.print(table)
    return captured.get()
