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
    """The three switches, as the field writes them: "N1D1F2" keeps norms, weighs by detector and adds the flip."""
    return f"N{int(keep_norm)}D{int(detector_score)}F{2 if flip else 0}"


def templates(embeddings, template_ids, media, *, flipped=None, detector_scores=None, keep_norm: bool) -> Templates:
    """Mean over the frames of one medium, sum over the media of a template, normalised.

    embeddings f[N,D], not normalised, one for each image or frame; template_ids, media: int[N]. Media are counted
    within their template. The three switches: flipped f[N,D], embeddings of the mirrored images, which are added;
    keep_norm=False normalises each image first; detector_scores f[N] weigh the images (after that).
    Raises UserError for shapes that differ and values that are not finite.
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
    """Cosines f32[M] of the listed pairs of template ids, i[M] and i[M]. Raises UserError for an unknown id."""
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
