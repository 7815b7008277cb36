import jax
import jax.numpy as jnp

from geodesic.experiments.compiled import hlo


def test_sizes_and_memory_spaces():
    text = "(f32[2,3]{1,0:T(8,128)S(1)}, bf16[4]{0}, pred[8]{0}, u32[]{:S(2)}, f8e4m3fn[16]{0}, s4[6]{0:S(5)}, token[])"
    assert hlo.arrays(text) == [(24, 1), (8, 0), (8, 0), (4, 2), (16, 0), (6, 5), (1, 0)]


def test_an_instruction():
    one = hlo.parse("  ROOT %fusion.1 = (f32[2]{0}, s32[]) fusion(%p.1, /*index=1*/f32[2]{0} %q), kind=kLoop, calls=%c")
    assert (one.name, one.type, one.opcode, one.operands) == ("fusion.1", "(f32[2]{0}, s32[])", "fusion", ["p.1", "q"])
    assert hlo.parse("}") is None and hlo.parse("  // a comment = (of nobody)") is None


def test_what_runs_how_often():
    def function(x):
        x = jax.lax.fori_loop(0, 7, lambda _, x: jnp.sort(x), x)
        return jax.lax.cond(x[0] > 0, jnp.sort, jnp.cumsum, x)

    text = jax.jit(function).lower(jnp.ones(16)).compile().as_text()
    sorts = [times for one, times, _ in hlo.executed(text) if one.opcode == "sort"]
    assert sorted(sorts) == [1, 7]
    opcodes = {one.opcode for one, _, _ in hlo.executed(text)}
    everything = {one.opcode for one, _, _ in hlo.executed(text, fusions=True)}
    assert "compare" in everything - opcodes  # inside the sort
