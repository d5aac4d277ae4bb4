"""Golden numbers of timm and torchvision for crates/models: python3 networks.py [CASE...]

The weights are computed (shared_numbers.py, from our parameter names, which are timm's), so that only logits, and
norms and projections of gradients, are stored. The reference computes in f64, ours in f32.
"""

import functools
import json
import math
import sys
from pathlib import Path

import numpy as np
import timm
import torch
import torchvision
from fastai.vision.models.xresnet import xresnet50
from network_weights import formula
from shared_numbers import numbers

N_CLASSES, N_PROJECTIONS = 18, 4


def timm_names(net):
    return {name: name for name, _ in net.named_parameters()} | {name: name for name, _ in net.named_buffers()}


def torchvision_names(net):
    """torchvision's name -> timm's."""
    names = {}
    for name in list(dict(net.named_parameters())) + list(dict(net.named_buffers())):
        parts = name.split(".")
        if parts[0] == "classifier":
            names[name] = f"classifier.{parts[-1]}"
        elif parts[1] in ("0", "8"):
            conv, norm = ("conv_stem", "bn1") if parts[1] == "0" else ("conv_head", "bn2")
            names[name] = f"{conv if parts[2] == '0' else norm}.{parts[-1]}"
        else:
            stage, block, rest = int(parts[1]) - 1, parts[2], parts[4:]
            if stage == 0:
                table = {"0.0": "conv_dw", "0.1": "bn1", "1.fc1": "se.conv_reduce", "1.fc2": "se.conv_expand", "2.0": "conv_pw", "2.1": "bn2"}
            else:
                table = {"0.0": "conv_pw", "0.1": "bn1", "1.0": "conv_dw", "1.1": "bn2", "2.fc1": "se.conv_reduce", "2.fc2": "se.conv_expand", "3.0": "conv_pwl", "3.1": "bn3"}
            names[name] = f"blocks.{stage}.{block}.{table['.'.join(rest[:2])]}.{rest[2]}"
    return names


def ours(name, classifier):
    if name.rpartition(".")[0] == classifier:
        return f"head.joint.{name.rpartition('.')[2]}"
    return name


def convnext_names(net):
    return {name: name.replace("head.norm", "norm") for name in timm_names(net)}


def vgg_names(net):
    hidden = {"classifier.0.": "pre_logits.fc1.", "classifier.3.": "pre_logits.fc2."}
    names = timm_names(net)
    for theirs, name in names.items():
        for a, b in hidden.items():
            if name.startswith(a):
                names[theirs] = name.replace(a, b)
    return names


def v2_names(net):
    """torchvision's name -> timm's, of EfficientNetV2: fused stages first."""
    names = {}
    n_stages = max(int(name.split(".")[1]) for name in timm_names(net) if name.startswith("features"))
    for name in timm_names(net):
        parts = name.split(".")
        if parts[0] == "classifier":
            names[name] = name
        elif parts[1] in ("0", str(n_stages)):
            conv, norm = ("conv_stem", "bn1") if parts[1] == "0" else ("conv_head", "bn2")
            names[name] = f"{conv if parts[2] == '0' else norm}.{parts[-1]}"
        else:
            stage, block, rest = int(parts[1]) - 1, parts[2], parts[4:]
            if stage == 0:
                table = {"0.0": "conv", "0.1": "bn1"}
            elif stage <= 2:
                table = {"0.0": "conv_exp", "0.1": "bn1", "1.0": "conv_pwl", "1.1": "bn2"}
            else:
                table = {"0.0": "conv_pw", "0.1": "bn1", "1.0": "conv_dw", "1.1": "bn2", "2.fc1": "se.conv_reduce", "2.fc2": "se.conv_expand", "3.0": "conv_pwl", "3.1": "bn3"}
            names[name] = f"blocks.{stage}.{block}.{table['.'.join(rest[:2])]}.{rest[2]}"
    return names


