"""Golden numbers of timm's mixup, cutmix and random erasing, and of scipy's Beta distribution: python3 mixing.py"""

import json
import math
import random
from pathlib import Path
from unittest import mock

import numpy as np
import timm
import torch
from scipy.stats import beta
from shared_numbers import numbers
from timm.data import mixup as timm_mixup
from timm.data.random_erasing import RandomErasing

N_CLASSES = 18
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def flat(t):
    return [round(it, 9) for it in t.detach().double().flatten().tolist()]


def images(n, h, w):
    return torch.from_numpy(((numbers("pictures", n, h, w, 3) + 1) * 128).astype(np.uint8).astype(np.float64))


def classes(n):
    return torch.from_numpy(((numbers("classes", n) + 1) * 9).astype(np.int64))


def normalised(x):
    """Normalises images [n, 3, h, w], to channels last."""
    return (x.permute(0, 2, 3, 1) / 255 - MEAN.double()) / STD.double()


def rectangles():
    """The rectangle for a λ and a centre, and the λ corrected to its clipped area."""
    cases = []
    for size in [(8, 6), (88, 66), (33, 47), (224, 224), (1, 1)]:
        for u in numbers("lambda", 6):
            lam = float((u + 1) / 2)
            fractions = (numbers(f"centre {size} {lam}", 2) + 1) / 2
            centre = [int(f * s) for f, s in zip(fractions, size)]
            with mock.patch.object(np.random, "randint", side_effect=centre):
                edges, corrected = timm_mixup.cutmix_bbox_and_lam((3, *size), lam)
            cases.append(dict(size=size, centre=centre, **{"lambda": lam}, edges=[int(it) for it in edges], corrected=float(corrected)))
    return cases


def mixed():
    """Whole batches with given samples: the pixels of each row, and its target distribution."""
    cases = []
    for name, settings in dict(
        mixup_batch=dict(mode="batch"),
        mixup_pair=dict(mode="pair"),
        mixup_elem=dict(mode="elem"),
        cutmix_batch=dict(mode="batch", mixup_alpha=0.0, cutmix_alpha=1.0),
        cutmix_pair=dict(mode="pair", mixup_alpha=0.0, cutmix_alpha=1.0),
        cutmix_elem=dict(mode="elem", mixup_alpha=0.0, cutmix_alpha=1.0),
    ).items():
        n, size = 4, [9, 7]
        lambdas = [0.7, 0.2, 0.95, 0.5]
        centres = [[4, 3], [0, 6], [8, 1], [2, 2]]
        flow = iter(sum(centres, []))
        mix = timm_mixup.Mixup(label_smoothing=0.0, num_classes=N_CLASSES, **settings)
        x = images(n, *size).permute(0, 3, 1, 2).contiguous()
        with (
            mock.patch.object(np.random, "beta", side_effect=lambda *_, size=None: np.array(lambdas[:size]) if size else lambdas[0]),
            mock.patch.object(np.random, "randint", side_effect=lambda *_, **__: next(flow)),
        ):
            y, target = mix(x, classes(n))
        # The sample that each row uses: the batch's, its pair's or its own.
        samples = dict(batch=[0] * n, pair=[0, 1, 1, 0], elem=range(n))[settings["mode"]]
        layers = []
        for row, sample in enumerate(samples):
            layer = dict(image=n - 1 - row, area=[0, 0, *size], share=1 - lambdas[sample])
            if "cutmix_alpha" in settings:
                with mock.patch.object(np.random, "randint", side_effect=centres[sample]):
                    (top, bottom, left, right), _ = timm_mixup.cutmix_bbox_and_lam((3, *size), lambdas[sample])
                layer |= dict(area=[int(it) for it in (top, left, bottom - top, right - left)], share=1.0)
            layers.append(layer)
        cases.append(dict(name=name, size=size, layers=layers, pixels=flat(normalised(y)), targets=flat(target)))
    return cases


def shuffled():
    """Mixup as in its authors' code: λ x + (1 - λ) x[order], and the weights in the loss as a distribution."""
    n, size, lam, order = 5, [3, 4], 0.3, [2, 1, 4, 0, 3]
    x, y = images(n, *size).permute(0, 3, 1, 2), torch.nn.functional.one_hot(classes(n), N_CLASSES).double()
    pixels, targets = (lam * it + (1 - lam) * it[order] for it in (x, y))
    layers = [dict(image=it, area=[0, 0, *size], share=1 - lam) for it in order]
    return dict(name="authors", size=size, layers=layers, pixels=flat(normalised(pixels)), targets=flat(targets))


def erased():
    """The sides of a rectangle with a given area share and aspect ratio; none if it does not fit."""
    cases = []
    for size in [(64, 48), (7, 7), (30, 200)]:
        for at, (u, v) in enumerate((numbers(f"erased {size}", 8, 2) + 1) / 2):
            image = torch.ones(3, *size)
            sampled = []

            def uniform(low, high):
                sampled.append(low + (high - low) * (u if len(sampled) % 2 == 0 else v))
                return float(sampled[-1])

            eraser = RandomErasing(probability=1.0, device="cpu")
            with mock.patch.object(random, "uniform", side_effect=uniform):
                eraser(image)
            gone = (image[0] == 0).nonzero()
            sides = None if len(gone) == 0 else (gone.max(0).values - gone.min(0).values + 1).tolist()
            cases.append(dict(size=size, share=float(sampled[0]), aspect=math.exp(sampled[1]), sides=sides))
    return cases


def lambdas():
    """The mean and the deciles of λ for each implementation."""
    p = np.arange(1, 10) / 10
    folded = lambda a: [float(it) for it in 1 - beta.ppf((1 - p) / 2, a, a)]
    plain = lambda a: [float(it) for it in beta.ppf(p, a, a)]
    cases = dict(authors=plain(1.0), fastai=folded(0.4), timm=plain(1.0), uniform=folded(1.0), narrow=plain(8.0))
    # The mean of max(λ, 1 - λ), by numerical integration.
    grid = (np.arange(200000) + 0.5) / 200000
    mean = lambda a: float(np.mean(np.maximum(q := beta.ppf(grid, a, a), 1 - q)))
    means = dict(authors=0.5, fastai=mean(0.4), timm=0.5, uniform=0.75, narrow=0.5)
    return {name: dict(mean=means[name], deciles=deciles) for name, deciles in cases.items()}


made_by = f"torch {torch.__version__}, timm {timm.__version__}"
golden = dict(made_by=made_by, rectangles=rectangles(), mixed=[*mixed(), shuffled()], erased=erased(), lambdas=lambdas())
Path(__file__).with_name("mixing.json").write_text(json.dumps(golden) + "\n")
