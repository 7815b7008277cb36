"""Manifests as spreadsheets and scripts write them; lists of pairs; prepared tables."""

import os

import numpy as np

from geodesic import datasets
from geodesic.datasets import crops
from tests.datasets import odd_tables
from tests.datasets.odd_tables import CASES, csv
from tests.odd_files.place import Place, Row, listed


def tables(*names: str):
    """Tables of tests.datasets.odd_tables: each what its Case says."""
    def check(place: Place) -> str:
        return "; ".join(one(place, name) for name in names)
    return check


def one(place: Place, name: str) -> str:
    case, path = CASES[name], odd_tables.write(place.folder, name)
    asked = f"{path}#{case.split}" if case.split else path
    short = f"{name}#{case.split}" if case.split else name
    if case.refused:
        line = place.refusal(place.source, "manifest", asked)
        assert case.refused in line and name in line, line
        return line if len(line) < 160 else f"{line[:160]} ..."
    source = place.source("manifest", asked)
    assert source.class_names == [*case.classes], source.class_names
    assert source.labels.tolist() == [*case.labels], source.labels
    paths = case.paths or [f"{row}.png" for row in range(len(case.labels))]
    assert source.paths == [os.path.join(place.folder, file) for file in paths]
    said = [remark for remark in source.remarks if case.remark and case.remark in remark]
    assert bool(said) == bool(case.remark), source.remarks
    count = len(source.class_names)
    return f"{short}: {count} class{'es' * (count > 1)}, {listed(source.class_names)}" + (
        f" ({place.tell(said[0]).partition(': ')[2]})" if said else "")


def boxes(place: Place, *values: str, size: int = 64) -> datasets.Source:
    for row in range(len(values)):
        place.picture(f"{row}.png", row, size)
    (place.folder / "boxes.csv").write_bytes(csv(*(f"a,{value}" for value in values), head="path,label,box"))
    return place.source("manifest", place.folder / "boxes.csv")


def shares(place: Place) -> str:
    source = boxes(place, "0.25 0.25 0.75 0.75", "0 0 1 1")
    whole = datasets.decode(source[0])
    seen = crops.cut({**source[0], "image": whole}, crops.whole, None)
    np.testing.assert_array_equal(seen, whole[16:48, 16:48])
    assert crops.cut(source[1], crops.whole, None).shape == (64, 64, 3)
    mixed = place.refusal(boxes, place, "0.1 0.1 0.9 0.9", "10 10 50 50")
    small = place.refusal(boxes, place, "0 0 2.4 2.4")
    return f"scaled to {seen.shape[0]} of 64 px, and said: {place.tell(source.remarks[0])}; {mixed}; {small}"


def outside(place: Place) -> str:
    boxes(place, "1000 1000 1100 1100", "50 50 500 500", "0 0 9 9")
    output = place.command("inspect_data", "--source=manifest", f"--path={place.folder}/boxes.csv",
                           f"--out={place.folder}/out")
    assert "images with a box: 3, box outside: 1, box beyond the edge: 1" in output and "1 unreadable" in output, output
    return place.tell("inspect_data: " + "; ".join(line.strip() for line in output.splitlines()
                                                   if "unreadable" in line or "holds nothing" in line
                                                   or "with a box" in line))


def prepared(place: Place) -> str:
    for row in range(4):
        place.picture(f"{row}.png", row, 64)
    rows = ["red|round,,first,7", "round,10 10 50 50,second,07", "square,,third,1", "red|square,,fourth,1"]
    (place.folder / "m.csv").write_bytes(csv(*rows, head="path,labels,box,note,person"))
    place.command("prepare", "--source=manifest", f"--path={place.folder}/m.csv", f"--out={place.folder}/out")
    before, after = (place.source(name, place.folder / file) for name, file in
                     (("manifest", "m.csv"), ("array_record", "out")))
    assert (after.tags == before.tags).all() and after.tag_names == before.class_names
    assert datasets.decode(after[1]).shape == (40, 40, 3)
    columns = after.columns().to_pydict()
    assert columns["note"] == ["first", "second", "third", "fourth"] and columns["person"] == ["7", "07", "1", "1"]
    return f"tags {listed(after.tag_names)}, columns {listed(sorted(columns))}, and the box cut to 40 x 40"


LFW = "1\t2\nAnn\t1\t2\nBob\t1\t3\nAnn\t1\tBob\t2\nBob\t2\tCe Ce\t1\n"


