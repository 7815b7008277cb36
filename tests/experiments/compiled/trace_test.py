import pytest
from jax.profiler import ProfileData

from geodesic.experiments.compiled import trace
from geodesic.experiments.compiled.trace import Span


def profile(*planes: str) -> ProfileData:
    return ProfileData.from_serialized_xspace(ProfileData.text_proto_to_serialized_xspace("".join(planes)))


def plane(name: str, lines: dict[str, list[tuple]], stat: str = "hlo_op") -> str:
    """lines: name -> events (name, microsecond, microseconds, instruction or None)."""
    names = {event[0]: number for number, event in enumerate((e for line in lines.values() for e in line), start=1)}
    text = [f'planes {{ name: "{name}" stat_metadata {{ key: 1 value {{ id: 1 name: "{stat}" }} }}']
    text += [f'event_metadata {{ key: {number} value {{ id: {number} name: "{event}" }} }}'
             for event, number in names.items()]
    for line, events in lines.items():
        text.append(f'lines {{ name: "{line}"')
        for event, start, length, instruction in events:
            facts = f'stats {{ metadata_id: 1 str_value: "{instruction}" }}' if instruction else ""
            text.append(f"events {{ metadata_id: {names[event]} offset_ps: {start * 10**6} "
                        f"duration_ps: {length * 10**6} {facts} }}")
        text.append("}")
    return "\n".join([*text, "}\n"])


def test_planes_of_gpus_and_of_tpus_and_annotations_of_the_host():
    host = plane("/host:CPU", {"python": [("next batch", 0, 5, None), ("dispatch", 5, 5, None)],
                               "thread": [("launch", 1, 1, "fusion.1")]})
    gpu = plane("/device:GPU:0", {"Stream #7(Compute)": [("sm90_gemm", 10, 4, "gemm.1"), ("Memset", 14, 1, None)],
                                  "XLA Ops": [("again", 10, 4, "gemm.1")]})
    found = trace.read(profile(host, gpu), ["next batch"])
    assert found.host == {"next batch": [Span("next batch", 0.0, 5000.0)]}
    assert found.devices == {"/device:GPU:0": [Span("gemm.1", 10e3, 14e3), Span("Memset", 14e3, 15e3)]}
    tpu = plane("/device:TPU:0", {"Steps": [("0", 0, 9, None)],
                                  "XLA Ops": [("%fusion.1 = f32[2]{0} fusion(%p)", 2, 3, None)]})
    assert trace.read(profile(tpu), []).devices == {"/device:TPU:0": [Span("fusion.1", 2e3, 5e3)]}


def test_instructions_of_a_cpu_lie_among_its_threads():
    host = plane("/host:CPU", {"a": [("fusion.1", 1, 2, "fusion.1"), ("end: fusion.1", 3, 1, "fusion.1")],
                               "b": [("other", 1, 2, None)]})
    assert trace.read(profile(host), []).devices == {"cpu 0": [Span("fusion.1", 1e3, 3e3)]}


def test_the_window_is_shared_out_and_nothing_counts_twice():
    spans = [Span("loop", 10, 50), Span("a", 10, 30), Span("b", 20, 30), Span("c", 60, 70)]
    spent, waited, idle = trace.apportion(spans, [Span("w", 0, 15), Span("w", 52, 65)], (0, 100),
                                          lambda name: name == "loop")
    assert spent == {"a": 15, "b": 5, "loop": 20, "c": 10}
    assert (waited, idle) == (10 + 8, 2 + 30)
    assert sum(spent.values()) + waited + idle == 100
    assert trace.apportion(spans, [], (12, 14), lambda name: False) == ({"loop": 1, "a": 1}, 0, 0)


def test_the_trace_of_a_folder_of_any_name_is_found(tmp_path):
    for name in ("[run] *?", "plain"):
        file = tmp_path / name / "plugins" / "host.xplane.pb"
        file.parent.mkdir(parents=True)
        file.touch()
        assert trace.newest(str(tmp_path / name)) == str(file)


def test_no_trace(tmp_path):
    with pytest.raises(ValueError, match="no trace"):
        trace.newest(str(tmp_path))
