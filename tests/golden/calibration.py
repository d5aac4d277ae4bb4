"""Golden numbers for calibration, decisions and conformal sets: python3 calibration.py"""

import itertools
import json
from pathlib import Path

import numpy as np
import scipy
import sklearn
from scipy.optimize import brentq, minimize
from scipy.special import log_softmax, softmax
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import f1_score
from shared_numbers import numbers

LOWEST = 1e-12
N, C = 400, 6


def sample(name, p, begin=0):
    """Classes from begin on, sampled by the probabilities."""
    u = (numbers(name, len(p)) + 1) / 2
    return begin + (p[:, begin:].cumsum(1) < u[:, None] * p[:, begin:].sum(1, keepdims=True)).sum(1)


# Overconfident predictions: the truth is sampled from flatter ones. Class 0 has no images.
logits = 4 * numbers("calibration/logits", N, C)
p = softmax(logits, 1)
truth = sample("calibration/truth", softmax(0.5 * logits + 0.5 * numbers("calibration/bias", C), 1), 1)
log_p = np.log(np.maximum(p, LOWEST))
rows = np.arange(N)


def temperature():
    def slope(beta):
        return ((softmax(beta * log_p, 1) * log_p).sum(1) - log_p[rows, truth]).sum()

    beta = brentq(slope, 0.01, 100, xtol=1e-15, rtol=1e-14)
    return dict(temperature=1 / beta, log_loss=-log_softmax(beta * log_p, 1)[rows, truth].mean())


def vector():
    """The negative log-likelihood plus a standard normal prior on scale - 1 and bias; Newton's method."""

    def objective(at):
        scale, bias = at[:C], at[C:]
        z = log_softmax(scale * log_p + bias, 1)
        error = np.exp(z)
        error[rows, truth] -= 1
        gradient = np.concatenate([(error * log_p).sum(0), error.sum(0)])
        away = at - np.repeat([1.0, 0.0], C)
        return -z[rows, truth].sum() + (away**2).sum() / 2, gradient + away

    def hessian(at):
        q = softmax(at[:C] * log_p + at[C:], 1)
        features = np.concatenate([log_p, np.ones_like(log_p)], 1)
        q2 = np.concatenate([q, q], 1)
        outer = -np.einsum("ni,nj->ij", q2 * features, q2 * features)
        same = np.einsum("ni,nj->ij", q2 * features, features)
        is_same_class = np.tile(np.eye(C), (2, 2))
        return outer + same * is_same_class + np.eye(2 * C)

    found = minimize(objective, np.repeat([1.0, 0.0], C), jac=True, hess=hessian, method="trust-exact",
                     options=dict(gtol=1e-11, maxiter=1000))
    assert abs(objective(found.x)[1]).max() < 1e-9, found
    return dict(scale=found.x[:C].tolist(), bias=found.x[C:].tolist(), objective=found.fun)


def isotonic():
    """One against the rest; `tied` is with probabilities of few values."""
    grid = np.linspace(0, 1, 101)
    result = {}
    for name, p_ in dict(plain=p, tied=np.floor(16 * p) / 16).items():
        curves = {
            c: IsotonicRegression(out_of_bounds="clip").fit(p_[:, c], truth == c) for c in range(1, C)
        }
        # The floor is ours; class 0, which has no images, keeps its probability.
        floor = 1 / (N + 2)
        new = p_.copy()
        for c, curve in curves.items():
            new[:, c] = np.maximum(curve.predict(p_[:, c]), np.minimum(floor, p_[:, c]))
        new /= new.sum(1, keepdims=True)
        result[name] = dict(
            curves=[curves[c].predict(grid).tolist() for c in range(1, C)],
            calibrated=new[:40].flatten().tolist(),
        )
    return result


def macro_f1(truth, predicted):
    """scikit-learn's, for brute force: a class that neither occurs nor is predicted is left out."""
    n = max(truth.max(), predicted.max()) + 1
    found = np.bincount(truth[truth == predicted], minlength=n)
    total = np.bincount(truth, minlength=n) + np.bincount(predicted, minlength=n)
    return (2 * found[total > 0] / total[total > 0]).mean()


def middles(values, low, high, middle):
    values = np.unique(np.clip(values, low, high))
    ends = np.concatenate([[low], values, [high]])
    return [middle(a, b) for a, b in zip(ends, ends[1:]) if a < b]


