"""Golden images of torchvision and albumentations for crates/augment's geometry: python3 geometry.py

The source is 40 wide and 30 high, and smooth, so that different rounding of coordinates (OpenCV rounds to 1/32 of a
pixel) has no effect. No coordinate is exactly on the edge, where rounding decides between the image and the border.
"""

import json
from pathlib import Path

import albumentations
import albumentations.augmentations.geometric.functional as G
import cv2
import numpy as np
import PIL
import torchvision
import torchvision.transforms.functional as F
from PIL import Image
from shared_numbers import numbers
from torchvision.transforms import InterpolationMode

h, w = 30, 40
y, x = np.mgrid[0:h, 0:w]
channels = [127 + 100 * np.sin(x / (7.0 + c) + c) * np.cos(y / (6.0 + c) - c) for c in range(3)]
pixels = np.stack(channels, -1).round().astype(np.uint8)
source = Image.fromarray(pixels)
out = Path(__file__).parent / "geometry"
out.mkdir(exist_ok=True)
source.save(out / "source.png")

linear = InterpolationMode.BILINEAR
black, colour = dict(constant=[0, 0, 0]), dict(constant=[200, 10, 90])


def flat(image):
    return np.asarray(image).flatten().tolist()


def fill(border):
    return border["constant"]


resized_crop = []
for corner, part, size, filter, name in [
    ([3, 5], [20, 24], [16, 16], linear, "bilinear"),
    ([0, 0], [30, 40], [12, 50], InterpolationMode.BICUBIC, "bicubic"),
    ([20, 30], [10, 10], [12, 9], linear, "bilinear"),
    ([10, 0], [7, 9], [12, 11], InterpolationMode.LANCZOS, "lanczos"),
]:
    image = F.resized_crop(source, *corner, *part, size, filter)
    resized_crop.append(dict(corner=corner, part=part, size=size, filter=name, image=flat(image)))

pad = []
modes = [(black, "constant"), (colour, "constant"), ("reflect", "reflect"), ("replicate", "edge")]
for by, some in [([4, 4], modes), ([0, 7], modes[1:3]), ([3, 90], modes[2:])]:
    for border, mode in some:
        value = fill(border) if mode == "constant" else 0
        image = F.pad(source, [by[1], by[0]], tuple(value) if value else 0, mode)
        pad.append(dict(by=by, border=border, image=flat(image)))

rotate = []
for degrees, border in [(14, black), (-40.5, colour), (90, black), (180, black), (237, colour), (0.3, black)]:
    image = F.rotate(source, degrees, linear, fill=fill(border))
    rotate.append(dict(degrees=degrees, border=border, image=flat(image)))

affine = []
for degrees, shift, scale, shear, border in [
    (20, [0, 0], 1.0, [0, 0], black),
    (0, [3, -5], 1.0, [0, 0], colour),
    (0, [0, 0], 0.72, [0, 0], colour),
    (0, [0, 0], 1.0, [25, 0], black),
    (0, [0, 0], 1.0, [0, -12], black),
    (-33, [-4, 2], 1.4, [10, 17], colour),
]:
    image = F.affine(source, degrees, shift[::-1], scale, shear, linear, fill=fill(border))
    affine.append(dict(degrees=degrees, shift=shift, scale=scale, shear=shear, border=border, image=flat(image)))

perspective = []
now = [[0, 0], [w - 1, 0], [w - 1, h - 1], [0, h - 1]]
for corners, border in [
    ([[3, 2], [36, 0], [39, 25], [5, 29]], black),
    ([[0, 7], [31, 2], [33, 20], [9, 23]], colour),
    ([[12, 0], [39, 5], [28, 29], [0, 18]], black),
]:
    image = F.perspective(source, now, corners, linear, fill=fill(border))
    perspective.append(dict(corners=corners, border=border, image=flat(image)))


def remap(map_x, map_y):
    return flat(G.remap(pixels, map_x, map_y, cv2.INTER_LINEAR, cv2.BORDER_REFLECT_101))


# albumentations' distortions, centred in the image. With OpenCV's centre, they shift by half a pixel.
centre = [(w - 1) / 2, (h - 1) / 2]


def camera(k):
    matrix = np.array([[w, 0, centre[0]], [0, h, centre[1]], [0, 0, 1]])
    return cv2.initUndistortRectifyMap(matrix, np.array([k, k, 0, 0, 0]), None, matrix, (w, h), cv2.CV_32FC1)


def fisheye(k):
    right, down = x - centre[0], y - centre[1]
    factor = 1 + k * (right**2 + down**2) / ((w / 2) ** 2 + (h / 2) ** 2)
    return centre[0] + right * factor, centre[1] + down * factor


optical = []
for lens in (camera, fisheye):
    for k in (0.05, -0.05, 0.4, -0.6):
        optical.append(dict(lens=lens.__name__, k=k, image=remap(*lens(k))))

# albumentations' ends of cells, but with coordinates at pixel centres, each once. Both sides are multiples of the cells,
# so that its last cell, which has the remainder, is empty.
grid = []
for name, cells in [("grid a", 5), ("grid b", 2)]:
    across, down = (0.3 * numbers(name, 2 * cells)).reshape(2, cells).tolist()
    more = [[1 + it for it in side] + [1] for side in (across, down)]
    shares = G.normalize_grid_distortion_steps((h, w), cells, *more)
    maps = []
    for n, steps in [(w, shares["steps_x"]), (h, shares["steps_y"])]:
        ends = np.concatenate([[0], np.cumsum(steps[:-1])]) * (n // cells)
        maps.append(np.interp(np.arange(n) + 0.5, np.linspace(0, n, cells + 1), ends) - 0.5)
    image = flat(cv2.remap(pixels, *(it.astype(np.float32) for it in np.meshgrid(*maps)), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
    grid.append(dict(across=across, down=down, image=image))


class Noise:
    """Shared numbers in place of a random generator."""

    def __init__(self, it):
        self.it = it

    def uniform(self, low, high, size):
        return numbers("elastic", 2, h, w)[self.it].reshape(size)


# One field after the other: with both at once, albumentations smooths them as one image, across the seam.
elastic = []
for alpha, sigma in [(30, 2.0), (60, 3.5)]:
    dx, dy = (G.generate_displacement_fields((h, w), alpha, sigma, True, (0, 0), Noise(it), "uniform")[0] for it in (0, 1))
    image = remap((x + dx).astype(np.float32), (y + dy).astype(np.float32))
    elastic.append(dict(alpha=alpha, sigma=sigma, image=image))

path = Path(__file__).with_suffix(".json")
made_by = f"PIL {PIL.__version__}, torchvision {torchvision.__version__}, albumentations {albumentations.__version__}, OpenCV {cv2.__version__}"
golden = dict(
    made_by=made_by,
    resized_crop=resized_crop,
    pad=pad,
    rotate=rotate,
    affine=affine,
    perspective=perspective,
    optical_distortion=optical,
    grid_distortion=grid,
    elastic=elastic,
)
path.write_text(json.dumps(golden, separators=(",", ":")))
print(path, path.stat().st_size)
