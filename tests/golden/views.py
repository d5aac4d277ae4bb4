"""Golden numbers of fastai's `tta`, of other means, and of torchvision's five and ten crops: python3 views.py

fastai's `Learner.tta` runs a small network with noise as training transform; what each of its passes predicts is
recorded, and what it returns. The crops are of images/source.png, which images.py draws.
"""

import json
from pathlib import Path

import fastai
import numpy as np
import scipy
import torch
import torchvision
import torchvision.transforms.functional as F
from fastai.callback import progress  # noqa: F401, gives `Learner` its `no_bar`
from fastai.data.core import Datasets
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fasttransform import Transform
from PIL import Image
from scipy.special import expit, logit
from scipy.stats import gmean
from shared_numbers import numbers

N_IMAGES, N_FEATURES, N_CLASSES = 6, 5, 4


class Noise(Transform):
    """An augmentation: on the training side only, another at each call."""

    split_idx, n_calls = 0, 0

    def encodes(self, x: torch.Tensor):
        if x.ndim == 0:
            return x
        Noise.n_calls += 1
        return x + torch.from_numpy(numbers(f"noise {Noise.n_calls}", N_FEATURES)).float()


class Recorder(Learner):
    """Keeps the predictions of each pass."""

    def get_preds(self, *args, **kwargs):
        preds = super().get_preds(*args, **kwargs)
        self.passes.append(preds[0])
        return preds


features = torch.from_numpy(numbers("features", N_IMAGES, N_FEATURES)).float()
items = list(range(N_IMAGES))
tfms = [[lambda it: features[it]], [lambda it: torch.tensor(it % N_CLASSES)]]
loaders = Datasets(items, tfms, splits=[items, items]).dataloaders(bs=4, device="cpu", after_item=[Noise()])
network = torch.nn.Linear(N_FEATURES, N_CLASSES)
with torch.no_grad():
    network.weight.copy_(torch.from_numpy(3 * numbers("weight", N_CLASSES, N_FEATURES)))
    network.bias.zero_()


def tta(**settings):
    learner = Recorder(loaders, network, loss_func=CrossEntropyLossFlat())
    learner.passes = []
    with learner.no_bar():
        returned = learner.tta(**settings)[0]
    # The last pass is the plain one.
    passes = torch.stack(learner.passes[-1:] + learner.passes[:-1])
    assert (passes[1] - passes[0]).abs().max() > 0.01
    case = dict(n=4, beta=0.25, merge="max" if settings.pop("use_max", False) else "mean") | settings
    return case | dict(views=passes.double().tolist(), tta=returned.double().tolist())


augment = [tta(), tta(n=2, beta=0.6), tta(n=3, use_max=True)]

views = np.exp(3 * numbers("views", 3, 4, 5))
views /= views.sum(-1, keepdims=True)
weights = np.array([0.5, 0.3, 0.2])


def normalised(x):
    return x / x.sum(-1, keepdims=True)


merge = dict(
    mean=np.average(views, 0, weights),
    logits=normalised(expit(np.average(logit(views), 0, weights))),
    geometric=normalised(gmean(views, 0, weights=np.broadcast_to(weights[:, None, None], views.shape))),
    max=normalised(views.max(0)),
)
# The geometric mean of probabilities is the mean of a softmax's logits.
softmax = torch.softmax(torch.from_numpy(np.average(3 * numbers("views", 3, 4, 5), 0, weights)), -1)
assert np.allclose(softmax.numpy(), merge["geometric"], atol=1e-12)

source = Image.open(Path(__file__).parent / "images" / "source.png")


def flat(image):
    return np.asarray(image).flatten().tolist()


crops = []
for size in [(20, 20), (36, 28), (11, 18)]:
    for n, crop in [(5, F.five_crop), (10, F.ten_crop)]:
        crops.append(dict(n=n, size=size, images=[flat(it) for it in crop(source, size)]))

golden = dict(
    made_by=f"fastai {fastai.__version__}, scipy {scipy.__version__}, torchvision {torchvision.__version__}",
    augment=augment,
    merge=dict(views=views.tolist(), weights=weights.tolist(), **{name: it.tolist() for name, it in merge.items()}),
    crops=crops,
    flip=flat(F.hflip(source)),
)
path = Path(__file__).with_suffix(".json")
path.write_text(json.dumps(golden, separators=(",", ":")))
print(path, path.stat().st_size)
