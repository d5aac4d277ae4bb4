"""The balance of scikit-learn's StratifiedGroupKFold, for folds: python3 folds.py

Of each data set: the largest deviation of a fold's images of a class from an equal share, without shuffling and
the least of ten shuffles, each with another seed.
"""

import json
import warnings
from pathlib import Path

import numpy as np
import sklearn
from sklearn.model_selection import StratifiedGroupKFold

N_SHUFFLES = 10


def counted(classes):
    """The number of images of each class of a group."""
    return sorted((int(c), int(n)) for c, n in zip(*np.unique(classes, return_counts=True)))


def data_sets():
    rng = np.random.default_rng(0)
    # Seven images of everybody, as in the competition: five with a mask, one incorrect and one without.
    people = []
    for _ in range(120):
        who = int(rng.random() < 0.6) * 3 + int(rng.choice(3, p=[0.47, 0.45, 0.08]))
        people.append(sorted([(who, 5), (6 + who, 1), (12 + who, 1)]))
    yield "people", people, 18, 5
    # One to ten images of any of a hundred classes.
    yield "many classes", [counted(rng.integers(0, 100, rng.integers(1, 11))) for _ in range(300)], 100, 5
    few = [counted(rng.choice(3, rng.integers(5, 60), p=[0.6, 0.3, 0.1])) for _ in range(12)]
    yield "few groups", few, 3, 5
    sizes = np.minimum(300, 1 + rng.pareto(1.2, 200) * 5).astype(int)
    unequal = [counted(rng.choice(6, n, p=rng.dirichlet([0.5] * 6))) for n in sizes]
    yield "unequal sizes", unequal, 6, 5
    yield "single images", [[(int(rng.integers(0, 120)), 1)] for _ in range(1000)], 120, 5
    one = [[(int(rng.integers(0, 30)), int(rng.integers(1, 40)))] for _ in range(300)]
    yield "a class each", one, 30, 10
    rare = [[(int(it < 4), int(rng.integers(1, 5)))] for it in range(60)]
    yield "a rare class", rare, 2, 7
    yield "one giant", [[(0, 500), (1, 20)]] + [[(int(rng.integers(0, 2)), 10)] for _ in range(40)], 2, 4


def deviation(groups, n_classes, n_folds, shuffle, seed):
    classes = np.concatenate([[c] * n for group in groups for c, n in group])
    ids = np.concatenate([[i] * n for i, group in enumerate(groups) for _, n in group])
    split = StratifiedGroupKFold(n_folds, shuffle=shuffle, random_state=seed if shuffle else None)
    with warnings.catch_warnings():
        # Classes rarer than folds.
        warnings.simplefilter("ignore")
        folds = [np.bincount(classes[held_out], minlength=n_classes)
                 for _, held_out in split.split(np.zeros(len(classes)), classes, ids)]
    equal = np.bincount(classes, minlength=n_classes) / n_folds
    return float(np.abs(np.array(folds) - equal).max())


def main():
    sets = []
    for name, groups, n_classes, n_folds in data_sets():
        of = (groups, n_classes, n_folds)
        sets.append(dict(
            name=name, groups=groups, n_classes=n_classes, n_folds=n_folds,
            deviation=deviation(*of, False, 0),
            shuffled=min(deviation(*of, True, seed) for seed in range(N_SHUFFLES)),
        ))
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(dict(sklearn=sklearn.__version__, sets=sets)) + "\n")


main()
