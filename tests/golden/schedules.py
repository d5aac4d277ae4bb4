"""Golden numbers of PyTorch, timm and fastai for schedules and the learning-rate finder: python3 schedules.py"""

import json
from pathlib import Path

import fastai
import numpy as np
import timm
import torch
from shared_numbers import numbers
from timm.scheduler import CosineLRScheduler, PolyLRScheduler

torch.set_default_dtype(torch.float64)

import fastai.callback.schedule  # noqa: E402
from fastai.callback.schedule import SuggestionMethod  # noqa: E402
from fastai.vision.all import Callback, DataLoaders, Learner, params  # noqa: E402

# In double precision: by default the starts of the phases are in single precision.
fastai.callback.schedule.tensor = lambda it: torch.tensor(list(it))

# Schedules: 200 steps in 20 epochs of 10, at a rate of 1.
N, EPOCH = 200, 10


def sgd():
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0, momentum=0.9)


def of_torch(make, every=1):
    """A schedule of PyTorch; those that count epochs are stepped once per epoch."""
    optimizer = sgd()
    scheduler = make(optimizer)
    lr, momentum = [], []
    for step in range(N):
        lr.append(optimizer.param_groups[0]["lr"])
        momentum.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        if (step + 1) % every == 0 and step + 1 < N:
            scheduler.step()
    return dict(lr=lr) if set(momentum) == {0.9} else dict(lr=lr, momentum=momentum)


def restarts(*args, **kwargs):
    """PyTorch's warm restarts, with fractional epochs."""
    optimizer = sgd()
    scheduler = s.CosineAnnealingWarmRestarts(optimizer, *args, **kwargs)
    lr = []
    for step in range(N):
        scheduler.step(step / EPOCH)
        lr.append(optimizer.param_groups[0]["lr"])
    return dict(lr=lr)


def recreated(make, cycle, every=1):
    """PyTorch's, re-created every so many steps with the optimizer's initial rate."""
    optimizer = sgd()
    lr, momentum = [], []
    for step in range(N):
        if step % cycle == 0:
            for group in optimizer.param_groups:
                group["lr"] = 1.0
            scheduler = make(optimizer)
        lr.append(optimizer.param_groups[0]["lr"])
        momentum.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        if (step + 1) % every == 0 and (step + 1) % cycle != 0:
            scheduler.step()
    return dict(lr=lr) if set(momentum) == {0.9} else dict(lr=lr, momentum=momentum)


def of_timm(kind, **kwargs):
    """A schedule of timm, counted in steps."""
    optimizer = sgd()
    scheduler = kind(optimizer, t_in_epochs=False, **kwargs)
    lr = []
    for step in range(N):
        scheduler.step_update(step)
        lr.append(optimizer.param_groups[0]["lr"])
    return dict(lr=lr)


def of_fastai(fit):
    """The rates of each batch in fastai's training: those of the last group, and the ratio of the first group's."""

    class Record(Callback):
        order = 61  # after the scheduler

        def before_batch(self):
            if not self.training:
                return
            first, last = self.opt.hypers[0], self.opt.hypers[-1]
            rows.append((last["lr"], last["mom"], first["lr"] / last["lr"]))

    rows = []
    n = EPOCH * 4
    data = torch.utils.data.TensorDataset(torch.zeros(n, 2), torch.zeros(n, 1))
    loader = torch.utils.data.DataLoader(data, batch_size=4)
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
    split = lambda m: [params(m[0]), params(m[1])]  # noqa: E731
    learner = Learner(DataLoaders(loader, loader), model, loss_func=torch.nn.MSELoss(), splitter=split, cbs=Record())
    learner.remove_cb(learner.recorder)  # it requires single precision
    with learner.no_bar():
        fit(learner)
    lr, momentum, slice = map(list, zip(*rows))
    assert len(lr) == N, len(lr)
    return dict(lr=lr, momentum=momentum, slice=slice)