def pairs(place: Place) -> str:
    path = place.folder / "pairs.txt"
    read = lambda content: (path.write_bytes(content), datasets.build_pairs("lfw", path=f"{path}#faces"))[1]
    whole, forms = read(LFW.encode()), {
        "windows' line ends": LFW.replace("\n", "\r\n").encode(), "a mark": LFW.encode("utf-8-sig"),
        "blank lines at the end": (LFW + "\n\n").encode(), "no line end": LFW[:-1].encode(),
        "blanks for tabs": LFW.replace("\t", " ").replace("Ce Ce", "CeCe").encode()}
    assert whole.images.paths[-1] == "faces/Ce Ce/Ce Ce_0001.jpg"
    for content in forms.values():
        found = read(content)
        assert (found.pairs == whole.pairs).all() and found.same.tolist() == [True, True, False, False]
    refused = [place.refusal(read, text.encode()) for text in
               (LFW.replace("1\t2\n", "10\t300\n", 1), LFW.replace("Bob\t1\t3", "Bob\t1"), "")]
    return f"4 pairs, with {', '.join(forms)}; other lists {refused[0]}"


ROWS = {
    "leading_zeros": Row("0001; 7, 07, 007", tables("leading_zeros.csv", "zeros_collide.csv", "four_people.csv")),
    "long_ids": Row("whole numbers beyond 2^53; unsigned ones of Parquet",
                    tables("beyond_floats.csv", "long_numbers.parquet", "rounded.parquet"),
                    "A float that stands for several whole numbers is nobody's name."),
    "numbers_of_other_kinds": Row("1e5, 100000, 1E5; 1.0, 1.50, 1.5; true and True; dates; inf",
                                  tables("hex_like.csv", "floats.csv", "truths.csv", "dates.csv", "infinite.csv")),
    "no_label": Row("an empty label, a blank one, NA among numbers, null", tables(
        "empty.csv", "blank.csv", "unbreakable_blank.csv", "na_among_numbers.csv", "null.parquet"),
        "Among names, NA and null are names."),
    "nan_labels": Row("NaN in Parquet and CSV", tables(
        "nan.parquet", "nan_among_numbers.csv", "lists_of_nothing.parquet")),
    "other_encodings": Row("Latin-1, UTF-16 and UTF-32; bytes in Parquet", tables(
        "latin1.csv", "utf16.csv", "utf16_unmarked.csv", "utf32.csv", "bytes.parquet", "bytes_of_latin1.parquet",
        "path_of_latin1.parquet"), "A guessed encoding would make wrong names in silence."),
    "blanks_around_labels": Row("New York with blanks before and behind; other capitals and Unicode forms", tables(
        "blanks.csv", "blanks.parquet", "capitals.csv", "two_forms.csv"),
        "Blanks at the ends are nobody's name; capitals may be: they are said."),
    "relative_boxes": Row("boxes in shares of the sides, and a mixture", shares,
                          "Shares where no number of the column is above 2: a box of two pixels trains nobody."),
    "boxes_outside": Row("a box beyond the picture, and one over its edge", outside),
    "splits": Row("splits of text, numbers and truths", tables(
        "split.csv", "split_of_numbers.csv", "split_of_zeros.csv", "split_of_numbers.parquet",
        "split_of_truths.parquet", "no_such_split.csv")),
    "headers": Row("two columns of one name, blanks and capitals in names, none, semicolons", tables(
        "two_labels.csv", "two_labels_with_blanks.csv", "header_with_blanks.csv", "header_in_capitals.csv",
        "semicolons.csv", "nothing.csv")),
    "lists_as_labels": Row("a list, a record, or several labels in a column", tables(
        "list_for_a_label.parquet", "record_for_a_label.parquet", "lists.parquet", "several.csv")),
    "marks_in_the_path": Row("a#b#c.csv, d#x.csv with a split", tables("a#b#c.csv", "d#x.csv", "UPPER.CSV")),
    "lines_and_quotes": Row("windows' and old line ends, commas, quotes and lines in quotes, rows of another length",
                            tables("windows_lines.csv", "old_mac_lines.csv", "quoted.csv", "line_in_quotes.csv",
                                   "open_quote.csv", "ragged.csv", "short_row.csv", "no_parquet.parquet")),
    "prepared_columns": Row("prepare of a manifest with tags, a box and other columns", prepared),
    "lists_of_pairs": Row("pairs.txt with other line ends, a mark, blank lines, blanks for tabs, names with a blank",
                          pairs),
}
