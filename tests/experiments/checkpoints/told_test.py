import jax
import pytest

from geodesic.experiments.checkpoints import digests, told


def test_what_several_processes_tell_comes_together_or_the_checkpoint_does_not(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    monkeypatch.setattr(told, "_PATIENCE", 0.2)
    monkeypatch.setattr(jax, "process_index", lambda: 2)
    told.tell(str(tmp_path), {"x": 5})
    with pytest.raises(TimeoutError, match="process 1 has not told its digests"):
        told.by_others(str(tmp_path), pause=0.01)
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    told.tell(str(tmp_path), {"x": 3})
    assert told.by_others(str(tmp_path), pause=0.01) == [{"x": 3}, {"x": 5}] and not [*tmp_path.iterdir()]


def test_digests_of_parts_add_up_modulo_two_to_the_64th():
    assert digests.added([{"x": 2 ** 64 - 1, "y": 1}, {"x": 3, "y": 1}]) == {"x": f"{2:016x}", "y": f"{2:016x}"}
