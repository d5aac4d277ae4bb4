"""Golden images of fastai's random crop after its warps, for crates/augment: python3 fastai_crop.py

All of images/source.png, which images.py draws.
"""

import json
from functools import partial
from pathlib import Path

import fastai
import numpy as np
import torch
from fastai.vision.augment import Flip, RandomResizedCropGPU, Rotate, Warp, Zoom, compose_tfms, setup_aug_tfms
from fastai.vision.core import TensorImage
from PIL import Image

pixels = np.asarray(Image.open(Path(__file__).parent / "images" / "source.png"))
x = TensorImage(torch.tensor(pixels).permute(2, 0, 1)[None].float() / 255)
H, W = x.shape[-2:]


def warp(d):
    """fastai's affine transforms and warp as one, of the size of the image."""
    (tfm,) = setup_aug_tfms([
        Flip(p=1.0, draw=d["flip"]),
        Warp(p=1.0, draw_x=d["warp_x"], draw_y=d["warp_y"]),
        Rotate(p=1.0, draw=d["rotate"]),
        Zoom(p=1.0, draw=d["zoom"], draw_x=d["zoom_x"], draw_y=d["zoom_y"]),
    ])
    tfm.before_call(x, 0)
    return tfm


def at_once(tfm, corner, part, size):
    """The warp and the crop as one resampling, by fastai's own: its coordinates are from -1 to 1."""
    scale = [(part[i] - 1) / (n - 1) for i, n in enumerate((H, W))]
    shift = [(2 * corner[i] + part[i] - 1) / (n - 1) - 1 for i, n in enumerate((H, W))]
    crop = torch.tensor([[scale[1], 0, shift[1]], [0, scale[0], shift[0]], [0, 0, 1.0]])
    coords = partial(compose_tfms, tfms=tfm.coord_fs, reverse=False)
    return x.affine_coord(tfm.mat @ crop, coords, sz=size, align_corners=True)


none = dict(flip=0.0, rotate=0.0, zoom=1.0, zoom_x=0.5, zoom_y=0.5, warp_x=0.0, warp_y=0.0)
cases = []
for size, corner, part, draws in [
    ((24, 20), (3, 5), (30, 22), none),
    ((37, 37), (8, 0), (29, 29), none),
    ((24, 20), (0, 2), (33, 26), dict(none, flip=1.0, rotate=10.0, zoom=1.1, zoom_x=0.2, zoom_y=0.9)),
    ((30, 30), (4, 1), (28, 27), dict(flip=0.0, rotate=-7.0, zoom=1.05, zoom_x=0.7, zoom_y=0.4, warp_x=-0.2, warp_y=0.13)),
]:
    image = at_once(warp(draws), corner, part, size)
    if draws is none:
        crop = RandomResizedCropGPU(size, ratio=(1, 1))
        crop.tl, crop.cp_size = corner, part
        both = (image - crop._encode(warp(draws).encodes(x), "bilinear")).abs().max()
        assert both < 1e-5, both
    image = (image[0].permute(1, 2, 0) * 255).round().clamp(0, 255).numpy().astype(np.uint8)
    case = dict(size=size, corner=corner, part=part, **draws)
    cases.append(dict(of=f"min_scale {case}", **case, image=image.flatten().tolist()))

path = Path(__file__).with_suffix(".json")
made_by = f"fastai {fastai.__version__}, torch {torch.__version__}"
path.write_text(json.dumps(dict(made_by=made_by, min_scale=cases), separators=(",", ":")))
print(path, path.stat().st_size)
