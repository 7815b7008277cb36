"""Embeddings on disk, with the identity of what made them: .parquet or .npz.

Paths are stored relative to a root, and the root relative to the file's own folder where it lies below that: pictures
and embeddings then move together. docs/embedding_files.md has the format.
"""

import io
import json
import os
import zipfile
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from geodesic.errors import UserError
from geodesic.experiments.process import storage
from geodesic.experiments.process import workdir as workdirs


class Embeddings(NamedTuple):
    """Row i is the embedding of the image at paths[i]."""

    paths: list[str]
    embeddings: np.ndarray  # f32[N,D], L2-normalised
    identity: dict          # of the checkpoint and the preprocessing; two files compare only if theirs are equal
    labels: list[str] | None = None  # the name of each image's class, where it is known
    root: str = ""          # the folder below which the paths lie, an absolute path; "": they are as given


def write(path: str, content: Embeddings) -> None:
    """Whole or not at all. Raises UserError for another extension than .parquet and .npz, for paths that are not below
    the root, and for numbers that are not finite.
    """
    check_extension(path)
    if not np.isfinite(content.embeddings).all():
        raise UserError(f"embeddings for {path} are not finite: nothing written")
    paths, root, buffer = content.paths, "", io.BytesIO()
    if content.root:
        paths, root = [below(content.root, name) for name in paths], _stored_root(content.root, path)
    if path.endswith(".npz"):
        optional = {} if content.labels is None else {"labels": np.asarray(content.labels, np.str_)}
        np.savez(buffer, paths=np.asarray(paths, np.str_), embeddings=content.embeddings, root=np.asarray(root),
                 identity=np.asarray(json.dumps(content.identity)), **optional)
    else:
        rows = pa.FixedSizeListArray.from_arrays(pa.array(content.embeddings.ravel()), content.embeddings.shape[1])
        optional = {} if content.labels is None else {"label": _column(content.labels)}
        table = pa.table({"path": _column(paths), **optional, "embedding": rows})
        metadata = {"geodesic": json.dumps(content.identity), "geodesic.root": os.fsencode(root)}
        pq.write_table(table.replace_schema_metadata(metadata), buffer)
    workdirs.write_atomically(path, buffer.getvalue())


def read(path: str, root: str = "") -> Embeddings:
    """The embeddings, with the paths of pictures as they are on this machine.

    root: the folder below which the pictures lie now; default: as the file says.
    Raises FileNotFoundError, or UserError for a file that `write` did not make, and for a root of paths that have none.
    """
    check_extension(path)
    try:
        content = _read_npz(path) if path.endswith(".npz") else _read_parquet(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no embeddings at {path!r}: make them with geodesic embed") from error
    except storage.LostError:
        raise
    except (KeyError, TypeError, ValueError, EOFError, OSError, zipfile.BadZipFile, pa.ArrowException) as error:
        raise UserError(f"{path} is not a file of geodesic embed: {error}") from error
    if root and not content.root:
        raise UserError(f"the paths in {path} are not relative to a root, so that it cannot be {root!r}: they are of "
                        f"no files, or an older version wrote them")
    if not content.root:
        return content
    there = "" if storage.is_remote(content.root) else os.path.dirname(storage.absolute(path))
    root = storage.absolute(root or os.path.join(there, content.root))
    return content._replace(paths=[os.path.join(root, name) for name in content.paths], root=root)


def below(root: str, path: str) -> str:
    """The path relative to the root, an absolute one. Raises UserError where it does not lie below it."""
    full, prefix = storage.absolute(path), os.path.join(root, "")
    if not full.startswith(prefix):
        raise UserError(f"{path} does not lie below the root {root}")
    return full.removeprefix(prefix)


def _stored_root(root: str, path: str) -> str:
    """Relative to the file's folder where it lies below that, "." where it is that, else as it is."""
    folder = os.path.dirname(storage.absolute(path))
    if storage.is_remote(path) != storage.is_remote(root):
        return root
    relative = os.path.relpath(root, folder)
    return root if relative.split(os.sep)[0] == os.pardir else relative


def _column(texts: list[str]) -> pa.Array:
    """Text; bytes where one of them, a file's name, is not UTF-8."""
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError:
        return pa.array([os.fsencode(text) for text in texts], pa.binary())


def _read_npz(path: str) -> Embeddings:
    with storage.opened(path) as opened, np.load(opened, allow_pickle=False) as file:
        labels = file["labels"].tolist() if "labels" in file else None
        return Embeddings(file["paths"].tolist(), file["embeddings"], json.loads(str(file["identity"])), labels,
                          str(file["root"]) if "root" in file else "")


def _read_parquet(path: str) -> Embeddings:
    # Not pq.read_table(path): it reads a colon, and a folder's name with "=", as something else.
    with storage.opened(path) as file:
        table = pq.read_table(file)
    values, metadata = table["embedding"].combine_chunks(), table.schema.metadata
    texts = {name: [os.fsdecode(text) for text in table[name].to_pylist()]
             for name in ("path", "label") if name in table.column_names}
    return Embeddings(texts["path"], values.flatten().to_numpy().reshape(len(values), -1),
                      json.loads(metadata[b"geodesic"]), texts.get("label"),
                      os.fsdecode(metadata.get(b"geodesic.root", b"")))


def check_extension(path: str) -> None:
    if not path.endswith((".parquet", ".npz")):
        raise UserError(f"embeddings are written as .parquet or .npz; got {path!r}")


def check_same(gallery: dict, query: dict, path: str) -> None:
    """Raises UserError, naming what differs, when embeddings of two identities would be compared."""
    differing = [f"{key} {gallery.get(key)} there, {value} here" for key, value in query.items()
                 if gallery.get(key) != value]
    if differing:
        raise UserError(f"{path} was made by another model or preprocessing, so nothing in it compares with this "
                        f"query: {'; '.join(differing)}. Embed the folder again with this --workdir")
