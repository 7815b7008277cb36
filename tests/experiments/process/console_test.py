import rich.table

from geodesic.experiments.process import console

NAMES = ["cat [old].png", "[2019] rio.png", "dog [a=b].png", "a :smile: b.png", "[/bold]x.png", "[red]markup[/red].png",
         "[", "C:temp.png", "\\[x].png", "{0}%s.png"]


def test_text_is_shown_as_it_stands(capsys):
    table = rich.table.Table("[image]")
    for name in NAMES:
        table.add_row(name)
    console.plain().print(table)
    shown = capsys.readouterr().out
    assert "[image]" in shown
    for name in NAMES:
        assert f" {name} " in shown
