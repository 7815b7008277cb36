"""All rows of a gallery and their vectors in one file, which `geodesic search --embeddings` reads too."""

import contextlib
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq

from geodesic.errors import UserError
from geodesic.experiments.galleries import pictures, vectors
from geodesic.experiments.galleries.held import Held
from geodesic.experiments.process import workdir as workdirs


def check_extension(out: str) -> None:
    if not out.endswith(".parquet"):
        raise UserError(f"a gallery is exported as a .parquet file; got {out!r}")


def write(out: str, held: Held, info: dict) -> int:
    """Whole or not at all; says how many rows. The vectors are float32, whatever the gallery stores."""
    columns, rows = held.all()
    texts = {name: [pictures.unescaped(text) for text in columns[name].to_pylist()] for name in ("id", "path", "label")}
    texts["path"] = [path or name for path, name in zip(texts["path"], texts["id"], strict=True)]
    content = pa.table({**{name: _column(values) for name, values in texts.items()},
                        "metadata": columns["metadata"], "digest": columns["digest"],
                        "embedding": vectors.to_arrow(rows)})
    facts = {"geodesic": json.dumps(info["identity"]), "geodesic.root": "", "geodesic.gallery": json.dumps(info)}
    buffer = pa.BufferOutputStream()
    pq.write_table(content.replace_schema_metadata(facts), buffer)
    workdirs.write_atomically(out, buffer.getvalue().to_pybytes())
    return len(rows)


def _column(texts: list[str]) -> pa.Array:
    """Text; bytes where a file's name is in no encoding."""
    with contextlib.suppress(UnicodeEncodeError):
        return pa.array(texts, pa.string())
    return pa.array([os.fsencode(text) for text in texts], pa.binary())
