"""Connections to buckets, gs:// and s3://. Their libraries are imported when one is made."""

import importlib.util
import logging
import os

# Scheme -> the library that reaches it, and the extra that installs it.
SCHEMES = {"gs": ("gcsfs", "gcs"), "s3": ("s3fs", "s3")}


def missing(scheme: str) -> str:
    """What a scheme of SCHEMES needs that is not installed, with the command that installs it; "" for nothing."""
    library, extra = SCHEMES[scheme]
    return "" if importlib.util.find_spec(library) else (
        f"needs {library}, which is not installed: pip install 'geodesic[{extra}]'")


def connect(scheme: str):
    """A new fsspec file system of a scheme of SCHEMES. It keeps no lists.

    It is of one process: connections and threads do not outlive a fork.
    """
    for name in ("gcsfs", "s3fs", "aiobotocore", "botocore", "fsspec"):  # they log a page of what they raise
        logging.getLogger(name).setLevel(logging.CRITICAL)
    fresh = {"use_listings_cache": False, "skip_instance_cache": True}
    if scheme == "s3":
        import s3fs

        return s3fs.S3FileSystem(config_kwargs={"connect_timeout": 20, "read_timeout": 60}, **fresh)
    import aiohttp
    from gcsfs.core import GCSFileSystem  # gcsfs's default asks another service first what kind of bucket it is

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=20, sock_read=60)
    emulated = {"token": "anon"} if os.environ.get("STORAGE_EMULATOR_HOST") else {}
    return GCSFileSystem(session_kwargs={"timeout": timeout}, **emulated, **fresh)
