"""Facts about published networks for crates/models/src/published.rs: python3 published.py

For each name of the table there: the preprocessing of timm's default weights, the parameters with 1000 classes, and
the multiply-adds for one image of that size. Networks are built on the `meta` device: shapes without values.
"""

import json
import re
from pathlib import Path

import timm
import torch
from fastai.vision.models.xresnet import xresnet50
from timm.models import PretrainedCfg
from torch.utils.flop_counter import FlopCounterMode

# Attention as plain matrix products, so that they are counted.
timm.layers.set_fused_attn(False)
table = (Path(__file__).parents[2] / "crates/models/src/published.rs").read_text()
names = re.findall(r'^ *of\("(\w+)"', table, re.MULTILINE)
out = {}
# fastai publishes no weights, so its networks get the preprocessing of most of timm's.
fastai_names = {"xresnet50": xresnet50}
for name in names:
    cfg = PretrainedCfg(tag="untrained") if name in fastai_names else timm.get_pretrained_cfg(name)
    with torch.device("meta"):
        net = fastai_names[name]() if name in fastai_names else timm.create_model(name).eval()
        net.eval()
        image = torch.zeros(1, *cfg.input_size)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        net(image)
    out[name] = dict(
        tag=cfg.tag,
        size=list(cfg.input_size[1:]),
        crop=cfg.crop_pct,
        interpolation=cfg.interpolation,
        mean=list(cfg.mean),
        std=list(cfg.std),
        parameters=sum(p.numel() for p in net.parameters()),
        # A multiply-add is two operations.
        multiply_adds=counter.get_total_flops() // 2,
    )
    print(name, out[name])

path = Path(__file__).with_suffix(".json")
lines = ",\n".join(f'"{name}": {json.dumps(it)}' for name, it in out.items())
path.write_text(f'{{"made_by": "torch {torch.__version__}, timm {timm.__version__}", "networks": {{\n{lines}\n}}}}\n')
print(path, path.stat().st_size)
