"""Pictures that all processes of a pod add to one gallery: each embeds its share, and the first one writes.

The first process goes through the pictures as `Gallery.add` does: it reads them all, to tell which are new or have
changed. What it would embed is named to the others; every process then reads, decodes and embeds its share of that.
"""

from collections.abc import Iterator

import numpy as np

from geodesic.errors import UserError
from geodesic.experiments.galleries import pictures
from geodesic.experiments.galleries.adding import Change
from geodesic.experiments.process import hosts

_END, _NOTHING = "end", []


def add(gallery, images) -> Change | None:
    """As `Gallery.add`, on every process at the same time; the change on the first, None on the others. Makes the
    gallery where there is none. An error of the first is raised on all."""
    if hosts.share()["process_count"] == 1:
        return _made(gallery).add(images)
    source, run = gallery.source(images), gallery.run
    listed = _Listed(source)
    if not hosts.is_first():
        while isinstance(places := hosts.from_first(None), list):
            if places:
                run.embed_source(_Part(source, places))
        if places != _END:
            raise UserError(places)
        return None
    gallery.run, word = _Together(run, source), _END
    try:
        return _made(gallery).add(listed)
    except (OSError, ValueError) as error:
        word = str(error)
        raise
    finally:
        gallery.run = run
        hosts.from_first(word)


def _made(gallery):
    return gallery if gallery.exists() else gallery.create()


class _Listed(pictures.Listed):
    def read(self) -> Iterator[list[pictures.Picture]]:
        for part in super().read():
            hosts.from_first(_NOTHING)  # the others are not to wait for minutes where nothing has changed
            yield part


class _Together:
    """A run, of which every process embeds its share."""

    def __init__(self, run, source):
        self._run, self._source = run, source

    def __getattr__(self, name: str):
        return getattr(self._run, name)

    def embed_source(self, records: pictures.Records):
        return self._run.embed_source(_Part(self._source, hosts.from_first(records.places)))


class _Part:
    """Some pictures of a source, by their places there."""

    def __init__(self, source, places: list[int]):
        self._source, self._places = source, list(places)
        self.paths = [source.paths[place] for place in places]
        self.labels, self.num_classes, self.class_names = np.zeros(len(places), np.int64), 1, [""]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> dict:
        return self._source[self._places[index]]
