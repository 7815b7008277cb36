"""A PostgreSQL server: which one an address means, a connection to it, and its errors. No word has the password."""

import contextlib
import importlib.util
import re
import urllib.parse

from geodesic.errors import UserError
from geodesic.experiments.galleries import table

PATIENCE = 20  # seconds in which a server must answer


class Where:
    """What an address says. place: the same without the password."""

    def __init__(self, place: str, conninfo: str, name: str, secrets: list[str]):
        self.place, self.conninfo, self.name, self.secrets = place, conninfo, name, secrets


def require() -> None:
    if importlib.util.find_spec("psycopg") is None:
        raise UserError("a gallery in PostgreSQL needs psycopg, which is not installed: pip install "
                        "'geodesic[pgvector]'")


def parsed(address: str) -> Where:
    place, parts = table.shown(address), urllib.parse.urlsplit(address)
    if parts.netloc.count("@") > 1:
        raise UserError(f"{place}: an @ in a user's name or password is written %40")
    query = urllib.parse.parse_qsl(parts.query, keep_blank_values=True)
    name = parts.fragment or dict(query).get("gallery", "")
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", name):
        raise UserError(f"{place}: a gallery in PostgreSQL has a name of letters, digits, _ and -: "
                        f"postgresql://USER@HOST/DATABASE#NAME")
    rest = urllib.parse.urlencode([(key, value) for key, value in query if key != "gallery"],
                                  quote_via=urllib.parse.quote)
    secrets = [value for key, value in query if key.endswith("password")]
    with contextlib.suppress(ValueError):
        secrets += [parts.password or "", urllib.parse.unquote(parts.password or "")]
    return Where(place, urllib.parse.urlunsplit((parts.scheme, parts.netloc, parts.path, rest, "")), name,
                 [secret for secret in secrets if secret])


@contextlib.contextmanager
def connection(where: Where):
    with told(where), contextlib.closing(connect(where)) as made:
        yield made


def connect(where: Where):
    require()
    import psycopg

    return psycopg.connect(where.conninfo, autocommit=True, connect_timeout=PATIENCE,
                           application_name="geodesic gallery")


@contextlib.contextmanager
def told(where: Where):
    """What the server and its driver raise, in one line, without the password."""
    require()
    import psycopg

    try:
        yield
    except psycopg.errors.DiskFull:
        raise table.no_room(where.place) from None
    except (psycopg.Error, UnicodeError) as error:
        text = " ".join(str(error).split())
        for secret in where.secrets:
            text = text.replace(secret, "...")
        raise UserError(f"the gallery {where.place} cannot be used: {text[:300]}") from None
