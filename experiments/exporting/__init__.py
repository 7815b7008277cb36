"""A function of images, with its weights, as files that other programs run.

    trace      the function's jaxpr, flat, with what depends on no image computed: a `Graph` of operations
    patterns   what several operations are together: a ReLU, a mean, a convolution with its BatchNorm
    lower      operations as nodes of ONNX, which nodes.py names and orders
    write      the ONNX file
    int8       the same file in eight bits, by onnxruntime's own tools
    suppression  non-maximum suppression after a detector's boxes
    stablehlo  the same function by `jax.export`
    parity     a file, run in a fresh process without this code, against the function
"""
