"""What the golden scripts write down: values and gradients of torch functions, in float64."""

import numpy as np
import torch

# Of the script that runs; each is a process of its own.
RESULTS: dict[str, np.ndarray] = {}


def record(name: str, function, *arrays: np.ndarray) -> None:
    """Value of `function(*arrays)` and gradient with respect to each."""
    tensors = [torch.tensor(array, dtype=torch.float64, requires_grad=True) for array in arrays]
    value = function(*tensors)
    value.backward()
    RESULTS[f"{name}/value"] = value.detach().numpy()
    for index, tensor in enumerate(tensors):
        RESULTS[f"{name}/gradient{index}"] = tensor.grad.numpy()
