"""Golden numbers of PyTorch for optimizers: python3 training.py"""

import json
from pathlib import Path

import numpy as np
import torch
from shared_numbers import numbers


def flat(t):
    return t.detach().flatten().tolist()


# Optimizers: 20 steps of two parameters in f32, one of which has no gradient at every third step.
def optimize(make):
    params = [torch.nn.Parameter(torch.from_numpy(numbers(f"param/{k}", *s)).float()) for k, s in enumerate([(3, 4), (5,)])]
    optimizer = make(params)
    states = []
    for step in range(20):
        for k, p in enumerate(params):
            g = numbers(f"grad/{k}/{step}", *p.shape) * 10.0 ** (-k)
            p.grad = torch.from_numpy(g).float()
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * (1 - step / 40)
        optimizer.step()
        if step in (9, 19):
            states.append([flat(p) for p in params])
    return states


optimizers = dict(
    adam=optimize(lambda p: torch.optim.Adam(p)),
    adam_decay=optimize(lambda p: torch.optim.Adam(p, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.1)),
    adamw=optimize(lambda p: torch.optim.AdamW(p)),
    adamw_decay=optimize(lambda p: torch.optim.AdamW(p, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.5)),
)

out = Path(__file__).with_suffix(".json")
made_by = f"torch {torch.__version__}"
out.write_text(json.dumps(dict(made_by=made_by, optimizers=optimizers)))
print(out, out.stat().st_size)
