"""Galleries at every kind of address, for all tests of this folder."""

from tests.experiments.galleries.addresses import address, database, local_qdrant, photos  # noqa: F401
