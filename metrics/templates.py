"""Verification of templates, sets of images and video frames of one subject: the protocol of IJB-B and IJB-C.

Whitelam et al.: IARPA Janus Benchmark-B, 2017; Maze et al.: IARPA Janus Benchmark-C, 2018.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse

from ..errors import UserError
from . import retrieval


class Templates(NamedTuple):
    ids: np.ndarray         # i[T], ascending
    features: np.ndarray    # f32[T,D], L2-normalised


def protocol_name(*, keep_norm: bool, detector_score: bool, flip: bool) -> str:
    """Names the three switches as the field writes them: "N1D1F2" keeps norms, weighs by detector and adds the flip.

    Args:
        keep_norm: whether images of a longer embedding count more.
        detector_score: whether images count by their detector's score.
        flip: whether the embedding of the mirrored image is added.

    Returns:
        N0 or N1, D0 or D1, and F0 or F2.

    Example:
        >>> from geodesic.metrics import templates
        >>> templates.protocol_name(keep_norm=True, detector_score=False, flip=True)
        'N1D0F2'
    """
    return f"N{int(keep_norm)}D{int(detector_score)}F{2 if flip else 0}"


def templates(embeddings, template_ids, media, *, flipped=None, detector_scores=None, keep_norm: bool) -> Templates:
    """Builds templates: the mean over the frames of one medium, summed over the media of a template, normalised.

    Args:
        embeddings: f[N,D], not normalised, one for each image or frame.
        template_ids: int[N].
        media: int[N], numbered within their template.
        flipped: f[N,D], embeddings of the mirrored images, which are added.
        detector_scores: f[N], weights of the images, after their normalisation.
        keep_norm: False normalises each image first.

    Returns:
        The ids, ascending, and the features of the templates.

    Raises:
        UserError: shapes differ, or a value is not finite.

    References:
        Whitelam et al.: IARPA Janus Benchmark-B Face Dataset, 2017; Maze et al.: IARPA Janus Benchmark-C: Face
        Dataset and Protocol, 2018.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import templates
        >>> rows = np.array([[3.0, 0.0], [5.0, 0.0], [0.0, 3.0], [0.0, 2.0]])
        >>> built = templates.templates(rows, template_ids=[7, 7, 7, 9], media=[1, 1, 2, 1], keep_norm=True)
        >>> print(built.ids, built.features)
        [7 9] [[0.8 0.6]
               [0.  1. ]]
    """
    features = np.asarray(embeddings, np.float32)
    template_ids, media = np.asarray(template_ids), np.asarray(media)
    if template_ids.shape != features.shape[:1] or media.shape != features.shape[:1]:
        raise UserError(f"{len(features)} embeddings, templates of {template_ids.shape} and media of {media.shape}")
    if flipped is not None:
        if np.shape(flipped) != features.shape:
            raise UserError(f"embeddings of {features.shape} and of flipped images of {np.shape(flipped)}")
        features = features + np.asarray(flipped, np.float32)
    if not keep_norm:
        features = retrieval.normalized(features)
    if detector_scores is not None:
        features = features * np.asarray(detector_scores, np.float32)[:, None]
    if not np.isfinite(features).all():
        raise UserError("embeddings hold NaN or infinite values: no template is built")
    ids, template = np.unique(template_ids, return_inverse=True)
    _, medium, frames = np.unique(np.stack([template, media], axis=1), axis=0, return_inverse=True,
                                       return_counts=True)
    medium = medium.reshape(-1)
    mix = scipy.sparse.csr_matrix((1 / frames[medium], (template, np.arange(len(template)))),
                                  shape=(len(ids), len(template)))
    return Templates(ids, retrieval.normalized(mix @ features.astype(np.float64)))


def pair_scores(built: Templates, first, second, *, block: int = 2**16) -> np.ndarray:
    """Scores listed pairs of templates by cosine.

    Args:
        built: of `templates`.
        first: i[M], template ids.
        second: i[M], template ids.
        block: pairs at a time.

    Returns:
        f32[M].

    Raises:
        UserError: a template is listed of which no image is given.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import templates
        >>> built = templates.templates(np.eye(2)[[0, 0, 1]], [7, 8, 9], [1, 1, 1], keep_norm=True)
        >>> templates.pair_scores(built, [7, 7], [8, 9]).tolist()
        [1.0, 0.0]
    """
    places = []
    for wanted in (np.asarray(first), np.asarray(second)):
        place = np.minimum(np.searchsorted(built.ids, wanted), len(built.ids) - 1)
        missing = wanted[built.ids[place] != wanted]
        if len(missing):
            raise UserError(f"the listed pairs name template {missing[0]}, of which no image is given")
        places.append(place)
    scores = np.empty(len(places[0]), np.float32)
    for start in range(0, len(scores), block):
        left, right = (built.features[place[start:start + block]] for place in places)
        scores[start:start + block] = np.einsum("md,md->m", left, right)
    return scores
