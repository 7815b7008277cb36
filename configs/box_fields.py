"""The fields of the section `box_augment` of a configuration: how pictures with boxes vary in a detector's training."""

from ml_collections import config_dict


def fields() -> config_dict.ConfigDict:
    """With these defaults a picture is letterboxed, and nothing else is done to it."""
    return config_dict.ConfigDict(dict(
        horizontal_flip=0.0,                  # probability
        vertical_flip=0.0,                    # probability
        scale=(1.0, 1.0),                     # factor of the letterbox's scale, log-uniform; a larger picture is then
                                              # cut, a smaller one padded, at a place that is drawn
        crop=0.0,                             # probability of letterboxing a random part of the picture alone
        crop_area=(0.3, 1.0),                 # its share of the picture's area, uniform
        crop_ratio=(0.5, 2.0),                # its width / height, log-uniform
        mosaic=0.0,                           # probability of putting four pictures together
        color_jitter=(0.0, 0.0, 0.0, 0.0),    # brightness, contrast, saturation: in 1-x..1+x; hue: turns
        grayscale=0.0,                        # probability
        blur=0.0,                             # probability, of a Gaussian
        blur_sigma=(0.1, 2.0),                # its deviation in pixels, uniform
        smallest_side=1.0,                    # pixels of the network's input: boxes of a shorter side are left out
    ))
