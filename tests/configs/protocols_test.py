import pytest

from geodesic.configs import protocols, quickstart

ASKED_FOR = ("cub200", "cars196", "sop", "in_shop", "lfw", "cfp_fp", "agedb_30", "calfw", "cplfw", "ijb_b", "ijb_c",
             "omniglot_retrieval", "omniglot_few_shot_vinyals", "omniglot_one_shot_lake", "omniglot_within_alphabet",
             "omniglot_verification", "imagenet", "cifar10", "fashion_mnist", "orl_faces", "grocery_classification",
             "grocery_retrieval")


@pytest.mark.parametrize("name", ASKED_FOR)
def test_every_protocol_says_what_it_measures(name):
    protocol = protocols.get(name)
    assert protocol.test.name and protocol.split and protocol.data
    assert protocol.primary and protocols.definition(protocol.primary)
    assert "test" not in protocol.select_on
    metrics = [f"recall@{k}" for k in protocol.recall_at] + [f"tar@far={far:g}" for far in protocol.far]
    metrics += [f"{way}way_{shot}shot" for way, shot in protocol.ways_shots]
    assert all(protocols.definition(metric) for metric in metrics)


def test_the_published_splits():
    """PROTOCOLS: CUB 5,924 of 100, Cars 8,131 of 98, SOP 60,502 of 11,316, In-Shop 14,218 and 12,612 of 3,985."""
    counts = {name: (protocols.get(name).images, protocols.get(name).classes) for name in ("cub200", "cars196", "sop")}
    assert counts == {"cub200": (5_924, 100), "cars196": (8_131, 98), "sop": (60_502, 11_316)}
    shop = protocols.get("in_shop")
    assert (shop.images, shop.gallery_images, shop.classes) == (14_218, 12_612, 3_985)
    assert protocols.get("sop").recall_at == (1, 10, 100, 1000)
    for name in ("cub200", "cars196", "grocery_retrieval", "omniglot_retrieval"):  # class-disjoint
        assert protocols.get(name).train.classes[1] == protocols.get(name).test.classes[0]


def test_ijb_has_its_switches_in_its_name():
    names = [f"ijb_c_n{n}d{d}f{f}" for n in (0, 1) for d in (0, 1) for f in (0, 1)]
    switches = {(p.normalise_templates, p.detector_scores, p.flips) for p in map(protocols.get, names)}
    assert len(switches) == 8
    assert protocols.get("ijb_c").name == "ijb_c_n1d1f1"


def test_unknown_names_are_refused_and_protocols_are_locked():
    with pytest.raises(ValueError, match="unknown protocol 'cub'; known: cub200, cars196"):
        protocols.get("cub")
    with pytest.raises(ValueError, match="'accuracy' has no definition"):
        protocols.definition("accuracy")
    with pytest.raises(AttributeError):
        protocols.get("cub200").cropp = 1


def test_a_run_whose_data_are_a_protocols_is_known_to_follow_it():
    data_sets = ("omniglot", "orl_faces")
    assert protocols.followed_by(quickstart.get_config(), data_sets).name == "orl_faces"
    assert protocols.followed_by(quickstart.get_config(), ("omniglot",)) is None
    for change in (lambda c: c.test_data.update(classes=(31, 40)), lambda c: c.train_data.update(classes=(0, 31)),
                   lambda c: c.evaluation.update(average_horizontal_flips=False),
                   lambda c: c.train_data.update(folds=2), lambda c: c.test_data.update(name="image_folder")):
        config = quickstart.get_config()
        change(config)
        assert protocols.followed_by(config, data_sets) is None
