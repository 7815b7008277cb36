"""The fields of the section `detection` of a configuration: the detector of --config.task=detection."""

from ml_collections import config_dict


def fields() -> config_dict.ConfigDict:
    """What a detector sees, what it has above its trunk, and what it makes of its outputs."""
    return config_dict.ConfigDict(dict(
        head="fcos",            # fcos | retinanet: without anchors, or with them; loss.name has the same name
        height=416, width=416,  # pixels of what the trunk sees, in which a picture is letterboxed: multiples of the
                                # coarsest layer's stride
        max_boxes=100,          # of one training image: more are refused
        kept_views=0,           # of each training picture, which come round again, and whose maps by a frozen trunk are
                                # kept in WORKDIR/views: the head then learns without it; 0 = new views in each epoch
        layers=(),              # of the trunk, one for each level; () = the last one of each of its 3 coarsest strides
        coarser=0,              # levels above these, each of half the size: 2 for large images
        channels=256,           # of the pyramid and of the towers
        depth=4,                # convolutions of each of the two towers
        distances="softplus",   # fcos: softplus | relu | exp: what makes distances, in strides, of any number
        ranges=(),              # fcos: (lower, upper) of each level, pixels that the farthest side of its boxes is
                                # away; () = 4 and 8 strides
        scales=(4.0, 4 * 2 ** (1 / 3), 4 * 2 ** (2 / 3)),  # retinanet: sides of the anchors of a place, in strides
        ratios=(0.5, 1.0, 2.0),  # retinanet: height / width of the anchors of each side
        offset=0.5,             # of the first place, in strides: the middle of a cell; 0 = its corner
        spread=False,           # whether the places of a level whose stride does not divide the image are spread over
                                # it, as in torchvision, and not a stride apart
        smallest_score=0.05,    # what scores less, or as much, is not reported
        candidates=1000,        # of each level and image that go on to the suppression
        suppression="hard",     # hard | linear | gaussian: whether lower scores fall away, or shrink
        threshold=0.6,          # IoU of two boxes of one class above which the lower score is suppressed
        sigma=0.5,              # gaussian
        kept=100,               # boxes of an image at most
    ))
