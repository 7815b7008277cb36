"""Noise that sub-centre ArcFace has found: samples far from where their class gathers.

Deng, Guo, Liu, Gong, Zafeiriou: Sub-center ArcFace: Boosting Face Recognition by Large-scale Noisy Web Faces, 2020,
ECCV. One trains with k prototypes for each class, drops the outliers, and trains again with one prototype.
"""

import numpy as np

from ..errors import UserError
from . import retrieval


def outliers(embeddings, labels, prototypes, *, degrees: float = 75.0,
             block: int = 2**14) -> tuple[np.ndarray, np.ndarray]:
    """Finds the samples that lie far from the dominant prototype of their class.

    The dominant prototype of a class is the one that is nearest for most of its samples; of equals it is the first.

    Args:
        embeddings: f[N,D], of any length.
        labels: i[N], rows of `prototypes`.
        prototypes: f[C,k,D]; rows that no label names do not matter.
        degrees: the angle beyond which a sample is an outlier.
        block: rows at a time; their prototypes, [block,k,D], are held.

    Returns:
        bool[N], whether a sample is an outlier, and i[C], which of a class's k prototypes is dominant.

    Raises:
        UserError: the prototypes have no axis of k.

    References:
        Deng, Guo, Liu, Gong, Zafeiriou: Sub-center ArcFace, 2020, ECCV; there the angle is 75 degrees.

    Example:
        >>> import numpy as np
        >>> from geodesic.metrics import subcenters
        >>> prototypes = np.array([[[1.0, 0.0], [0.0, 1.0]]])
        >>> embeddings = np.array([[0.0, 1.0], [0.1, 1.0], [1.0, 0.1]])
        >>> found, dominant = subcenters.outliers(embeddings, np.zeros(3, int), prototypes)
        >>> found.tolist(), dominant.tolist()
        ([False, False, True], [1])
    """
    prototypes, labels = np.asarray(prototypes, np.float32), np.asarray(labels)
    if prototypes.ndim != 3:
        raise UserError(f"outliers needs the prototypes [C,k,D] of subcenter_arcface; got shape {prototypes.shape}")
    classes, k, size = prototypes.shape
    unit, centers = retrieval.normalized(embeddings), retrieval.normalized(prototypes.reshape(-1, size))
    centers = centers.reshape(classes, k, size)
    cosines = np.empty((len(labels), k), np.float32)
    for start in range(0, len(labels), block):
        part = slice(start, start + block)
        cosines[part] = np.einsum("nd,nkd->nk", unit[part], centers[labels[part]])
    votes = np.bincount(labels * k + cosines.argmax(axis=1), minlength=classes * k).reshape(classes, k)
    dominant = votes.argmax(axis=1)
    return cosines[np.arange(len(labels)), dominant[labels]] < np.cos(np.radians(degrees)), dominant
