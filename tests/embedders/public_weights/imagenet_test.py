from geodesic.embedders.public_weights import imagenet


def test_the_classes_are_a_thousand_in_the_order_of_their_ids():
    """As in Keras's imagenet_class_index.json: 281 is the tabby, 388 the giant panda, 999 toilet tissue."""
    ids, names = imagenet.classes()
    assert len(ids) == len({*ids}) == len({*names}) == 1000 and ids == sorted(ids)
    for place, wordnet_id, name in ((0, "n01440764", "tench"), (281, "n02123045", "tabby"),
                                    (388, "n02510455", "giant panda"), (967, "n07920052", "espresso"),
                                    (999, "n15075141", "toilet tissue")):
        assert (ids[place], names[place]) == (wordnet_id, name)
