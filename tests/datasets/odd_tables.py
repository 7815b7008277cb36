"""Small tables as spreadsheets, scripts and other countries write them, each with what it means.

    python -m tests.datasets.odd_tables FOLDER

writes them. A table is called NAME, and holds, or is refused with, what its `Case` says.
"""

import datetime
import decimal
import pathlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet


class Case(NamedTuple):
    """A table and its right value."""

    content: bytes | dict
    classes: Sequence[str] = ()     # the names of its classes
    labels: Sequence[int] = ()      # of its records
    refused: str = ""           # in place of these: a part of the message
    remark: str = ""            # a part of what is said of it
    split: str = ""             # that is asked for
    paths: Sequence[str] = ()       # of its records below the folder; () is 0.png, 1.png, ...


def csv(*labels: str, head: str = "path,label", encoding: str = "utf-8") -> bytes:
    lines = [head, *(f"{place}.png,{label}" for place, label in enumerate(labels))]
    return "".join(f"{line}\n" for line in lines).encode(encoding)


def table(labels, name: str = "label", **columns) -> dict:
    return {"path": [f"{place}.png" for place in range(len(labels))], name: labels} | columns


FOUR = ["7", "07", "1e1", "123456789012345678901"]

CASES = {
    # A label is the text that stands there.
    "four_people.csv": Case(csv(*FOUR), ["07", "7", "1e1", FOUR[3]], [1, 0, 2, 3]),
    "leading_zeros.csv": Case(csv("0001", "0002", "0010"), ["0001", "0002", "0010"], [0, 1, 2]),
    "zeros_collide.csv": Case(csv("7", "07", "007", "8"), ["007", "07", "7", "8"], [2, 1, 0, 3]),
    "beyond_floats.csv": Case(csv("9007199254740993", "9007199254740992"),
                              ["9007199254740992", "9007199254740993"], [1, 0]),
    "hex_like.csv": Case(csv("1e5", "100000", "1E5", "2e3"), ["2e3", "100000", "1E5", "1e5"], [3, 1, 2, 0],
                         remark="'1E5' and '1e5'"),
    "by_value.csv": Case(csv("10", "9", "2", "9"), ["2", "9", "10"], [2, 1, 0, 1]),
    "floats.csv": Case(csv("1.0", "1.50", "1.5", "-3"), ["-3", "1.0", "1.5", "1.50"], [1, 3, 2, 0]),
    "a_word_among_numbers.csv": Case(csv("10", "9", "bond"), ["10", "9", "bond"], [0, 1, 2]),
    "truths.csv": Case(csv("true", "True", "false"), ["True", "false", "true"], [2, 0, 1], remark="'True' and 'true'"),
    "dates.csv": Case(csv("2020-01-02", "2020-01-2", "03:04"), ["03:04", "2020-01-02", "2020-01-2"], [1, 2, 0]),
    "infinite.csv": Case(csv("inf", "1e999", "1"), ["1", "1e999", "inf"], [2, 1, 0]),
    "names_like_nothing.csv": Case(csv("NA", "null", "None", "nan"), ["NA", "None", "nan", "null"], [0, 3, 1, 2]),
    # A label that is none.
    "empty.csv": Case(csv("a", "", "b", ""), refused="2 rows have no label: 2, 4"),
    "blank.csv": Case(csv("a", "   ", "b"), refused="row 2 has no label"),
    "unbreakable_blank.csv": Case(csv("a", "\u00a0", "b"), refused="row 2 has no label"),
    "nan_among_numbers.csv": Case(csv("1.0", "nan", "2"), refused="row 2 has no label (NA and its like"),
    "na_among_numbers.csv": Case(csv("1", "NA", "2", "N/A"), refused="2 rows have no label"),
    "no_path.csv": Case(b"path,label\n,a\nx,b\n", refused="row 1 has no path"),
    "zero_byte.csv": Case(csv("a\0", "a"), refused="row 1 has a label with a zero byte"),
    "zero_byte_in_path.csv": Case(b"path,label\n0.png,abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz\nx\0,b\n",
                                  refused="row 2 has a path with a zero byte"),
    # Blanks, capitals, Unicode.
    "blanks.csv": Case(csv("New York", " New York", "New York ", "Oslo"), ["New York", "Oslo"], [0, 0, 0, 1],
                       remark="2 label(s) had blanks"),
    "capitals.csv": Case(csv("cat", "Cat", "dog"), ["Cat", "cat", "dog"], [1, 0, 2], remark="'Cat' and 'cat'"),
    "two_forms.csv": Case(csv("Jos\u00e9", "Jose\u0301"), ["Jose\u0301", "Jos\u00e9"], [1, 0], remark="Unicode form"),
    "unseen.csv": Case(csv("ann", "ann\u200b"), ["ann", "ann\u200b"], [0, 1], remark="'ann' and 'ann\\u200b'"),
    "other_scripts.csv": Case(csv("\u4f60\u597d", "\uc548\ub155", "\U0001f600"),
                              ["\u4f60\u597d", "\uc548\ub155", "\U0001f600"], [0, 1, 2]),
    # Separators, quotes, lines, headers.
    "quoted.csv": Case(csv('"Smith, John"', '"O""Neil"', '"Smith, John"'), ['O"Neil', "Smith, John"], [1, 0, 1]),
    "line_in_quotes.csv": Case(csv('"two\nlines"', "b"), ["b", "two\nlines"], [1, 0],
                               remark="line break in their name"),
    "open_quote.csv": Case(csv("a", '"b', "c"), refused="a quote is opened and never closed"),
    "open_quote_at_the_end.csv": Case(csv("a", '"b')[:-1], refused="a quote is opened and never closed"),
    "open_quote_in_a_note.csv": Case(b'path,label,note\n0.png,a,"x\n1.png,b,y\n', refused="a quote is opened"),
    "windows_lines.csv": Case(csv("a", "b").replace(b"\n", b"\r\n"), ["a", "b"], [0, 1]),
    "old_mac_lines.csv": Case(csv("a", "b").replace(b"\n", b"\r"), ["a", "b"], [0, 1]),
    "no_last_line_end.csv": Case(csv("a", "b")[:-1], ["a", "b"], [0, 1]),
    "blank_lines.csv": Case(csv("a", "b\n\n", "c") + b"\n\n", ["a", "b", "c"], [0, 1, 2]),
    "ragged.csv": Case(csv("a", "b,more"), refused="no CSV or Parquet table"),
    "short_row.csv": Case(csv("a") + b"1.png\n", refused="no CSV or Parquet table"),
    "header_with_blanks.csv": Case(csv("a", "b", head=" path , label"), ["a", "b"], [0, 1]),
    "header_in_capitals.csv": Case(csv("a", head="Path,Label"), refused="no column 'path'; it has Path, Label"),
    "two_labels.csv": Case(b"path,label,label\n0.png,a,z\n", refused="2 columns 'label': expected one"),
    "two_labels_with_blanks.csv": Case(b"path,label, label\n0.png,a,z\n", refused="2 columns 'label'"),
    "two_notes.csv": Case(b"path,label,note,note,,\n0.png,a,1,2,,\n", ["a"], [0]),
    "numbered_rows.csv": Case(b",path,label\n0,0.png,b\n1,1.png,a\n", ["a", "b"], [1, 0]),
    "semicolons.csv": Case(b"path;label\n0.png;a\n", refused="it has path;label (columns are parted by commas)"),
    "nothing.csv": Case(b"", refused="no CSV or Parquet table"),
    "header_alone.csv": Case(b"path,label\n", refused="has no row"),
    "a#b#c.csv": Case(csv("a"), ["a"], [0]),
    "UPPER.CSV": Case(csv("a"), ["a"], [0]),
    # Encodings.
    "marked_utf8.csv": Case(csv("Jos\u00e9", encoding="utf-8-sig"), ["Jos\u00e9"], [0]),
    "latin1.csv": Case(csv("Ana", "Jos\u00e9", encoding="latin-1"),
                       refused="line 3: byte 0xe9 is no UTF-8; it is '\u00e9'"),
    "latin1_header.csv": Case(csv("Ana", head="path,label,a\u00f1o", encoding="latin-1"), refused="line 1: byte 0xf1"),
    "latin1_note.csv": Case(b"path,label,note\n0.png,a,\xe9\n", ["a"], [0]),
    "utf16.csv": Case(csv("Ana", encoding="utf-16"), refused="is UTF-16: expected UTF-8"),
    "utf16_unmarked.csv": Case(csv("Ana", encoding="utf-16-le"), refused="is UTF-16LE: expected UTF-8"),
    "utf16_big.csv": Case(csv("Ana", encoding="utf-16-be"), refused="is UTF-16BE: expected UTF-8"),
    "utf32.csv": Case(csv("Ana", encoding="utf-32"), refused="is UTF-32"),
    # Several labels.
    "several.csv": Case(csv("cat|dog", "dog|cat|dog", "|cat", "a | b", head="path,labels"), ["a", "b", "cat", "dog"],
                        [2, 3, 2, 0]),
    "several_numbers.csv": Case(csv("10", "9|2", head="path,labels"), ["10", "2", "9"], [0, 2]),
    "several_of_none.csv": Case(csv("a", "|", head="path,labels"), refused="row 2 has no label"),
    "lists.parquet": Case(table([[10, 9], [2]], "labels"), ["2", "9", "10"], [2, 0]),
    "lists_of_nothing.parquet": Case(table([["a"], [None, ""]], "labels"), refused="row 2 has no label"),
    # Types.
    "numbers.parquet": Case(table([10, 2, 9]), ["2", "9", "10"], [2, 0, 1]),
    "numbers_as_text.parquet": Case(table(["10", "2", "9"]), ["10", "2", "9"], [0, 1, 2]),
    "long_numbers.parquet": Case(table(pa.array([2 ** 63, 2 ** 64 - 1], pa.uint64())),
                                 ["9223372036854775808", "18446744073709551615"], [0, 1]),
    "short_numbers.parquet": Case(table(pa.array([3, -1], pa.int8())), ["-1", "3"], [1, 0]),
    "rounded.parquet": Case(table([1.0, 123456789012345678901.0]),
                            refused="row 2 has the label 1.2345678901234568e+20"),
    "floats.parquet": Case(table([10.0, 9.5]), ["9.5", "10.0"], [1, 0]),
    "nan.parquet": Case(table([float("nan"), 1.0, float("nan"), 2.0]), refused="2 rows have no label: 1, 3"),
    "null.parquet": Case(table(["a", None]), refused="row 2 has no label"),
    "nothing_but_null.parquet": Case(table(pa.nulls(2)), refused="2 rows have no label: 1, 2"),
    "truths.parquet": Case(table([True, False]), ["False", "True"], [1, 0]),
    "dates.parquet": Case(table([datetime.date(2020, 1, 2), datetime.date(2019, 1, 2)]), ["2019-01-02", "2020-01-02"],
                          [1, 0]),
    "decimals.parquet": Case(table([decimal.Decimal("10.50"), decimal.Decimal("9.00")]), ["9.00", "10.50"], [1, 0]),
    "dictionary.parquet": Case(table(pa.array(["b", "a", "b"]).dictionary_encode()), ["a", "b"], [1, 0, 1]),
    "bytes.parquet": Case({"path": [b"0.png", b"1.png"], "label": [b"b", b"a"]}, ["a", "b"], [1, 0]),
    "bytes_of_latin1.parquet": Case(table([b"Jos\xe9"]), refused="row 1 has the label b'Jos\\xe9', which is no UTF-8"),
    "path_of_latin1.parquet": Case({"path": [b"caf\xe9.png"], "label": ["a"]}, ["a"], [0], paths=["caf\udce9.png"]),
    "number_for_a_path.parquet": Case({"path": [1], "label": ["a"]}, refused="row 1 has a path that is no text"),
    "list_for_a_label.parquet": Case(table([["a"]]), refused="Several labels are a column called labels"),
    "record_for_a_label.parquet": Case(table([{"a": 1}]), refused="expected a text or a number"),
    "blanks.parquet": Case({" path": ["0.png"], "label ": [" a "]}, ["a"], [0], remark="1 label(s) had blanks"),
    "by_content": Case(table(["a", "b"]), ["a", "b"], [0, 1]),
    "no_parquet.parquet": Case(b"PAR1xxxxPAR1", refused="no CSV or Parquet table"),
    "csv.parquet": Case(csv("a"), refused="no CSV or Parquet table"),
    # Splits.
    "split.csv": Case(csv("a,train", "b,Test ", "c,train", head="path,label,split"), ["b"], [0], split="Test",
                      paths=["1.png"], remark="1 split(s) had blanks"),
    "split_of_numbers.csv": Case(csv("a,0", "b,1", head="path,label,split"), ["a"], [0], split="0", paths=["0.png"]),
    "split_of_zeros.csv": Case(csv("a,0", "b,00", head="path,label,split"), ["b"], [0], split="00", paths=["1.png"]),
    "split_of_numbers.parquet": Case(table(["a", "b"], split=[0, 1]), ["b"], [0], split="1", paths=["1.png"]),
    "split_of_truths.parquet": Case(table(["a", "b"], split=[True, False]), ["a"], [0], split="True", paths=["0.png"]),
    "no_such_split.csv": Case(csv("a,0", "b,1", head="path,label,split"), refused="'2'; it has 0, 1", split="2"),
    "rows_of_no_split.csv": Case(csv("a,x", "b,", head="path,label,split"), ["a"], [0], split="x", paths=["0.png"],
                                 remark="1 row(s) are of no split"),
    "no_label_elsewhere.csv": Case(csv("a,x", ",y", head="path,label,split"), ["a"], [0], split="x", paths=["0.png"]),
    "d#x.csv": Case(csv("a,x", "b,y", head="path,label,split"), ["b"], [0], split="y", paths=["1.png"]),
}


def write(folder: pathlib.Path, name: str) -> pathlib.Path:
    path, content = folder / name, CASES[name].content
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        pyarrow.parquet.write_table(pa.table(content), path)
    return path


if __name__ == "__main__":
    for one in CASES:
        print(write(pathlib.Path(sys.argv[1]), one))
