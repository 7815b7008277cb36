"""What training programs keep beside their weights in a .pth file, and a reader of weights passes over.

Options, a score that is a NumPy number, a path, a date: a pickle makes each by a call. Here the call is made to a
stand-in that does nothing, whatever it is given. Nothing of what the file names is imported or run.
"""

# By module, the names that are passed over.
_NAMES = {
    "argparse": ("Namespace",),
    "types": ("SimpleNamespace",),
    "typing": ("Any",),
    "collections": ("defaultdict", "Counter", "deque"),
    "datetime": ("date", "datetime", "time", "timedelta", "timezone"),
    "pathlib": ("Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath", "WindowsPath"),
    "pathlib._local": ("Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath", "WindowsPath"),
    "_codecs": ("encode",),  # how bytes are written for Python 2
    "copyreg": ("_reconstructor",),
    "builtins": ("bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object",
                 "range", "set", "slice", "str", "tuple"),
    "numpy": ("dtype", "ndarray", "bool_", "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8",
              "uint16", "uint32", "uint64", "str_"),
    "numpy.core.multiarray": ("scalar", "_reconstruct"),
    "numpy.core.numeric": ("_frombuffer",),
    "torch": ("device", "bfloat16", "bool", "float16", "float32", "float64", "int8", "int16", "int32", "int64",
              "uint8"),
}
# Of options and logs; all of their names.
_PACKAGES = ("addict", "easydict", "lightning", "lightning_fabric", "ml_collections", "mmcv", "mmengine", "omegaconf",
             "pytorch_lightning", "yacs")
_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg", "numpy._core.multiarray": "numpy.core.multiarray",
            "numpy._core.numeric": "numpy.core.numeric"}


class Nothing:
    """Stands for a class, a function and what either gives. It takes anything, and keeps none of it.

    Example:
      >>> from geodesic.embedders.public_weights.passed_over import Nothing
      >>> options = Nothing("any", arguments=1)
      >>> options["learning_rate"] = 0.1
      >>> options.append(2), options.__setstate__({"x": 3})
      (None, None)
    """

    __slots__ = ()

    def __new__(cls, *_, **__):
        return object.__new__(cls)

    def _ignore(self, *_):
        return None

    # What a pickle does with what it has made.
    __setstate__ = __setitem__ = append = extend = add = _ignore


def knows(module: str, name: str) -> bool:
    """Whether what this module calls by this name may be passed over.

    Example:
      >>> from geodesic.embedders.public_weights import passed_over
      >>> passed_over.knows("argparse", "Namespace"), passed_over.knows("os", "system")
      (True, False)
    """
    return name in _NAMES.get(_RENAMED.get(module, module), ()) or module.split(".")[0] in _PACKAGES
