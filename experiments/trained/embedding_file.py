"""Embeddings on disk, with the identity of what made them: .parquet or .npz."""

import io
import json
import zipfile
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from geodesic.errors import UserError
from geodesic.experiments.process import workdir as workdirs


class Embeddings(NamedTuple):
    """Row i is the embedding of the image at paths[i]."""

    paths: list[str]
    embeddings: np.ndarray  # f32[N,D], L2-normalised
    identity: dict          # of the checkpoint and the preprocessing; two files compare only if theirs are equal


def write(path: str, content: Embeddings) -> None:
    """Whole or not at all. Raises UserError for another extension than .parquet and .npz."""
    check_extension(path)
    buffer = io.BytesIO()
    if path.endswith(".npz"):
        np.savez(buffer, paths=np.asarray(content.paths, np.str_), embeddings=content.embeddings,
                 identity=np.asarray(json.dumps(content.identity)))
    else:
        rows = pa.FixedSizeListArray.from_arrays(pa.array(content.embeddings.ravel()), content.embeddings.shape[1])
        table = pa.table({"path": content.paths, "embedding": rows})
        pq.write_table(table.replace_schema_metadata({"geodesic": json.dumps(content.identity)}), buffer)
    workdirs.write_atomically(path, buffer.getvalue())


def read(path: str) -> Embeddings:
    """Raises FileNotFoundError, or UserError for a file that `write` did not make."""
    check_extension(path)
    try:
        if path.endswith(".npz"):
            with np.load(path, allow_pickle=False) as file:
                return Embeddings(file["paths"].tolist(), file["embeddings"], json.loads(str(file["identity"])))
        table = pq.read_table(path)
        values = table["embedding"].combine_chunks()
        embeddings = values.flatten().to_numpy().reshape(len(values), -1)
        return Embeddings(table["path"].to_pylist(), embeddings, json.loads(table.schema.metadata[b"geodesic"]))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no embeddings at {path!r}: make them with geodesic embed") from error
    except (KeyError, TypeError, ValueError, EOFError, OSError, zipfile.BadZipFile, pa.ArrowException) as error:
        raise UserError(f"{path} is not a file of geodesic embed: {error}") from error


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
