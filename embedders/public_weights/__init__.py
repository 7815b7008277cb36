"""Weights that others have trained: their files, the names of their tensors, and the variables that they become here.

    weight_files.read(path)        a file -> public names and arrays (onnx_file, torch_file: two of the formats)
    layouts                        which public name is which of our variables
    pretrained.convert(...)        public names and arrays -> variables of an embedder
"""
