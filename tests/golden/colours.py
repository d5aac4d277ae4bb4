"""Golden colours of torchvision on PIL, albumentations on OpenCV, and fastai, for crates/augment: python3 colours.py

The source of all is images/source.png, which images.py generates.
"""

import json
from pathlib import Path

import albucore
import albumentations
import albumentations.augmentations.pixel.functional as A
import cv2
import fastai
import numpy as np
import PIL
import torch
import torchvision
import torchvision.transforms.functional as F
from fastai.vision.augment import AffineCoordTfm, Brightness, Contrast, Flip, Rotate, Warp, Zoom, setup_aug_tfms
from fastai.vision.core import TensorImage
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.autoaugment import RandAugment, TrivialAugmentWide, _apply_op

here = Path(__file__).parent
source = Image.open(here / "images" / "source.png")
pixels = np.asarray(source)
golden = {}


def add_case(name, image, /, **case):
    """Adds a case: its settings, and the resulting image."""
    flat = np.asarray(image).astype(np.uint8).flatten().tolist()
    golden.setdefault(name, []).append(dict(of=f"{name} {case}", **case, image=flat))


# Brightness, contrast, saturation and hue, by index.
pil = [F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue]
opencv = [A.adjust_brightness_torchvision, A.adjust_contrast_torchvision, A.adjust_saturation_torchvision, A.adjust_hue_torchvision]
orders = [[(3, h)] for h in (-0.5, -0.21, 0.07, 0.5)] + [
    [(0, 1.3), (1, 0.7), (2, 1.4), (3, 0.1)],
    [(3, -0.1), (1, 1.6), (0, 0.6), (2, 0.3)],
    [(1, 1.8), (3, 0.33), (2, 1.1), (0, 1.2)],
]
for name, functions, start in [("color_jitter", pil, source), ("color_jitter_albumentations", opencv, pixels)]:
    singles = [[(k, f)] for k in range(3) for f in (0.5, 1.3)] if start is pixels else []
    for changes in orders + singles:
        image = start
        for k, factor in changes:
            image = functions[k](image, factor)
        add_case(name, image, changes=changes)

for alpha, beta in [(1.2, 0.0), (0.8, 0.15), (1.0, -0.2), (1.5, 0.3)]:
    for by_max in (True, False):
        shift = beta * 255 if by_max else beta * np.mean(pixels)
        add_case("brightness_contrast", albucore.multiply_add(pixels, alpha, shift, inplace=False), alpha=alpha, beta=beta, by_max=by_max)
for shifts in [(12.0, 0.0, 0.0), (-20.0, 17.3, -8.5), (3.7, -30.0, 20.0), (0.0, 10.7, 0.0), (0.0, 0.0, -255.0)]:
    add_case("hue_saturation_value", A.shift_hsv(pixels, *shifts), shifts=shifts)
for gamma in (0.5, 0.8, 1.2, 3.0):
    add_case("gamma", A.gamma_transform(pixels, gamma), gamma=gamma)
add_case("grayscale", F.to_grayscale(source, 3))
for kernel, sigma in [(3, 0.5), (5, 1.1), (23, 2.0), (9, 0.1), (21, 8.0)]:
    add_case("gaussian_blur", F.gaussian_blur(source, kernel, sigma), kernel=kernel, sigma=sigma)
for factor in (0.0, 0.4, 1.7, 5.0):
    add_case("sharpen", F.adjust_sharpness(source, factor), factor=factor)
for limit, grid in [(1.0, (8, 8)), (4.0, (8, 8)), (2.0, (2, 3)), (40.0, (1, 1)), (3.0, (29, 37))]:
    # OpenCV's grid is (columns, rows).
    add_case("clahe", A.clahe(pixels, limit, grid), limit=limit, grid=grid[::-1])
for quality in (20, 60, 95):
    _, encoded = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111])
    add_case("jpeg_quality", cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1], quality=quality)
for bits in (1, 3, 7):
    add_case("posterize", F.posterize(source, bits), bits=bits)
for threshold in (0.0, 100.5, 200.0):
    add_case("solarize", F.solarize(source, threshold), threshold=threshold)
add_case("equalize", F.equalize(source))
add_case("autocontrast", F.autocontrast(source))
add_case("invert", F.invert(source))

# One image for each operation, and the magnitudes of both spaces.
for name, magnitude in [("Identity", 0.0), ("ShearX", 0.3), ("ShearY", -0.2), ("TranslateX", 4.7), ("TranslateY", -3.2), ("Rotate", 25.0), ("Rotate", -130.0), ("Brightness", 0.4), ("Color", -0.9), ("Contrast", 0.63), ("Sharpness", 0.9), ("Posterize", 4.0), ("Solarize", 110.5), ("AutoContrast", 0.0), ("Equalize", 0.0)]:
    add_case("policy", _apply_op(source, name, magnitude, InterpolationMode.BILINEAR, [9, 99, 200]), name=name, magnitude=magnitude)


def space(table, n_bins):
    return {name: [m.expand(n_bins).tolist() if m.ndim == 0 else m.tolist(), signed] for name, (m, signed) in table.items()}


golden["rand_augment"] = [dict(n_bins=n, size=[37, 29], space=space(RandAugment()._augmentation_space(n, (37, 29)), n)) for n in (31, 11)]
golden["trivial_augment"] = [dict(n_bins=n, size=[37, 29], space=space(TrivialAugmentWide()._augmentation_space(n), n)) for n in (31, 11)]

for size, draws in [
    ((37, 29), dict(flip=0.0, rotate=0.0, zoom=1.0, zoom_x=0.0, zoom_y=0.0, warp_x=0.15, warp_y=-0.1, brightness=0.5, contrast=1.0)),
    ((37, 29), dict(flip=1.0, rotate=10.0, zoom=1.1, zoom_x=0.2, zoom_y=0.9, warp_x=0.0, warp_y=0.0, brightness=0.5, contrast=1.0)),
    ((30, 24), dict(flip=1.0, rotate=-7.0, zoom=1.05, zoom_x=0.7, zoom_y=0.4, warp_x=-0.2, warp_y=0.13, brightness=0.43, contrast=1.2)),
    ((37, 29), dict(flip=0.0, rotate=0.0, zoom=1.0, zoom_x=0.0, zoom_y=0.0, warp_x=0.0, warp_y=0.0, brightness=0.58, contrast=0.8)),
]:
    d = draws
    tfms = setup_aug_tfms([
        Flip(p=1.0, draw=d["flip"], size=size),
        Warp(p=1.0, draw_x=d["warp_x"], draw_y=d["warp_y"], size=size),
        Rotate(p=1.0, draw=d["rotate"], size=size),
        Zoom(p=1.0, draw=d["zoom"], draw_x=d["zoom_x"], draw_y=d["zoom_y"], size=size),
        Brightness(p=1.0, draw=d["brightness"]),
        Contrast(p=1.0, draw=d["contrast"]),
    ])
    x = TensorImage(torch.tensor(pixels).permute(2, 0, 1)[None].float() / 255)
    for tfm in tfms:
        x = tfm(x, split_idx=0)
    add_case("fastai", (x[0].permute(1, 2, 0) * 255).round().clamp(0, 255).numpy(), size=size, **draws)

golden["made_by"] = f"PIL {PIL.__version__}, torchvision {torchvision.__version__}, albumentations {albumentations.__version__}, OpenCV {cv2.__version__}, fastai {fastai.__version__}"
path = Path(__file__).with_suffix(".json")
path.write_text(json.dumps(golden, separators=(",", ":")))
print(path, path.stat().st_size)
