"""Weight files as torchvision, timm and fastai write them, with random values: python3 weight_files.py FOLDER

One network of each family and library. The files are not stored here; `maskfit weights inspect` must report for each
that it fits, with all of its tensors used:

    python3 tests/golden/weight_files.py /tmp/files
    for it in /tmp/files/*; do cargo xtask weights inspect $it | tail -2; done
"""

import sys
from pathlib import Path

import timm
import torch
import torchvision
from fastai.vision.models.xresnet import xresnet50
from safetensors.torch import save_file

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
torch.manual_seed(0)

TORCHVISION = "efficientnet_b0 efficientnet_v2_s resnet18 resnet50 resnext50_32x4d vgg16 vgg19_bn densenet121 convnext_tiny"
TIMM = (
    "efficientnet_b0 tf_efficientnet_lite0 efficientnetv2_s resnet34 resnext50_32x4d seresnet50 seresnext50_32x4d vgg16 "
    "vgg19_bn densenet121 convnext_tiny"
)


def old_densenet(state):
    """The keys in torchvision's download of DenseNet, which its loader renames."""
    names = {}
    for name in state:
        old = name
        if "denselayer" in name:
            for part in ("norm", "conv"):
                for idx in "12":
                    old = old.replace(f".{part}{idx}.", f".{part}.{idx}.")
        names[name] = old
    return {names[name]: it for name, it in state.items()}


def write(name, state, as_pth):
    if as_pth:
        torch.save(state, folder / f"{name}.pth")
    else:
        save_file({name: it.contiguous() for name, it in state.items()}, folder / f"{name}.safetensors")
    print(name, len(state))


for name in TORCHVISION.split():
    write(f"torchvision-{name}", getattr(torchvision.models, name)().state_dict(), True)
write("torchvision-old-densenet121", old_densenet(torchvision.models.densenet121().state_dict()), True)
for name in TIMM.split():
    write(f"timm-{name}", timm.create_model(name).state_dict(), False)
write("fastai-xresnet50", xresnet50().state_dict(), True)
