"""Golden numbers of timm and torchvision for crates/models: python3 networks.py

The networks get weights by formula (shared_numbers.py, under our names, which are timm's), so that only logits, and
norms and projections of gradients, need to be written. The reference computes in f64, ours in f32.
"""

import json
import math
from pathlib import Path

import numpy as np
import timm
import torch
import torchvision
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


def ours(name):
    return name.replace("classifier.", "head.joint.").replace("fc.", "head.joint.")


def formula(name, shape):
    """The tensor that both sides call `name`: as large as keeps activations near 1."""
    x = numbers(name, *shape)
    if name.endswith("running_mean"):
        return 0.1 * x
    if name.endswith("running_var"):
        return 1 + 0.5 * x
    if len(shape) > 1:
        return x * math.sqrt(6 / np.prod(shape[1:]))
    if name.endswith("bias"):
        return 0.1 * x
    # What many residual blocks add up would grow from block to block, and rounding with it.
    return (0.2 if name.startswith("layer") and name.endswith("bn3.weight") else 1) * (1 + 0.2 * x)


def golden(net, names, size, batch):
    net = net.double()
    tensors = dict(net.named_parameters()) | dict(net.named_buffers())
    with torch.no_grad():
        for theirs, name in names.items():
            if not theirs.endswith("num_batches_tracked"):
                t = tensors[theirs]
                t.copy_(torch.from_numpy(formula(ours(name), t.shape)))
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
        name, g = ours(names[theirs]), p.grad.flatten().numpy()
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


vision = torchvision.models
cases = {}
for key, net, names, size in [
    ("timm/b0", create("efficientnet_b0"), timm_names, (64, 96)),
    ("timm/b4", create("efficientnet_b4"), timm_names, (64, 64)),
    ("timm_tf/b0", create("tf_efficientnet_b0"), timm_names, (63, 64)),
    ("timm_tf/lite0", create("tf_efficientnet_lite0"), timm_names, (64, 64)),
    ("torchvision/b0", vision.efficientnet_b0(num_classes=N_CLASSES), torchvision_names, (65, 64)),
    ("torchvision/b4", vision.efficientnet_b4(num_classes=N_CLASSES), torchvision_names, (64, 64)),
    ("torchvision/resnet18", vision.resnet18(num_classes=N_CLASSES), timm_names, (63, 96)),
    ("torchvision/resnet50", vision.resnet50(num_classes=N_CLASSES), timm_names, (64, 64)),
]:
    cases[key] = golden(net, names(net), size, 4)
    print(key, cases[key]["eval"][:3], cases[key]["train"][:3])

out = Path(__file__).with_suffix(".json")
out.write_text(json.dumps(dict(made_by=f"torch {torch.__version__}, timm {timm.__version__}, torchvision {torchvision.__version__}", cases=cases)))
print(out, out.stat().st_size)