def decision():
    """Brute force over all thresholds, and all weights of three classes, of 60 images."""
    n = 60
    # A factor of two levels, then an ordered one of three.
    p = softmax(2 * numbers("decision/logits", n, 6), 1)
    shift = np.array([0, 0, 1.5, 0, 0, 1.5])
    truth = sample("decision/truth", softmax(1.5 * np.log(p) + shift, 1))
    levels = p.reshape(n, 2, 3)
    tails = levels.sum(1)[:, ::-1].cumsum(1)[:, ::-1]
    best, found = 0, None
    arithmetic = lambda a, b: (a + b) / 2
    ts = [middles(tails[:, k], 0.01, 0.99, arithmetic) for k in (1, 2)]
    for t1, t2 in itertools.product(*ts):
        level = (tails[:, 1] >= t1).astype(int) + (tails[:, 2] >= t2)
        other = levels[np.arange(n), :, level].argmax(1)
        score = macro_f1(truth, 3 * other + level)
        if score > best:
            best, found = score, [t1, t2]
    thresholds = dict(classes=truth.tolist(), before=macro_f1(truth, p.argmax(1)), best=best, one_of=found)

    q = softmax(2 * numbers("weights/logits", n, 3), 1)
    truth = sample("weights/truth", softmax(1.5 * np.log(q) + np.array([0.0, 0.8, 1.2]), 1))
    grid = np.exp(np.linspace(np.log(0.05), np.log(20), 241))
    best, found = 0, None
    for w1, w2 in itertools.product(grid, grid):
        score = macro_f1(truth, (q * [1, w1, w2]).argmax(1))
        if score > best:
            best, found = score, [1, w1, w2]
    predicted = (q * found).argmax(1)
    assert np.isclose(best, f1_score(truth, predicted, average="macro"), rtol=1e-12, atol=0)
    weights = dict(classes=truth.tolist(), before=macro_f1(truth, q.argmax(1)), best=best, one_of=found)
    return dict(thresholds=thresholds, weights=weights)


def conformal():
    """Groups of 1, 3, 5, … images: group g has the images g² to (g + 1)² - 1."""
    groups = np.sqrt(np.arange(N)).astype(int)
    scores = 1 - p[rows, truth]
    levels = [0.5, 0.8, 0.9, 0.95, 0.99]

    def thresholds(groups):
        n_groups = groups.max() + 1
        weights = 1 / (np.bincount(groups)[groups] * (n_groups + 1))
        all_, weights = np.append(scores, np.inf), np.append(weights, 1 / (n_groups + 1))
        # A level on a step of the sum of weights counts as reached.
        return [
            float(np.quantile(all_, level - 1e-9, weights=weights, method="inverted_cdf")) for level in levels
        ]

    single = thresholds(rows)
    # With one image a group: the ceil(level · (n + 1))-th smallest.
    known = [np.quantile(scores, min(np.ceil(level * (N + 1)) / N, 1), method="inverted_cdf") for level in levels]
    assert np.allclose(single, known, rtol=0, atol=0), (single, known)

    # CV+: group g is of fold g % 4. New images are predicted by the model of each fold.
    fold = groups % 4
    new = softmax(4 * numbers("conformal/new", 4, 20, C), 2)
    weights = 1 / (np.bincount(groups)[groups] * (groups.max() + 2))
    sets = []
    for image in range(20):
        best = new[:, image].sum(0).argmax()
        below = [
            (weights * (scores < 1 - new[fold, image, c])).sum() for c in range(C)
        ]
        sets.append([[c for c in range(C) if c == best or below[c] < level - 1e-9] for level in levels])
    return dict(
        levels=levels,
        # JSON has no infinity.
        grouped=[it if np.isfinite(it) else None for it in thresholds(groups)],
        single=single,
        cv_plus=sets,
    )


out = Path(__file__).with_suffix(".json")
parts = dict(
    classes=truth.tolist(),
    temperature=temperature(),
    vector=vector(),
    isotonic=isotonic(),
    decision=decision(),
    conformal=conformal(),
)
made_by = f"scikit-learn {sklearn.__version__}, scipy {scipy.__version__}, numpy {np.__version__}"
out.write_text(json.dumps(dict(made_by=made_by, **parts)))
print(out, out.stat().st_size)
