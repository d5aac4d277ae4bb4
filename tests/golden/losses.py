"""Golden numbers of every loss, value and gradient, from PyTorch, timm, and explicit formulas: python3 losses.py"""

import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from shared_numbers import numbers
from timm.loss import BinaryCrossEntropy, LabelSmoothingCrossEntropy, SoftTargetCrossEntropy

torch.set_default_dtype(torch.float64)
ROWS, SHARES = 7, [0.25, 0.75]
# Images of joint classes, by mask (3), gender (2) and age (3). No image of class 17 in training.
COUNTS = [2745, 2050, 415, 3660, 4085, 545, 549, 410, 83, 732, 817, 109, 549, 410, 83, 732, 817, 0]
AGES = [18.0] * 400 + [25.5] * 30 + [40.0] * 70 + [59.9] * 20 + [60.0] * 5
CLASSES = [int((x + 1) * 9) for x in numbers("classes", 2 * ROWS)]
IMAGE_AGES = [float(np.floor(40 + 25 * x)) for x in numbers("ages", 2 * ROWS)]
IMAGE_WEIGHTS = [0.0, 0.5, 1.0, 2.0]

cases = []


def project(joint, scope):
    return [joint, joint // 6, joint // 3 % 2, joint % 3][scope + 1]


def counts_of(scope, form, n):
    counts = [0] * n
    if form == "bins":
        for age in AGES:
            counts[min(int(age), n - 1)] += 1
    elif form != "number":
        for joint, count in enumerate(COUNTS):
            counts[project(joint, scope)] += count
    return counts


class Case:
    """Rows of one image or of two, and what each image's target is among n numbers."""

    def __init__(self, scope=-1, form="classes", soft=False, weighted=False, progress=0.0):
        self.scope, self.form, self.soft, self.progress = scope, form, soft, progress
        self.n = dict(bins=61, number=1).get(form, [18, 3, 2, 3][scope + 1])
        scale = dict(cosines=1.0, number=1.0).get(form, 5.0)
        self.x = torch.from_numpy(scale * numbers(f"numbers/{self.n}", ROWS, self.n)).requires_grad_()
        self.images = [[2 * i, 2 * i + 1] if soft else [2 * i] for i in range(ROWS)]
        self.shares = SHARES if soft else [1.0]
        self.row_weights = torch.ones(ROWS)
        self.weights = []
        self.counts = counts_of(scope, form, self.n)
        if weighted:
            assert not soft
            self.weights = [IMAGE_WEIGHTS[i // 2 % 4] for i in range(2 * ROWS)]
            self.row_weights = torch.tensor([self.weights[2 * i] for i in range(ROWS)])

    def parts(self):
        """The targets of the k-th image of each row, and its share."""
        for k, share in enumerate(self.shares):
            yield torch.tensor([self.target(row[k]) for row in self.images]), share

    def ages(self):
        for k, share in enumerate(self.shares):
            yield torch.tensor([IMAGE_AGES[row[k]] for row in self.images]), share

    def target(self, image):
        if self.form == "bins":
            return min(int(IMAGE_AGES[image]), self.n - 1)
        return project(CLASSES[image], self.scope)

    def targets(self):
        return sum(share * F.one_hot(y, self.n).to(self.x) for y, share in self.parts())

    def mean(self, rows, norm=None):
        return (rows * self.row_weights).sum() / (self.row_weights.sum() if norm is None else norm)

    def expect(self, settings, loss):
        (gradient,) = torch.autograd.grad(loss, self.x, retain_graph=True)
        cases.append(
            dict(
                settings=settings,
                scope=self.scope,
                form=self.form,
                n=self.n,
                soft=self.soft,
                weights=self.weights,
                progress=self.progress,
                loss=loss.item(),
                gradient=[float(f"{g:.12g}") for g in gradient.flatten().tolist()],
            )
        )


def inverse(counts):
    return torch.tensor([1 / n if n else 0.0 for n in counts])


def effective(counts, beta):
    return torch.tensor([(1 - beta) / (1 - beta**n) if n else 0.0 for n in counts])


def mean_one(w):
    return w / w.sum() * (w > 0).sum()


GIVEN = [0.5, 2.0, 1.25]
WEIGHTS = {
    "": lambda counts: None,
    'weights = { kind = "inverse" }\n': lambda counts: mean_one(inverse(counts)),
    'weights = { kind = "effective", beta = 0.999 }\n': lambda counts: mean_one(effective(counts, 0.999)),
    f'weights = {{ kind = "given", values = {GIVEN} }}\n': lambda counts: torch.tensor(GIVEN),
}


def weights_of(case):
    for text, weights in WEIGHTS.items():
        if "given" not in text or case.n == 3:
            yield text, weights(case.counts)


def norm_of(case, w):
    return case.row_weights.sum() if w is None else (case.targets() @ w * case.row_weights).sum()


# Cross-entropy: hard labels as in PyTorch; soft labels summed by PyTorch, divided by the sum of the row weights.
for soft in [False, True]:
    for scope, form in [(-1, "classes"), (2, "classes"), (2, "bins"), (-1, "cosines")]:
        for s in [0.0, 0.1]:
            case = Case(scope, form, soft)
            for text, w in weights_of(case):
                logits = case.x * 30 if form == "cosines" else case.x
                if soft:
                    total = F.cross_entropy(logits, case.targets(), weight=w, reduction="sum", label_smoothing=s)
                    loss = total / norm_of(case, w)
                else:
                    ((y, _),) = case.parts()
                    loss = F.cross_entropy(logits, y, weight=w, label_smoothing=s)
                if w is None and form == "classes":
                    timm = SoftTargetCrossEntropy()(logits, case.targets() * (1 - s) + s / case.n)
                    if not soft:
                        torch.testing.assert_close(LabelSmoothingCrossEntropy(s)(logits, y), timm)
                    torch.testing.assert_close(loss, timm)
                case.expect(f'kind = "cross_entropy"\nlabel_smoothing = {s}\n{text}', loss)
        # The competition's baseline: s / (C - 1) for the incorrect classes, 1 - s for the correct one.
        case = Case(scope, form, soft)
        logits = case.x * 30 if form == "cosines" else case.x
        loss = 0
        for y, share in case.parts():
            smooth = torch.full_like(logits, 0.1 / (case.n - 1)).scatter(1, y[:, None], 0.9)
            loss = loss + share * (-smooth * F.log_softmax(logits, 1)).sum(1).mean()
        case.expect('kind = "cross_entropy"\nlabel_smoothing = 0.1\nsmoothing_over = "others"\n', loss)

# Sample weights.
case = Case(2, weighted=True)
((y, _),) = case.parts()
case.expect('kind = "cross_entropy"\n', case.mean(F.cross_entropy(case.x, y, reduction="none")))
w = mean_one(inverse(case.counts))
loss = case.mean(F.cross_entropy(case.x, y, reduction="none", weight=w), (w[y] * case.row_weights).sum())
case.expect('kind = "cross_entropy"\nweights = { kind = "inverse" }\n', loss)

# Focal.
for soft in [False, True]:
    for gamma in [0.0, 0.5, 2.0, 5.0]:
        case = Case(2, "classes", soft)
        for text, w in weights_of(case):
            for kind in ["paper", "baseline", "fastai"]:
                loss, norm = 0, 0
                for y, share in case.parts():
                    ln_p = F.log_softmax(case.x, 1)
                    if kind == "fastai":
                        ce = F.cross_entropy(case.x, y, weight=w, reduction="none")
                        rows = (1 - torch.exp(-ce)) ** gamma * ce
                    else:
                        rows = F.nll_loss((1 - ln_p.exp()) ** gamma * ln_p, y, weight=w, reduction="none")
                    loss = loss + share * rows.sum()
                    norm += share * (w[y].sum() if kind == "baseline" and w is not None else ROWS)
                text_of = f'kind = "focal"\ngamma = {gamma}\nweighting = "{kind}"\n{text}'
                case.expect(text_of, loss / norm)


# F1, as the competition's baseline computes it.
def f1(logits, targets, epsilon=1e-7, rows=1.0):
    p = F.softmax(logits, 1)
    tp, fp, fn = [(rows * it).sum(0) for it in [targets * p, (1 - targets) * p, targets * (1 - p)]]
    precision, recall = tp / (tp + fp + epsilon), tp / (tp + fn + epsilon)
    f1 = 2 * precision * recall / (precision + recall + epsilon)
    return 1 - f1.clamp(epsilon, 1 - epsilon).mean()


for soft in [False, True]:
    for scope in [-1, 2]:
        case = Case(scope, soft=soft)
        case.expect('kind = "f1"\n', f1(case.x, case.targets()))
case = Case(2, weighted=True)
case.expect('kind = "f1"\n', f1(case.x, case.targets(), rows=case.row_weights[:, None]))


# LDAM with deferred re-weighting, as in the authors' LDAMLoss and cifar_train.py.
def ldam(case, margin, w):
    # The authors divide by the largest margin of all classes; here by that of the classes that occur; a class
    # without images has the same margin.
    rarest = min(n for n in case.counts if n > 0)
    m = torch.tensor([margin * (rarest / max(n, rarest)) ** 0.25 for n in case.counts])
    loss, norm = 0, 0
    for y, share in case.parts():
        shifted = case.x - F.one_hot(y, case.n) * m
        loss = loss + share * F.cross_entropy(30 * shifted, y, weight=w, reduction="sum")
        norm += share * (ROWS if w is None else w[y].sum())
    return loss / norm


for soft in [False, True]:
    for scope in [-1, 2]:
        case = Case(scope, "cosines", soft, progress=0.5)
        case.expect('kind = "ldam"\n', ldam(case, 0.5, None))
        case = Case(scope, "cosines", soft, progress=0.85)
        case.expect('kind = "ldam"\nmargin = 0.3\n', ldam(case, 0.3, mean_one(effective(case.counts, 0.9999))))


# ArcFace, as in the usual PyTorch port.
def arcface(case, m, easy):
    loss = 0
    for y, share in case.parts():
        cosine = case.x
        sine = torch.sqrt(1 - cosine**2)
        phi = cosine * math.cos(m) - sine * math.sin(m)
        if easy:
            phi = torch.where(cosine > 0, phi, cosine)
        else:
            phi = torch.where(cosine > math.cos(math.pi - m), phi, cosine - math.sin(math.pi - m) * m)
        one_hot = F.one_hot(y, case.n)
        loss = loss + share * F.cross_entropy(30 * (one_hot * phi + (1 - one_hot) * cosine), y)
    return loss


for soft in [False, True]:
    for m in [0.5, 1.2]:
        for easy in [False, True]:
            case = Case(-1, "cosines", soft)
            case.expect(f'kind = "arcface"\nmargin = {m}\neasy_margin = {str(easy).lower()}\n', arcface(case, m, easy))

# Binary cross-entropy.
for soft in [False, True]:
    case = Case(-1, "independent", soft)
    case.expect('kind = "bce"\n', F.binary_cross_entropy_with_logits(case.x, case.targets()))
    case.expect('kind = "cross_entropy"\n', 18 * F.binary_cross_entropy_with_logits(case.x, case.targets()))
case = Case(-1, "independent")
((y, _),) = case.parts()
case.expect('kind = "bce"\nlabel_smoothing = 0.1\n', BinaryCrossEntropy(smoothing=0.1)(case.x, y))

# Regression of the age.
for soft in [False, True]:
    for form in ["number", "bins"]:
        for text, cost in {
            'kind = "mse"\n': F.mse_loss,
            'kind = "smooth_l1"\n': F.smooth_l1_loss,
            'kind = "smooth_l1"\nbeta = 7.5\n': lambda x, y: F.smooth_l1_loss(x, y, beta=7.5),
        }.items():
            case = Case(2, form, soft)
            years = 10 * case.x[:, 0] + 40 if form == "number" else F.softmax(case.x, 1) @ torch.arange(61.0)
            case.expect(text, sum(share * cost(years, age) for age, share in case.ages()))

# Losses robust to label noise.
for soft in [False, True]:
    for scope in [-1, 2]:
        case = Case(scope, soft=soft)
        p, t = F.softmax(case.x, 1), case.targets()
        reverse = -(p * t.log().clamp(min=-4)).sum(1).mean()
        case.expect('kind = "symmetric_cross_entropy"\n', 0.1 * F.cross_entropy(case.x, t) + reverse)
        for q in [0.7, 1.0]:
            loss = (t * (1 - p**q) / q).sum(1).mean()
            case.expect(f'kind = "generalised_cross_entropy"\nq = {q}\n', loss)

# Sums.
case = Case(2)
((y, _),) = case.parts()
focal = ((1 - F.softmax(case.x, 1)[range(ROWS), y]) ** 2 * F.cross_entropy(case.x, y, reduction="none")).mean()
case.expect('kind = "sum"\n', 0.4 * f1(case.x, case.targets()) + 0.6 * focal)
text = 'kind = "sum"\nparts = [{ kind = "cross_entropy" }, { kind = "mse", weight = 0.01 }]\n'
case = Case(2, "bins")
((y, _),), ((age, _),) = case.parts(), case.ages()
years = F.softmax(case.x, 1) @ torch.arange(61.0)
case.expect(text, F.cross_entropy(case.x, y) + 0.01 * F.mse_loss(years, age))

golden = dict(
    classes=CLASSES, ages=IMAGE_AGES, training=dict(classes=COUNTS, ages=AGES), shares=SHARES, cases=cases
)
Path(__file__).with_suffix(".json").write_text(json.dumps(golden) + "\n")
print(len(cases), "cases")
