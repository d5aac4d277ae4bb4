"""Golden numbers of PyTorch for optimizers and schedules: python3 training.py"""

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


# Schedules: 200 steps in 20 epochs of 10; torch's epoch-wise ones are stepped once an epoch.
def rates(make, every):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer)
    values = []
    for step in range(200):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if (step + 1) % every == 0:
            scheduler.step()
    return values


s = torch.optim.lr_scheduler
schedules = dict(
    cosine=rates(lambda o: s.CosineAnnealingLR(o, 200, eta_min=0.1), 1),
    step=rates(lambda o: s.StepLR(o, 4, 0.3), 10),
    exponential=rates(lambda o: s.ExponentialLR(o, 0.995), 10),
)

out = Path(__file__).with_suffix(".json")
made_by = f"torch {torch.__version__}"
out.write_text(json.dumps(dict(made_by=made_by, optimizers=optimizers, schedules=schedules)))
print(out, out.stat().st_size)
