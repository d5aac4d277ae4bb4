"""Golden numbers for ensembles: python3 ensemble.py"""

import itertools
import json
from pathlib import Path

import numpy as np
import scipy
import sklearn
from scipy.optimize import minimize
from scipy.special import softmax
from scipy.stats import percentileofscore
from shared_numbers import numbers
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, log_loss

N, M, C = 300, 3, 5
LIFTS = [1.5, 2.0, 2.5]

# Class 4 has no images; members are better from the first to the last, and less confident.
truth = np.minimum(((numbers("ensemble/truth", N) + 1) ** 2).astype(int), 3)
rows = np.arange(N)
members = []
for m, lift in enumerate(LIFTS):
    logits = 3 * numbers(f"ensemble/member {m}", N, C)
    logits[rows, truth] += lift
    members.append(softmax(logits / (m + 1), 1))
members = np.stack(members)


def macro_f1(predicted):
    """scikit-learn's: a class that neither occurs nor is predicted is left out."""
    n = np.bincount(truth, minlength=C) + np.bincount(predicted, minlength=C)
    hits = np.bincount(truth[truth == predicted], minlength=C)
    return (2 * hits[n > 0] / n[n > 0]).mean()


def one_hot(p):
    return np.eye(p.shape[-1])[p.argmax(-1)]


def quantiles(p, n=101):
    return np.quantile(p, np.arange(n) / (n - 1), axis=0)


def ranks(p):
    q = quantiles(p)
    return np.stack([(np.interp(p[:, c], q[:, c], np.arange(len(q))) + 0.5) / len(q) for c in range(C)], 1)


def hard_vote(ps, weights):
    """The rule, spelled out."""
    weights = [w / sum(weights) for w in weights]
    shares, means = [0.0] * C, [0.0] * C
    for p, w in zip(ps, weights):
        shares[max(range(C), key=lambda c: (p[c], -c))] += w
        means = [mean + w * it for mean, it in zip(means, p)]
    tied = [c for c in range(C) if shares[c] > max(shares) - 1e-9]
    if len(tied) > 1:
        votes, total = sum(shares[c] for c in tied), sum(means[c] for c in tied)
        for c in tied:
            shares[c] = votes * means[c] / total
    winner = max(tied, key=lambda c: (means[c], -c))
    assert winner == max(range(C), key=lambda c: (shares[c], -c))
    return shares


def votes():
    result = {}
    for name, weights in dict(equal=[1, 1, 1], weighted=[0.5, 0.2, 0.3], tied=[2, 1, 1]).items():
        mean_rank = np.average([ranks(p) for p in members], 0, weights)
        hard = [hard_vote(members[:, image], weights) for image in range(40)]
        result[name] = dict(
            weights=weights,
            soft=np.average(members, 0, weights)[:40].tolist(),
            hard=hard,
            rank=(mean_rank / mean_rank.sum(1, keepdims=True))[:40].tolist(),
        )
    # With many tied quantiles, scipy's mean rank of the values themselves.
    q = quantiles(np.floor(8 * members[0]) / 8)
    tied = [percentileofscore(q[:, c], it, kind="mean") / 100 for c in range(C) for it in np.unique(q[:, c])]
    return dict(result, tied_quantiles=tied)


def simplex(n_parts):
    for a, b in itertools.product(range(n_parts + 1), repeat=2):
        if a + b <= n_parts:
            yield np.array([a, b, n_parts - a - b]) / n_parts


def weights_by_log_loss():
    q = members[:, rows, truth].T

    def loss(w):
        return -np.log(q @ w).mean()

    constraint = dict(type="eq", fun=lambda w: w.sum() - 1)
    found = minimize(loss, np.ones(M) / M, bounds=[(0, 1)] * M, constraints=constraint, tol=1e-14)
    brute = min(simplex(200), key=loss)
    assert loss(found.x) <= loss(brute) + 1e-12 and abs(found.x - brute).max() < 0.01, (found, brute)
    mixed = np.tensordot(found.x, members, 1)
    assert np.isclose(loss(found.x), log_loss(truth, mixed, labels=range(C)), rtol=1e-9)
    return dict(weights=found.x.tolist(), loss=loss(found.x))


def weights_by_macro_f1():
    """Brute force on a grid over the simplex; several weights have the same score."""
    result = {}
    ballots = dict(soft_vote=members, hard_vote=one_hot(members) + 1e-9 * members)
    ballots["rank_average"] = np.stack([ranks(p) for p in members])
    for name, it in ballots.items():
        score = lambda w: macro_f1(np.tensordot(w, it, 1).argmax(1))
        best = max(simplex(100), key=score)
        predicted = np.tensordot(best, it, 1).argmax(1)
        assert np.isclose(score(best), f1_score(truth, predicted, average="macro"), rtol=1e-12)
        result[name] = dict(equal=score(np.ones(M) / M), best=score(best))
    return result


def greedy(score):
    """Caruana's forward selection with replacement, of 50 rounds."""
    bag, counts, best, kept = np.zeros((N, C)), np.zeros(M), -np.inf, None
    for n in range(1, 51):
        chosen, chosen_score = None, -np.inf
        for m in range(M):
            it = score((bag + members[m]) / n)
            if it > chosen_score + 1e-12:
                chosen, chosen_score = m, it
        bag += members[chosen]
        counts[chosen] += 1
        if chosen_score > best + 1e-12:
            best, kept = chosen_score, counts.copy()
    return dict(weights=(kept / kept.sum()).tolist(), score=best)


def stack():
    features = np.log(np.maximum(members, 1e-7)).transpose(1, 0, 2).reshape(N, M * C)
    result = []
    for c in [0.01, 1.0]:
        model = LogisticRegression(C=c, tol=1e-10, max_iter=100_000).fit(features, truth)
        p = model.predict_proba(features)
        assert list(model.classes_) == [0, 1, 2, 3]
        objective = -np.log(p[rows, truth]).sum() + (model.coef_**2).sum() / (2 * c)
        result.append(
            dict(
                c=c,
                coefficients=model.coef_.tolist(),
                intercepts=model.intercept_.tolist(),
                objective=objective,
                probabilities=p[:20].tolist(),
            )
        )
    return result


def correlation():
    wrong = members.argmax(2) != truth
    return np.corrcoef(wrong).tolist()


out = Path(__file__).with_suffix(".json")
parts = dict(
    classes=truth.tolist(),
    votes=votes(),
    log_loss=weights_by_log_loss(),
    macro_f1=weights_by_macro_f1(),
    greedy=dict(
        log_loss=greedy(lambda p: np.log(p[rows, truth]).mean()),
        macro_f1=greedy(lambda p: macro_f1(p.argmax(1))),
    ),
    stack=stack(),
    correlation=correlation(),
)
made_by = f"scikit-learn {sklearn.__version__}, scipy {scipy.__version__}, numpy {np.__version__}"
out.write_text(json.dumps(dict(made_by=made_by, **parts)))
print(out, out.stat().st_size)
