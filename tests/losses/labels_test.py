import numpy as np
import pytest

from geodesic import losses
from tests.losses import cases


@pytest.mark.parametrize("label", [-1, cases.CLASSES])
def test_labels_out_of_range_are_refused(label):
    with pytest.raises(ValueError, match=r"labels run from .* 11 classes, 0 to 10: set loss.num_classes"):
        losses.check_labels(np.array([0, label]), cases.CLASSES)


def test_a_loss_refuses_them_before_it_computes():
    embeddings, labels = cases.batch()
    params, state = cases.init("arcface")
    with pytest.raises(ValueError, match="labels run from 1 to 11"):
        cases.build("arcface").apply(params, state, embeddings, labels + 1, cases.key())


def test_float_labels_are_refused():
    with pytest.raises(ValueError, match="floats confuse classes above 2\\^24; got float32"):
        losses.check_labels(np.zeros(3, np.float32), 3)


def test_shapes_are_refused():
    embeddings, labels = cases.batch()
    params, state = cases.init("arcface")
    apply = cases.build("arcface").apply
    with pytest.raises(ValueError, match=r"\(8, 8\) and \(7,\)"):
        apply(params, state, embeddings, labels[:7], cases.key())
    with pytest.raises(ValueError, match="multi-hot labels are for sigmoid"):
        apply(params, state, embeddings, np.zeros((8, 11), np.int32), cases.key())
    with pytest.raises(ValueError, match="a column for each of the 11 classes; got 12"):
        losses.check_labels(np.zeros((8, 12), np.int32), cases.CLASSES)


def test_good_labels_pass():
    losses.check_labels(np.array([0, 10]), cases.CLASSES)
    losses.check_labels(np.array([], np.int64), cases.CLASSES)
