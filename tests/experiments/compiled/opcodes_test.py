import jax
import jax.numpy as jnp

from geodesic.experiments.compiled import opcodes

HLO = """HloModule m
%inner (a: f32[2,2]) -> f32[2,2] {
  %a = f32[2,2]{1,0} parameter(0)
  ROOT %product = f32[2,2]{1,0} dot(%a, %a), lhs_contracting_dims={1}, rhs_contracting_dims={0}, \
metadata={op_name="jit(step)/neck/dot_general"}
}

%sum (a.1: f32[2,2]) -> f32[2,2] {
  %a.1 = f32[2,2]{1,0} parameter(0)
  ROOT %more = f32[2,2]{1,0} add(%a.1, %a.1)
}

%body (p.1: f32[2,2]) -> f32[2,2] {
  %p.1 = f32[2,2]{1,0} parameter(0)
  ROOT %nested = f32[2,2]{1,0:T(8,128)} fusion(%p.1), kind=kOutput, calls=%inner
}

ENTRY %main (p: f32[2,2]) -> f32[2,2] {
  %p = f32[2,2]{1,0} parameter(0)
  %ynn_fusion = f32[2,2]{1,0} fusion(%p), kind=kCustom, calls=%inner
  %fusion.1 = f32[2,2]{1,0} fusion(%p), kind=kLoop, calls=%sum
  %gemm = (f32[2,2]{1,0}, s8[64]{0}) custom-call(%p, %p), custom_call_target="__cublas$gemm"
  %norm = f32[2,2]{1,0} custom-call(%p), custom_call_target="__cudnn$norm"
  %loop = f32[2,2]{1,0} while(%p), condition=%sum, body=%body
  %start = (f32[2,2]{1,0}, f32[4,2]{1,0}) all-gather-start(%p), dimensions={0}
  ROOT %done = f32[4,2]{1,0} all-gather-done(%start)
}
"""


def test_kinds_look_into_what_is_called():
    known = opcodes.instructions(HLO)
    kinds = {name: known[name].kind for name in known}
    assert kinds["ynn_fusion"] == kinds["gemm"] == kinds["nested"] == kinds["product"] == opcodes.MATRIX
    assert kinds["fusion.1"] == kinds["norm"] == kinds["p"] == opcodes.OTHER
    assert kinds["loop"] == opcodes.CONTAINER
    assert kinds["start"] == kinds["done"] == opcodes.COLLECTIVE
    assert known["ynn_fusion"].source == "jit(step)/neck/dot_general" and known["fusion.1"].source == ""


def test_a_compiled_program():
    def function(x, w):
        y = jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return jnp.tanh(y).sum()

    x, w = jnp.ones((2, 8, 8, 4)), jnp.ones((3, 3, 4, 4))
    known = opcodes.instructions(jax.jit(function).lower(x, w).compile().as_text())
    assert {opcodes.MATRIX, opcodes.OTHER} <= {instruction.kind for instruction in known.values()}


def test_kernels_by_name():
    kind = lambda name: opcodes.of_kernel(name).kind
    assert kind("ncclDevKernel_AllReduce_Sum_f32_RING_LL") == opcodes.COLLECTIVE
    assert kind("sm90_xmma_fprop_implicit_gemm_bf16") == opcodes.MATRIX
    assert kind("MemcpyD2D") == kind("input_reduce_fusion_3") == opcodes.OTHER
