"""Golden numbers of PyTorch for heads, and for ages cut into ranges: python3 heads.py"""

import json
from pathlib import Path

import numpy as np
import torch
from shared_numbers import numbers
from torch.nn.functional import linear, normalize, silu

N, FEATURES, WIDTH = 4, 6, 5


def flat(t):
    return t.detach().flatten().tolist()


def param(name, *shape):
    return torch.from_numpy(numbers(name, *shape)).requires_grad_()


def case(forward, params):
    """The head's outputs, and the gradients of all parameters and of the features, for a fixed projection."""
    x = param("features", N, FEATURES)
    y = forward(x, params)
    (y * torch.from_numpy(numbers("projection", *y.shape))).sum().backward()
    return dict(outputs=flat(y), gradients={name: flat(p.grad) for name, p in params.items()}, features=flat(x.grad))


def mlp(x, p):
    for layer in ["joint.hidden.0.linear", "joint.hidden.1.linear"]:
        x = silu(linear(x, p[f"{layer}.weight"], p[f"{layer}.bias"]))
    return linear(x, p["joint.weight"], p["joint.bias"])


shapes = {"joint.hidden.0.linear": (WIDTH, FEATURES), "joint.hidden.1.linear": (WIDTH, WIDTH), "joint": (18, WIDTH)}
params = {f"{k}.weight": param(f"{k}.weight", *s) for k, s in shapes.items()}
params |= {f"{k}.bias": param(f"{k}.bias", s[0]) for k, s in shapes.items()}
heads = dict(
    mlp=case(mlp, params),
    cosine=case(
        lambda x, p: 30 * linear(normalize(x), normalize(p["joint.weight"])),
        {"joint.weight": param("joint.weight", 18, FEATURES)},
    ),
)

BINS = 61

# Decisions: distributions over the years 0 to 60, of various widths and means, cut at 31 and 59.
CUTS = [31, 59]
years = torch.arange(BINS, dtype=torch.float64)
rows = torch.from_numpy(4 * numbers("decisions", 40, BINS)) - (years - 15 - 2 * torch.arange(40)[:, None]) ** 2 / 100
q = rows.softmax(1)
mass = torch.stack([q[:, :31].sum(1), q[:, 31:59].sum(1), q[:, 59:].sum(1)], 1)
decisions = dict(
    mass=flat(mass),
    likeliest=np.digitize(q.argmax(1).numpy(), CUTS).tolist(),
    expected=np.digitize((q * years).sum(1).numpy(), CUTS).tolist(),
)

out = Path(__file__).with_suffix(".json")
out.write_text(json.dumps(dict(made_by=f"torch {torch.__version__}", heads=heads, decisions=decisions)))
print(out, out.stat().st_size)
print(decisions["likeliest"], decisions["expected"], mass.argmax(1).tolist())
