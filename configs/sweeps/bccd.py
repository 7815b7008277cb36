"""Blood cells found with the maps of a ResNet-50 that does not learn: trained on ImageNet, or not at all. Three seeds.

    geodesic sweep --sweep=bccd --workdir=runs/bccd

Needs bccd/{train,val,test}.json and bccd/images in the current folder, and weights/keras, an imported ResNet-50
(docs/weights.md). Trained on the repository's train and val, tested on its test, as `configs/bccd.py` says.
"""

from geodesic.configs import sweeps


def get_sweep():
    """Makes the sweep."""
    points = [{"label": "ImageNet", "init_from": "weights/keras"}, {"label": "random trunk"}]
    return sweeps.sweep(config="bccd", axes=[points], seeds=range(3), metrics=("ap", "ap50", "ap75"),
                        common={"train_data.path": "bccd/{train,val}.json#images",
                                "test_data.path": "bccd/test.json#images"}, baseline="ImageNet")
