"""Reads tables: of a CSV every value as the text that stands there, of a Parquet file every value in its own type.

A table may be an object of a bucket: all of it is fetched, and kept on this host's disk.
"""

import codecs
import io
import os
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from ...errors import UserError
from .. import buckets

_PARQUET = b"PAR1"  # what such a file begins with
# The longer ones first: UTF-32 begins as UTF-16 does.
_MARKS = {codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF32_BE: "UTF-32", codecs.BOM_UTF16_LE: "UTF-16",
          codecs.BOM_UTF16_BE: "UTF-16"}
_LAST = "last"
_PARSING = pyarrow.csv.ParseOptions(newlines_in_values=True)


def header(path: str) -> list[str]:
    """Names the columns of a table as they stand there.

    Raises FileNotFoundError where there is none, and UserError, naming the encoding, for what is no table.
    """
    if not buckets.exists(path):
        raise FileNotFoundError(f"no manifest {path!r}")
    try:
        if is_parquet(path):
            names = _parquet(path).schema.names
        else:
            with pyarrow.csv.open_csv(pa.BufferReader(_content(path)), parse_options=_PARSING) as reader:
                names = reader.schema.names
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise _refusal(path, error) from error
    if any("\0" in name for name in names):
        raise UserError(_of_another_encoding(path) or f"{path} is no CSV or Parquet table: a name of a column has a "
                                                      f"zero byte")
    return names


def read(path: str, names: list[str] | None = None) -> pa.Table:
    """Reads the columns of these names, or all. Raises UserError for a value that is damaged or no UTF-8."""
    try:
        if is_parquet(path):
            table = _parquet(path).read(columns=names)
            table.validate(full=True)
            return table if names is None else table.select(names)
        # A text is never taken for a number, a date or a missing value: 007 and 7 are two people.
        known = header(path)
        converting = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(known, pa.string()), include_columns=names)
        # A quote that is never closed takes all rows after it for its text, this last one with them.
        last = f"\n{','.join([_LAST] * len(known))}\n".encode()
        table = pyarrow.csv.read_csv(pa.BufferReader(_content(path) + last), parse_options=_PARSING,
                                     convert_options=converting)
        if any(column[-1].as_py() != _LAST for column in table.columns):
            raise UserError(f"{path} is no CSV or Parquet table: a quote is opened and never closed")
        return table[:-1]
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise _refusal(path, error) from error


def is_parquet(path: str) -> bool:
    """Whether this is a Parquet file, by its name or its first bytes, or a folder of such files."""
    if os.path.isdir(path) or path.lower().endswith(".parquet"):
        return True
    with _opened(path) as file:
        return file.read(len(_PARQUET)) == _PARQUET


def _opened(path: str) -> BinaryIO:
    """The table's bytes. Raises UserError for a folder of a bucket, which is none."""
    if not buckets.is_remote(path):
        return open(path, "rb")
    try:
        file = buckets.file(path)
    except FileNotFoundError:
        raise UserError(f"{path} is a folder of a bucket: expected one table, CSV or Parquet") from None
    return io.BytesIO(buckets.read(file, 0, file.size))


def _content(path: str) -> bytes:
    packed = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}.get(os.path.splitext(path)[1].lower())
    # Opened here: pyarrow takes no path that is not UTF-8.
    with _opened(path) as file, pa.input_stream(file, compression=packed) as stream:
        return stream.read()


def _parquet(path: str) -> pyarrow.parquet.ParquetDataset:
    # Of a single file, no folder's name is a column. Pages that have a checksum are verified.
    if os.path.isdir(path):
        return pyarrow.parquet.ParquetDataset(path, page_checksum_verification=True)
    return pyarrow.parquet.ParquetDataset(_opened(path), partitioning=None, page_checksum_verification=True)


def _refusal(path: str, error: Exception) -> UserError:
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    encoding = "" if is_parquet(path) else _of_another_encoding(path)
    return UserError(encoding or f"{path} is no CSV or Parquet table: {said}")


def _of_another_encoding(path: str) -> str:
    """Says, of a CSV that is not UTF-8, where, and what its encoding may be; "" of one that is."""
    try:
        content = _content(path)
    except (pa.ArrowException, OSError):
        return ""
    likely = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "")
    if not likely and b"\0" in content[:64]:
        likely = "UTF-16BE" if content.startswith(b"\0") else "UTF-16LE"
    if likely:
        return f"{path} is {likely}: expected UTF-8. `iconv -f {likely} -t UTF-8` makes it that"
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        letter = content[error.start:error.start + 1].decode("cp1252", "replace")
        return (f"{path}, line {line}: byte 0x{content[error.start]:02x} is no UTF-8; it is {letter!r} if the file is "
                f"Windows-1252 (Latin-1). `iconv -f WINDOWS-1252 -t UTF-8` then makes it that")
    return ""
