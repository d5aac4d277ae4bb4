"""Weights that are computed from the names of parameters (tests/golden/networks.rs: `set_by_formula`)."""

import math

import numpy as np
from shared_numbers import numbers


def formula(name, shape):
    """The values of the parameter `name`, scaled so that activations stay near 1."""
    x = numbers(name, *shape)
    if name.endswith("running_mean"):
        return 0.1 * x
    if name.endswith("running_var"):
        return 1 + 0.5 * x
    if len(shape) > 1:
        return x * math.sqrt(6 / np.prod(shape[1:]))
    if name.endswith("bias"):
        return 0.1 * x
    # The sum over many residual blocks would grow from block to block, and its rounding error too.
    ends = name.endswith(("bn3.weight", "convpath.2.1.weight", "gamma"))
    return (0.2 if ends and not name.startswith("blocks") else 1) * (1 + 0.2 * x)
