"""Golden numbers of scikit-learn, and of numpy where it has none, for metrics: python3 metrics.py"""

import json
from pathlib import Path

import numpy as np
import sklearn
import sklearn.metrics as m
from shared_numbers import numbers

# 300 images of 18 classes, of which some do not occur, some are never predicted, and two are neither.
N = 300
p = np.exp(3 * numbers("probabilities", N, 18))
p[:, [3, 7, 11]] = 1e-9
p /= p.sum(1, keepdims=True)
truth = ((numbers("truth", N) + 1) * 9).astype(int)
truth[truth == 3] = 4
truth[truth == 11] = 12
ages = np.round(40 + 30 * numbers("ages", N))
years = ages + 5 * numbers("years", N)


def calibration(p, predicted, truth, bins):
    """Guo et al. 2017, equation 3: bin m holds the confidences in ((m - 1) / M, m / M]."""
    confidence = p[np.arange(len(p)), predicted]
    total = 0.0
    for k in range(bins):
        inside = (confidence > k / bins) & (confidence <= (k + 1) / bins)
        if inside.any():
            gap = (predicted == truth)[inside].mean() - confidence[inside].mean()
            total += inside.mean() * abs(gap)
    return total


def ranked(score, p, truth):
    """One class against the rest: the mean over the classes with images, and images of others."""
    classes = [c for c in range(p.shape[1]) if len(set(truth == c)) == 2]
    mean = np.mean([score(truth == c, p[:, c]) for c in classes])
    if 2 < len(classes) == p.shape[1] and np.allclose(p.sum(1), 1):
        whole = dict(multi_class="ovr") if score is m.roc_auc_score else {}
        assert np.isclose(mean, score(truth, p, average="macro", **whole), rtol=1e-12, atol=0)
    return mean


def clipped(p):
    q = np.clip(p, 0.01 / p.shape[1], 0.99)
    return q / q.sum(1, keepdims=True)


def brier(p, truth):
    """For two classes scikit-learn wants the probability of the second alone."""
    q = p[:, 1] if p.shape[1] == 2 else p
    return m.brier_score_loss(truth, q, labels=range(p.shape[1]), scale_by_half=False)


def scores(p, predicted, truth):
    classes = range(p.shape[1])
    table = m.precision_recall_fscore_support(truth, predicted, labels=classes, zero_division=0)
    return dict(
        macro_f1=m.f1_score(truth, predicted, average="macro"),
        macro_f1_zero=m.f1_score(truth, predicted, average="macro", labels=classes, zero_division=0),
        weighted_f1=m.f1_score(truth, predicted, average="weighted", zero_division=0),
        micro_f1=m.f1_score(truth, predicted, average="micro"),
        accuracy=m.accuracy_score(truth, predicted),
        balanced_accuracy=m.balanced_accuracy_score(truth, predicted),
        # For two classes scikit-learn requires the probability of the second only.
        top_k=m.top_k_accuracy_score(truth, p, k=2, labels=classes) if len(classes) > 2 else 1.0,
        log_loss=m.log_loss(truth, p, labels=classes),
        log_loss_clipped=m.log_loss(truth, clipped(p), labels=classes),
        brier_score=brier(p, truth),
        cohen_kappa=m.cohen_kappa_score(truth, predicted, labels=classes),
        cohen_kappa_linear=m.cohen_kappa_score(truth, predicted, labels=classes, weights="linear"),
        cohen_kappa_quadratic=m.cohen_kappa_score(truth, predicted, labels=classes, weights="quadratic"),
        roc_auc=ranked(m.roc_auc_score, p, truth),
        average_precision=ranked(m.average_precision_score, p, truth),
        roc_auc_tied=ranked(m.roc_auc_score, np.floor(16 * p), truth),
        average_precision_tied=ranked(m.average_precision_score, np.floor(16 * p), truth),
        expected_calibration_error=calibration(p, predicted, truth, 15),
        calibration_of_10=calibration(p, predicted, truth, 10),
        mae=m.mean_absolute_error(ages, years),
        precision=table[0].tolist(),
        recall=table[1].tolist(),
        f1=table[2].tolist(),
        support=table[3].tolist(),
        confusion=m.confusion_matrix(truth, predicted, labels=classes).flatten().tolist(),
    )


def factor(n, faster):
    level = lambda joint: joint // faster % n
    marginal = np.stack([p[:, [c for c in range(18) if level(c) == k]].sum(1) for k in range(n)], 1)
    return scores(marginal, level(p.argmax(1)), level(truth))


out = Path(__file__).with_suffix(".json")
parts = dict(
    joint=dict(scores(p, p.argmax(1), truth), top_5=m.top_k_accuracy_score(truth, p, k=5, labels=range(18))),
    mask=factor(3, 6),
    gender=factor(2, 3),
    age=factor(3, 1),
)
out.write_text(json.dumps(dict(made_by=f"scikit-learn {sklearn.__version__}, numpy {np.__version__}", **parts)))
print(out, out.stat().st_size)
