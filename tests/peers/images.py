"""Images per second that common PyTorch pipelines load and augment on one core.

    python3 images.py FOLDER RECIPE SIZE [ROUNDS]

FOLDER has JPEGs, at any depth. RECIPE is 001 (resize, centre crop, colour jitter 0.5 with hue, flip)
or 003 (crop, resize, random crop, flip, jitter, rotate), SIZE the side of the network's input. Each
pipeline reads the file, decodes it and applies the same operations: torchvision on PIL images, torchvision
(v2) on tensors, albumentations. Prints a line of JSON for each. Needs torch, torchvision and albumentations.
"""

import json
import os
import statistics
import sys
import time

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import albumentations as A
import cv2
import numpy as np
import torch
import torchvision
from PIL import Image
from torchvision.transforms import v2

torch.set_num_threads(1)
cv2.setNumThreads(1)

folder, recipe, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 5
files = sorted(
    os.path.join(d, f) for d, _, fs in os.walk(folder) for f in fs if f.lower().endswith((".jpg", ".jpeg"))
)
# Spread over the folder, as many as take a second or two per round.
files = files[:: max(1, len(files) // 300)][:300]
larger = size * 8 // 7


def torchvisions(antialias):
    bilinear = v2.InterpolationMode.BILINEAR
    if recipe == "001":
        return v2.Compose([
            v2.Resize(larger, bilinear, antialias=antialias),
            v2.CenterCrop(size),
            v2.ColorJitter(0.5, 0.5, 0.5, 0.5),
            v2.RandomHorizontalFlip(0.5),
        ])
    return v2.Compose([
        v2.CenterCrop(larger),
        v2.Resize((larger * 15 // 16, larger * 15 // 16), bilinear, antialias=antialias),
        v2.RandomCrop(size),
        v2.RandomHorizontalFlip(0.5),
        v2.ColorJitter(0.2, 0.2, 0.2, 0.1),
        v2.RandomRotation(15, bilinear),
    ])


def albumentationss():
    if recipe == "001":
        return A.Compose([
            A.SmallestMaxSize(larger, interpolation=cv2.INTER_AREA),
            A.CenterCrop(size, size),
            A.ColorJitter((0.5, 1.5), (0.5, 1.5), (0.5, 1.5), (-0.5, 0.5), p=1),
            A.HorizontalFlip(p=0.5),
        ])
    return A.Compose([
        A.CenterCrop(larger, larger),
        A.Resize(larger * 15 // 16, larger * 15 // 16, interpolation=cv2.INTER_AREA),
        A.RandomCrop(size, size),
        A.HorizontalFlip(p=0.5),
        A.ColorJitter((0.8, 1.2), (0.8, 1.2), (0.8, 1.2), (-0.1, 0.1), p=1),
        A.Rotate(15, interpolation=cv2.INTER_LINEAR, p=1),
    ])


def pil(path, ops):
    return np.asarray(ops(Image.open(path).convert("RGB")))


def tensor(path, ops):
    return ops(torchvision.io.decode_jpeg(torchvision.io.read_file(path), mode=torchvision.io.ImageReadMode.RGB))


def opencv(path, ops):
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR_RGB)
    return ops(image=image)["image"]


pipelines = [
    ("torchvision, PIL", pil, torchvisions(True)),
    ("torchvision, tensors", tensor, torchvisions(True)),
    ("albumentations", opencv, albumentationss()),
]
speeds = {name: [] for name, _, _ in pipelines}
for _ in range(rounds):
    for name, load, ops in pipelines:
        began = time.perf_counter()
        for path in files:
            load(path, ops)
        speeds[name].append(len(files) / (time.perf_counter() - began))
for name, found in speeds.items():
    print(json.dumps({
        "peer": name, "recipe": recipe, "size": size, "images": len(files),
        "load_img_s": round(statistics.median(found), 1),
        "least": round(min(found), 1), "most": round(max(found), 1),
    }))
