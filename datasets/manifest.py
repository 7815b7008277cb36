"""A table of images: a CSV or Parquet file with the columns path and label, and perhaps split."""

import os

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from datasets.source import Files


def load(path: str) -> Files:
    """The rows of a manifest; `FILE#SPLIT` keeps those of one split. Paths are relative to the manifest.

    Labels may be names or numbers; classes are those of the whole manifest, in sorted order, so that the splits of
    one file agree on them. Raises FileNotFoundError, or ValueError for a table without these columns or rows.
    """
    path, _, split = path.partition("#")
    table = _read(path)
    missing = [name for name in ("path", "label", *(("split",) if split else ())) if name not in table.column_names]
    if missing:
        raise ValueError(f"{path} has no column {missing[0]!r}; it has {', '.join(table.column_names)}")
    rows = [row for row in table.select([n for n in ("path", "label", "split") if n in table.column_names]).to_pylist()]
    empty = [number for number, row in enumerate(rows, start=1) if row["path"] in (None, "") or row["label"] is None]
    if empty:
        raise ValueError(f"{path}: row {empty[0]} has no path or no label")
    classes = {name: index for index, name in enumerate(sorted({row["label"] for row in rows}))}
    kept = [row for row in rows if not split or row["split"] == split]
    if not kept:
        known = ", ".join(sorted({str(row["split"]) for row in rows})) if split else ""
        raise ValueError(f"{path} has no row" + (f" of split {split!r}; it has {known}" if split else ""))
    folder = os.path.dirname(path)
    return Files([os.path.join(folder, row["path"]) for row in kept], [classes[row["label"]] for row in kept],
                 [str(name) for name in classes])


def _read(path: str) -> pa.Table:
    if not os.path.exists(path):
        raise FileNotFoundError(f"no manifest {path!r}")
    try:
        if path.endswith(".parquet"):
            return pa.parquet.read_table(path)
        # A label like 007 is a name where any other row's is one; pyarrow decides for the whole column.
        return pa.csv.read_csv(path)
    except pa.ArrowException as error:
        raise ValueError(f"{path} is no CSV or Parquet table: {error}") from error