def ours_shape(name, t):
    """The hidden layers that are linear in torchvision are convolutions here, as in timm."""
    return (t.shape[0], t.shape[1] // 49, 7, 7) if name == "pre_logits.fc1.weight" else t.shape


def golden(net, names, size, batch, classifier):
    net = net.double()
    tensors = dict(net.named_parameters()) | dict(net.named_buffers())
    with torch.no_grad():
        for theirs, name in names.items():
            if not theirs.endswith("num_batches_tracked"):
                t = tensors[theirs]
                name = ours(name, classifier)
                t.copy_(torch.from_numpy(formula(name, ours_shape(name, t))).reshape(t.shape))
    x = torch.from_numpy(numbers("pictures", batch, size[0], size[1], 3)).permute(0, 3, 1, 2)
    net.eval()
    with torch.no_grad():
        eval_logits = net(x)
    net.train()
    for module in net.modules():  # Dropout and stochastic depth off, batch norms on.
        if isinstance(module, torch.nn.Dropout) or type(module).__name__ in ("DropPath", "StochasticDepth"):
            module.eval()
    if hasattr(net, "drop_rate"):
        net.drop_rate = 0.0
    logits = net(x)
    (logits * torch.from_numpy(numbers("projection", *logits.shape))).sum().backward()
    gradients = {}
    for theirs, p in net.named_parameters():
        name, g = ours(names[theirs], classifier), p.grad.flatten().numpy()
        projections = [float(g @ numbers(f"{name}/{k}", g.size) * math.sqrt(3)) for k in range(N_PROJECTIONS)]
        gradients[name] = [float(f"{v:.9g}") for v in [np.linalg.norm(g), *projections]]
    return dict(
        size=list(size),
        batch=batch,
        eval=eval_logits.flatten().tolist(),
        train=logits.detach().flatten().tolist(),
        gradients=gradients,
    )


def create(name, **kw):
    return timm.create_model(name, num_classes=N_CLASSES, **kw)


def efficientnet_v2():
    """V2-S with fewer blocks."""
    from torchvision.models.efficientnet import FusedMBConvConfig as Fused, MBConvConfig as MB

    settings = [
        Fused(1, 3, 1, 24, 24, 1),
        Fused(4, 3, 2, 24, 48, 1),
        Fused(4, 3, 2, 48, 64, 1),
        MB(4, 3, 2, 64, 128, 2),
        MB(6, 3, 1, 128, 160, 2),
        MB(6, 3, 2, 160, 256, 3),
    ]
    norm = functools.partial(torch.nn.BatchNorm2d, eps=1e-3)
    return vision.EfficientNet(settings, dropout=0.0, last_channel=1280, num_classes=N_CLASSES, norm_layer=norm)


def vgg(name):
    net = getattr(vision, name)()
    n = torch.nn
    hidden = [n.Linear(512 * 49, 64), n.ReLU(), n.Dropout(), n.Linear(64, 64), n.ReLU(), n.Dropout()]
    net.classifier = n.Sequential(*hidden, n.Linear(64, N_CLASSES))
    return net


vision = torchvision.models
out = Path(__file__).with_suffix(".json")
cases = json.loads(out.read_text())["cases"] if len(sys.argv) > 1 else {}
for key, net, names, size, classifier in [
    ("timm/b0", create("efficientnet_b0"), timm_names, (64, 96), "classifier"),
    ("timm/b4", create("efficientnet_b4"), timm_names, (64, 64), "classifier"),
    ("timm_tf/b0", create("tf_efficientnet_b0"), timm_names, (63, 64), "classifier"),
    ("timm_tf/lite0", create("tf_efficientnet_lite0"), timm_names, (64, 64), "classifier"),
    ("torchvision/b0", vision.efficientnet_b0(num_classes=N_CLASSES), torchvision_names, (65, 64), "classifier"),
    ("torchvision/b4", vision.efficientnet_b4(num_classes=N_CLASSES), torchvision_names, (64, 64), "classifier"),
    ("torchvision/v2", efficientnet_v2(), v2_names, (63, 64), "classifier.1"),
    ("torchvision/resnet18", vision.resnet18(num_classes=N_CLASSES), timm_names, (63, 96), "fc"),
    ("torchvision/resnet50", vision.resnet50(num_classes=N_CLASSES), timm_names, (64, 64), "fc"),
    ("torchvision/resnext50_32x4d", vision.resnext50_32x4d(num_classes=N_CLASSES), timm_names, (64, 64), "fc"),
    ("timm/seresnet50", create("seresnet50"), timm_names, (64, 64), "fc"),
    ("fastai/xresnet50", xresnet50(n_out=N_CLASSES), timm_names, (66, 64), "11"),
    ("torchvision/vgg11", vgg("vgg11"), vgg_names, (64, 64), "classifier.6"),
    ("torchvision/vgg13_bn", vgg("vgg13_bn"), vgg_names, (64, 96), "classifier.6"),
    ("torchvision/densenet121", vision.densenet121(num_classes=N_CLASSES), timm_names, (64, 64), "classifier"),
    ("timm/convnext", create("convnext_tiny", dims=(24, 48, 96, 192)), convnext_names, (64, 96), "head.fc"),
]:
    if len(sys.argv) > 1 and key not in sys.argv[1:]:
        continue
    table = names(net)
    cases[key] = golden(net, table, size, 4, classifier)
    print(key, cases[key]["eval"][:3], cases[key]["train"][:3])

out.write_text(json.dumps(dict(made_by=f"torch {torch.__version__}, timm {timm.__version__}, torchvision {torchvision.__version__}", cases=cases)))
print(out, out.stat().st_size)
