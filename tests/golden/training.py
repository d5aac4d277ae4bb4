"""Golden numbers of PyTorch, timm and AdamP's authors for optimizers and clipping: python3 training.py"""

import json
from pathlib import Path

import adamp
import timm.optim
import timm.utils.agc
import torch
from shared_numbers import numbers


def flat(t):
    return t.detach().flatten().tolist()


SHAPES = [(3, 4), (5,), (4, 1, 3, 3)]


def sampled(what, at):
    return [torch.from_numpy(numbers(f"{what}/{k}{at}", *s) * 10.0 ** (-k if what == "grad" else 0)).float() for k, s in enumerate(SHAPES)]


# Optimizers: 20 steps of three parameters in f32, the second of which has no gradient in every third step, except for
# timm's LAMB, which counts steps for all parameters together.
def optimize(make, skips=True):
    params = [torch.nn.Parameter(p) for p in sampled("param", "")]
    optimizer = make(params)
    states = []
    for step in range(20):
        for p, g in zip(params, sampled("grad", f"/{step}")):
            p.grad = g
        if skips and step % 3 == 2:
            params[1].grad = None
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * (1 - step / 40)
        optimizer.step()
        if step in (9, 19):
            states.append([flat(p) for p in params])
    return states


o = torch.optim
optimizers = dict(
    adam=optimize(lambda p: o.Adam(p)),
    adam_decay=optimize(lambda p: o.Adam(p, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.1)),
    adamw=optimize(lambda p: o.AdamW(p)),
    adamw_decay=optimize(lambda p: o.AdamW(p, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.5)),
    sgd=optimize(lambda p: o.SGD(p, momentum=0.9, weight_decay=1e-4)),
    sgd_plain=optimize(lambda p: o.SGD(p)),
    sgd_dampened=optimize(lambda p: o.SGD(p, momentum=0.8, dampening=0.3, weight_decay=0.1)),
    sgd_nesterov=optimize(lambda p: o.SGD(p, momentum=0.8, nesterov=True, weight_decay=0.1)),
    # These numbers are rarely projected with the default delta, so larger ones are tested too.
    adamp=optimize(lambda p: adamp.AdamP(p)),
    adamp_projected=optimize(lambda p: adamp.AdamP(p, delta=1.5, weight_decay=0.5)),
    adamp_nesterov=optimize(lambda p: adamp.AdamP(p, delta=3.0, wd_ratio=0.3, weight_decay=0.5, nesterov=True)),
    rmsprop=optimize(lambda p: timm.optim.RMSpropTF(p, alpha=0.9, eps=1e-3, momentum=0.9, weight_decay=1e-5)),
    rmsprop_decay=optimize(lambda p: timm.optim.RMSpropTF(p, alpha=0.8, eps=1e-6, momentum=0.5, weight_decay=0.1)),
    lamb=optimize(lambda p: timm.optim.Lamb(p, weight_decay=0.01), skips=False),
    lamb_plain=optimize(lambda p: timm.optim.Lamb(p, betas=(0.8, 0.99), weight_decay=0.0, max_grad_norm=100.0), skips=False),
    lion=optimize(lambda p: timm.optim.Lion(p)),
    lion_decay=optimize(lambda p: timm.optim.Lion(p, betas=(0.8, 0.9), weight_decay=0.5)),
)


# Clipping: gradients of the parameters above; the last is the head's.
def clipped(clip):
    params = [torch.nn.Parameter(p) for p in sampled("param", "")]
    for p, g in zip(params, sampled("grad", "/0")):
        p.grad = g
    clip(params)
    return [flat(p.grad) for p in params]


clips = dict(
    none=clipped(lambda p: None),
    norm=clipped(lambda p: torch.nn.utils.clip_grad_norm_(p, 0.7)),
    norm_small=clipped(lambda p: torch.nn.utils.clip_grad_norm_(p, 70.0)),
    value=clipped(lambda p: torch.nn.utils.clip_grad_value_(p, 0.02)),
    adaptive=clipped(lambda p: timm.utils.agc.adaptive_clip_grad(p[:2], 0.05)),
    adaptive_head=clipped(lambda p: timm.utils.agc.adaptive_clip_grad(p, 0.005)),
)

out = Path(__file__).with_suffix(".json")
made_by = f"torch {torch.__version__}, timm {timm.__version__}, adamp 0.3.0"
out.write_text(json.dumps(dict(made_by=made_by, optimizers=optimizers, clips=clips)))
print(out, out.stat().st_size)
