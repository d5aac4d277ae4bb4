"""Golden numbers of Grad-CAM and Grad-CAM++ for crates/explain, computed with PyTorch: python3 explanations.py

The networks are those of networks.py in evaluation mode, in f64, with weights computed from the parameters' names. The
score of a class is its log odds; maps are interpolated by torch, and every fourth pixel is stored.
"""

import json
from pathlib import Path

import numpy as np
import timm
import torch
import torchvision
from network_weights import formula
from shared_numbers import numbers

N_CLASSES, SIZE, STEP = 18, (96, 64), 4


def pixels():
    """RGB8 [h, w, 3]: smooth, so that the maps differ from place to place."""
    coarse = numbers("explained", 6, 4, 3)
    fine = numbers("grain", *SIZE, 3)
    x = np.repeat(np.repeat(coarse, 16, 0), 16, 1)
    return np.floor(127.5 * (1 + 0.8 * x + 0.2 * fine)).astype(np.uint8)


def set_weights(net, classifier, rename):
    tensors = dict(net.named_parameters()) | dict(net.named_buffers())
    with torch.no_grad():
        for theirs, t in tensors.items():
            if not theirs.endswith("num_batches_tracked"):
                layer, _, kind = theirs.rpartition(".")
                name = f"head.joint.{kind}" if layer == classifier else rename(theirs)
                t.copy_(torch.from_numpy(formula(name, t.shape)).reshape(t.shape))


def log_odds(logits, c):
    others = torch.cat([logits[:, :c], logits[:, c + 1 :]], 1)
    return logits[:, c] - torch.logsumexp(others, 1)


def explained(net, module, x, target):
    """The maps of a module, and their gradients."""
    kept = []
    hook = module.register_forward_hook(lambda _, __, y: kept.append(y.detach().requires_grad_()) or kept[-1])
    score = log_odds(net(x), target)
    hook.remove()
    (gradient,) = torch.autograd.grad(score.sum(), kept[0])
    return kept[0].detach(), gradient


def grad_cam(a, g):
    return (a * g.mean((2, 3), keepdim=True)).sum(1)


def grad_cam_plus_plus(a, g):
    # As in the authors' code, without the factor e^s; the sum of a map that is negative counts as 0.
    total = a.sum((2, 3), keepdim=True).clamp(min=0)
    alpha = g**2 / (2 * g**2 + total * g**3 + 1e-300)
    return (a * (alpha * g.clamp(min=0)).sum((2, 3), keepdim=True)).sum(1)


def heatmap(cells):
    cells = torch.nn.functional.interpolate(cells.clamp(min=0)[None], SIZE, mode="bilinear", align_corners=False)[0, 0]
    return (cells / cells.max() if cells.max() > 0 else cells)[::STEP, ::STEP]


def create(name, **kw):
    return timm.create_model(name, num_classes=N_CLASSES, **kw)


resnet = torchvision.models.resnet18(num_classes=N_CLASSES)
lite = create("tf_efficientnet_lite0")
convnext = create("convnext_tiny", dims=(24, 48, 96, 192))
densenet = torchvision.models.densenet121(num_classes=N_CLASSES)
same = str
# Classes whose maps are positive somewhere.
TARGETS = {"torchvision/resnet18": 17, "timm_tf/lite0": 3, "timm/convnext": 7, "torchvision/densenet121": 7}
cases = {}
for key, net, classifier, rename, stages in [
    ("torchvision/resnet18", resnet, "fc", same, {"stage2": resnet.layer2, "stage4": resnet.layer4}),
    ("timm_tf/lite0", lite, "classifier", same, {"stage3": lite.blocks[2], "stage7": lite.blocks[6]}),
    ("timm/convnext", convnext, "head.fc", lambda it: it.replace("head.norm", "norm"), {"stage2": convnext.stages[1], "stage4": convnext.stages[3]}),
    ("torchvision/densenet121", densenet, "classifier", same, {"stage2": densenet.features.denseblock2, "stage4": densenet.features.denseblock4}),
]:
    net = net.double().eval()
    set_weights(net, classifier, rename)
    x = torch.from_numpy((pixels() / 255 - 0.5) / 0.5).permute(2, 0, 1)[None]
    with torch.no_grad():
        p = net(x).softmax(1)[0]
    target = TARGETS[key]
    probability = p[target].item()
    cases[key] = dict(target=target, probability=probability, stages={})
    for stage, module in stages.items():
        a, g = explained(net, module, x, target)
        maps = {method.__name__: heatmap(method(a, g)) for method in (grad_cam, grad_cam_plus_plus)}
        cases[key]["stages"][stage] = {name: [float(f"{v:.6g}") for v in it.flatten().tolist()] for name, it in maps.items()}
        print(key, stage, list(a.shape), probability, {name: (round(it.mean().item(), 3), (it == 0).sum().item()) for name, it in maps.items()})

out = Path(__file__).with_suffix(".json")
out.write_text(json.dumps(dict(made_by=f"torch {torch.__version__}, timm {timm.__version__}, torchvision {torchvision.__version__}", size=SIZE, step=STEP, cases=cases)))
print(out, out.stat().st_size)
