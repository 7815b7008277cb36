from geodesic.experiments.reporting import page


def test_names_of_files_are_in_a_page_whatever_they_hold(tmp_path):
    template = tmp_path / "template.html"
    template.write_text("<p>$rows</p>")
    made = page.render(str(template), "<a> $b", rows="caf\udce9.jpg $x $$ ${y} \u540d")
    assert "&lt;a&gt; $b" in made and "<p>caf?.jpg $x $$ ${y} \u540d</p>" in made.encode().decode()
