"""More like these pictures, and unlike those, out of a collection: by ids, paths, or pictures that are embedded now."""

from typing import NamedTuple

import numpy as np

from geodesic.errors import UserError
from geodesic.experiments.process import storage
from geodesic.experiments.trained import embedding_file, inputs
from geodesic.experiments.trained.collection import Collection
from geodesic.metrics import recommendation, retrieval


class Recommended(NamedTuple):
    """A row of the collection, and its cosine to what is wanted."""

    place: int
    id: str
    path: str
    label: str
    cosine: float


class Seeds(NamedTuple):
    """What is liked, or disliked. places: rows of the collection, -1 of a picture that is none; vectors f32[S,D]."""

    names: list[str]
    places: list[int]
    vectors: np.ndarray


def seeds(found: Collection, names: list[str], run=None, where: str = "the collection") -> Seeds:
    """Looks names up: ids, or paths, of rows; anything else is a picture, which `run` embeds.

    Raises UserError for a name that is neither, for a picture without a run, and for a run of another model.
    """
    rows = {name: place for place, name in enumerate(found.ids)}
    files = {storage.absolute(path): place for place, path in enumerate(found.paths) if path}
    places = [rows.get(name, files.get(storage.absolute(name), -1)) for name in names]
    vectors = np.zeros((len(names), found.embeddings.shape[1]), np.float32)
    for place, row in enumerate(places):
        if row >= 0:
            vectors[place] = found.embeddings[row]
    pictures = [place for place, row in enumerate(places) if row < 0]
    if pictures:
        for place in pictures:
            if not storage.is_file(names[place]):
                raise UserError(f"{names[place]!r} is neither an id nor a picture of {where}, nor a picture on the "
                                f"disk")
        if run is None:
            raise UserError(f"{names[pictures[0]]} is no row of {where}: --workdir=... is required, whose model "
                            f"embeds it")
        embedding_file.check_same(found.identity, run.identity, where)
        embedded = run.embed_source(inputs.as_source([names[place] for place in pictures]))
        if embedded.problems:
            raise UserError(embedded.problems[0])
        vectors[pictures] = retrieval.normalized(embedded.embeddings)
    return Seeds(list(names), places, vectors)


def recommend(found: Collection, liked: Seeds, disliked: Seeds | None = None, k: int = 10, diversity: float = 0.0
              ) -> list[Recommended]:
    """The k rows that are most like these and unlike those, the best first, and none of the seeds.

    diversity: as of `recommendation.recommend`. Raises UserError where nothing is liked.
    """
    disliked = disliked or Seeds([], [], np.zeros((0, found.embeddings.shape[1]), np.float32))
    seeds_of_it = [place for place in (*liked.places, *disliked.places) if place >= 0]
    places, cosines = recommendation.recommend(found.embeddings, liked.vectors, disliked.vectors, k,
                                               diversity=diversity, exclude=seeds_of_it)
    return [Recommended(place, found.ids[place], found.paths[place], found.labels[place], cosine)
            for place, cosine in zip(places.tolist(), cosines.tolist(), strict=True)]
