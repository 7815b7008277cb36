"""Which engine keeps a gallery: its address says so. A gallery is the same whichever it is."""

from geodesic.errors import UserError
from geodesic.experiments.galleries import lance, postgres, qdrant, table
from geodesic.experiments.process import storage

_OF = {"": lance, "s3": lance, "gs": lance, "postgresql": postgres, "postgres": postgres, "qdrant": qdrant}
# Kinds of an approximate index, of any of them.
INDEXES = tuple(dict.fromkeys(kind for engine in (lance, postgres, qdrant) for kind in engine.INDEXES))


def of(address: str):
    """The module of table.py's functions. Raises UserError for an address of none."""
    kind = storage.scheme(address)
    if kind not in _OF:
        raise UserError(f"{table.shown(address)}: there is no gallery {kind}://; known are folders of this machine, "
                        f"s3://, gs://, postgresql://USER@HOST/DATABASE#NAME and qdrant://HOST:PORT/NAME")
    _OF[kind].check(address)
    return _OF[kind]
