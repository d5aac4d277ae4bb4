"""Golden numbers of PyTorch and scikit-learn for optimizers, schedules and metrics: python3 training.py"""

import json
from pathlib import Path

import numpy as np
import sklearn
import sklearn.metrics
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

# Metrics: 300 pictures of 18 classes, of which some do not occur and some are never predicted.
p = np.exp(3 * numbers("probabilities", 300, 18))
p[:, 7] = 1e-9
p /= p.sum(1, keepdims=True)
truth = ((numbers("truth", 300) + 1) * 9).astype(int)
truth[truth == 3] = 4
best = p.argmax(1)
score = sklearn.metrics.precision_recall_fscore_support(truth, best, labels=range(18), zero_division=0)
age = best % 3
metrics = dict(
    macro_f1=sklearn.metrics.f1_score(truth, best, average="macro"),
    accuracy=sklearn.metrics.accuracy_score(truth, best),
    log_loss=sklearn.metrics.log_loss(truth, p, labels=range(18)),
    precision=score[0].tolist(),
    recall=score[1].tolist(),
    f1=score[2].tolist(),
    support=score[3].tolist(),
    confusion=sklearn.metrics.confusion_matrix(truth, best, labels=range(18)).flatten().tolist(),
    age_macro_f1=sklearn.metrics.f1_score(truth % 3, age, average="macro"),
    age_log_loss=sklearn.metrics.log_loss(truth % 3, np.stack([p[:, k::3].sum(1) for k in range(3)], 1), labels=range(3)),
)

out = Path(__file__).with_suffix(".json")
made_by = f"torch {torch.__version__}, scikit-learn {sklearn.__version__}"
out.write_text(json.dumps(dict(made_by=made_by, optimizers=optimizers, schedules=schedules, metrics=metrics)))
print(out, out.stat().st_size)
