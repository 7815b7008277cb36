import types

from geodesic.experiments import report


def test_a_card_has_the_best_baseline_beside_it_where_there_is_one():
    scores = {"map@r": 0.5, "recall@1": 0.75, "eer": 0.1}
    cards = report._cards({"trained": "trained", "scores": {"trained": scores}})
    assert "0.750" in cards and cards.count('<div class="rival"></div>') == 3
    rivals = {"trained": scores, "pixels": {"map@r": 0.2, "recall@1": 0.3, "eer": 0.4},
              "PCA": {"map@r": 0.1, "recall@1": 0.4, "eer": 0.3}}
    cards = report._cards({"trained": "trained", "scores": rivals})
    without = {name: value for name, value in scores.items() if name != "recall@1"} | {"recall@2": 0.875}
    assert "recall@2" in (cards_without := report._cards({"trained": "trained", "scores": {"trained": without}}))
    assert "0.875" in cards_without
    assert "0.200 pixels" in cards and "0.400 PCA" in cards and "0.300 PCA" in cards


def test_maps_are_of_the_weights_that_were_evaluated(monkeypatch):
    seen = []
    monkeypatch.setattr(report.imported, "exist", lambda folder: False)
    monkeypatch.setattr(report.loading, "load", lambda folder, config, step: seen.append(step) or types.SimpleNamespace(
        digest="other"))
    measured = {"checkpoint_step": 7, "checkpoint_digest": "this"}
    page = report._matched(None, "run", measured, {}, None, None, None, source=object())
    assert "There are no maps: the weights are no longer those that were evaluated." in page and seen == [7]
    assert report._matched(None, "run", measured, {}, None, None, None, source=None) == ""