s = torch.optim.lr_scheduler
schedules = dict(
    cosine=of_torch(lambda o: s.CosineAnnealingLR(o, N, eta_min=0.1)),
    step=of_torch(lambda o: s.StepLR(o, 4, 0.3), EPOCH),
    multi_step=of_torch(lambda o: s.MultiStepLR(o, [3, 4, 11], 0.3), EPOCH),
    exponential=of_torch(lambda o: s.ExponentialLR(o, 0.995), EPOCH),
    polynomial=of_torch(lambda o: s.PolynomialLR(o, N, 2.0)),
    polynomial_timm=of_timm(PolyLRScheduler, t_initial=N, power=0.5, lr_min=0.1),
    cosine_restarts=restarts(3, T_mult=2, eta_min=0.1),
    cosine_restarts_alike=restarts(4),
    cosine_restarts_timm=of_timm(
        CosineLRScheduler, t_initial=30, lr_min=0.05, cycle_mul=1.5, cycle_decay=0.7, cycle_limit=9
    ),
    restart=recreated(lambda o: s.CosineAnnealingLR(o, 4 * EPOCH), 4 * EPOCH),
    restart_in_steps=recreated(lambda o: s.CosineAnnealingLR(o, 30, eta_min=0.1), 30),
    restart_multi_step=recreated(lambda o: s.MultiStepLR(o, [1, 3], 0.3), 5 * EPOCH, EPOCH),
    restart_one_cycle=recreated(lambda o: s.OneCycleLR(o, 1.0, total_steps=50), 50),
    flat_cosine=of_fastai(lambda it: it.fit_flat_cos(N // EPOCH, 1.0)),
    flat_cosine_early=of_fastai(lambda it: it.fit_flat_cos(N // EPOCH, 1.0, div_final=100, pct_start=0.4)),
    one_cycle=of_torch(lambda o: s.OneCycleLR(o, 1.0, total_steps=N)),
    one_cycle_other=of_torch(
        lambda o: s.OneCycleLR(
            o, 1.0, total_steps=N, pct_start=0.42, base_momentum=0.8, max_momentum=0.9, div_factor=10, final_div_factor=3
        )
    ),
    one_cycle_fastai=of_fastai(lambda it: it.fit_one_cycle(N // EPOCH, 1.0)),
    one_cycle_fastai_other=of_fastai(
        lambda it: it.fit_one_cycle(N // EPOCH, 1.0, div=5, div_final=50, pct_start=0.6, moms=(0.9, 0.8, 0.7))
    ),
    fine_tune=of_fastai(lambda it: it.fine_tune(N // EPOCH - 1, 1.0)),
    fine_tune_other=of_fastai(
        lambda it: it.fine_tune(N // EPOCH - 3, 1.0, freeze_epochs=3, lr_mult=10, pct_start=0.5, div=3)
    ),
    warmup=of_torch(
        lambda o: s.SequentialLR(o, [s.LinearLR(o, 1 / 20, total_iters=19), s.CosineAnnealingLR(o, N - 20)], [20])
    ),
)


# The rate after each of 60 evaluations that improve for a while, and then fluctuate.
noise = numbers("plateau", 60)
scores = np.minimum(np.arange(60) / 40, 0.8) + 0.02 * noise


def plateau(mode, **kwargs):
    optimizer = sgd()
    scheduler = s.ReduceLROnPlateau(optimizer, mode, eps=0, **kwargs)
    lr = []
    for score in scores if mode == "max" else 1 - scores:
        scheduler.step(score)
        lr.append(optimizer.param_groups[0]["lr"])
    return lr


plateaus = dict(
    max=plateau("max", patience=3),
    min=plateau("min", patience=3),
    max_abs=plateau("max", patience=1, factor=0.5, threshold=0.05, threshold_mode="abs", cooldown=2, min_lr=0.01),
    min_abs=plateau("min", patience=1, factor=0.5, threshold=0.05, threshold_mode="abs", cooldown=2, min_lr=0.01),
    max_rel=plateau("max", patience=2, factor=0.7, threshold=0.1, cooldown=1),
    min_rel=plateau("min", patience=2, factor=0.7, threshold=0.1, cooldown=1),
)


# Curves of the learning-rate finder, and fastai's suggestions.
def suggestions(n, f):
    rates = 1e-7 * (1e8) ** (np.arange(n) / 99)
    losses = np.array([f(x) for x in np.log10(rates)]) + 0.01 * numbers(f"finder/{n}", n)
    found = {}
    for name in ["Valley", "Steep", "Slide", "Minimum"]:
        method = getattr(SuggestionMethod, name)
        found[name.lower()] = float(method(torch.tensor(rates), torch.tensor(losses), n)[0])
    return dict(rates=rates.tolist(), losses=losses.tolist(), found=found)


finder = [
    suggestions(85, lambda x: 2.9 - 1.2 / (1 + np.exp(-3 * (x + 3.5))) + 10 ** (1.5 * x)),
    suggestions(70, lambda x: 3 - 0.3 * (x + 7)),  # falls from the first rate on
    suggestions(99, lambda x: 2.9 - 0.4 * np.exp(-((x + 3) ** 2))),
    suggestions(40, lambda x: 2.9 - 0.05 * (x + 7) ** 2),
]

out = Path(__file__).with_suffix(".json")
made_by = f"torch {torch.__version__}, timm {timm.__version__}, fastai {fastai.__version__}"
out.write_text(
    json.dumps(dict(made_by=made_by, schedules=schedules, scores=scores.tolist(), plateaus=plateaus, finder=finder))
)
print(out, out.stat().st_size)
