import numpy as np

from geodesic.metrics import few_shot


def test_episodes_stay_within_a_group_and_separate_classes_score_one():
    labels = np.repeat(np.arange(12), 6)
    episodes = few_shot.sample_episodes(labels, ways=3, shots=2, queries=4, episodes=20, seed=0, groups=labels // 4)
    for episode in episodes:
        assert len({*(labels[episode.support].ravel() // 4)}) == 1
        assert (labels[episode.queries] == labels[episode.support[episode.answers, 0]]).all()
        assert not {*episode.support.ravel()} & {*episode.queries}
    assert few_shot.accuracy(np.eye(12)[labels], episodes).accuracy == 1
