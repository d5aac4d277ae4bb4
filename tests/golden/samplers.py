"""Golden numbers of PyTorch, catalyst and ufoym for samplers: python3 samplers.py CATALYST UFOYM

CATALYST is catalyst/data/sampler.py of github.com/catalyst-team/catalyst at e99f906, UFOYM is
torchsampler/imbalanced.py of github.com/ufoym/imbalanced-dataset-sampler at 01cb129. Both are run, and the
formula below is compared with them.
"""

import json
import sys
import types
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import WeightedRandomSampler

# The competition's images of each joint class; a few with an uneven ratio; one class; a rarest class of one image.
COUNTS = dict(
    competition=[2745, 2050, 415, 3660, 4085, 545, 549, 410, 83, 732, 817, 109, 549, 410, 83, 732, 817, 109],
    thirds=[7, 3, 0, 5, 11, 49],
    one=[0, 4],
    single=[100, 1, 30],
)
N_EPOCHS = 40


def labels_of(counts):
    return [label for label, n in enumerate(counts) for _ in range(n)]


def load(path, name):
    """Loads a module from a file, without the rest of its package."""
    for part in ["catalyst", "catalyst.data", "catalyst.data.dataset"]:
        sys.modules.setdefault(part, types.ModuleType(part)).DatasetFromSampler = None
    # PyTorch's base class no longer takes an argument.
    torch.utils.data.sampler.Sampler.__init__ = lambda self, *_: None
    module = types.ModuleType(name)
    exec(compile(Path(path).read_text(), path, "exec"), module.__dict__)
    return module


catalyst, ufoym = load(sys.argv[1], "sampler"), load(sys.argv[2], "imbalanced")


def sampled(sampler, labels, n_classes):
    got = Counter(labels[it] for it in sampler)
    return [got[it] for it in range(n_classes)]


def balance_class(counts, mode):
    labels = labels_of(counts)
    return sampled(catalyst.BalanceClassSampler(labels, mode), labels, len(counts))


def dynamic_formula(counts, epoch, exp_lambda, start_epoch, max_d, mode):
    least = min(it for it in counts if it > 0)
    n = least if mode == "downsampling" else mode
    most = float("inf") if max_d is None else max_d
    return [int(min((it / least) ** (exp_lambda ** (start_epoch + epoch)), most) * n) if it else 0 for it in counts]


def dynamic_balance(counts, **settings):
    labels = labels_of(counts)
    sampler = catalyst.DynamicBalanceClassSampler(labels, ignore_warning=True, **settings)
    epochs = [sampled(sampler, labels, len(counts)) for _ in range(N_EPOCHS)]
    settings = dict(exp_lambda=0.9, start_epoch=0, max_d=None, mode="downsampling") | settings
    assert epochs == [dynamic_formula(counts, it, **settings) for it in range(N_EPOCHS)]
    return epochs


def weighted():
    """The class shares with class weights, and how often each of four examples is sampled at all, and first, if two are
    sampled without replacement."""
    torch.manual_seed(0)
    counts, weights, n = [50, 30, 15, 5], [1.0, 0.0, 2.5, 8.0], 400_000
    labels = labels_of(counts)
    each = [weights[it] for it in labels]
    shares = np.array(sampled(WeightedRandomSampler(each, n), labels, 4)) / n
    four = [1.0, 2.0, 3.0, 6.0]
    pairs = torch.multinomial(torch.tensor([four]).expand(n, 4), 2, replacement=False)
    either = np.bincount(pairs.flatten().numpy(), minlength=4) / n
    first = np.bincount(pairs[:, 0].numpy(), minlength=4) / n
    one_by_one = list(WeightedRandomSampler(four, 4, replacement=False))
    assert sorted(one_by_one) == [0, 1, 2, 3]
    return dict(
        counts=counts, weights=weights, n=n, shares=shares.tolist(),
        four=four, either=either.tolist(), first=first.tolist(),
    )


def imbalanced(counts):
    """The weight of an example of each class, and the number of samples."""
    labels = labels_of(counts)
    sampler = ufoym.ImbalancedDatasetSampler(list(range(len(labels))), labels=labels)
    weights = [float(sampler.weights[labels.index(it)]) if n else 0.0 for it, n in enumerate(counts)]
    assert weights == [1 / it if it else 0.0 for it in counts]
    assert len(sampler) == len(labels)
    return dict(weights=weights, n_samples=len(sampler))


dynamic_settings = [
    dict(),
    dict(exp_lambda=0.5),
    dict(start_epoch=3),
    dict(max_d=5),
    dict(mode=100),
    dict(exp_lambda=0.7, start_epoch=1, max_d=10, mode=20),
]
np.random.seed(0)
golden = dict(
    counts=COUNTS,
    weighted=weighted(),
    imbalanced={name: imbalanced(counts) for name, counts in COUNTS.items()},
    balance_class={
        name: [[mode, balance_class(counts, mode)] for mode in ["downsampling", "upsampling", 60]]
        for name, counts in COUNTS.items()
    },
    dynamic_balance={
        name: [[settings, dynamic_balance(counts, **settings)] for settings in dynamic_settings]
        for name, counts in COUNTS.items()
    },
)
path = Path(__file__).with_suffix(".json")
path.write_text(json.dumps(golden) + "\n")
