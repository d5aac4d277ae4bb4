"""Golden JPEGs for crates/augment/src/jpeg.rs: python3 jpeg.py

Small baseline files of every kind in jpeg/, written by OpenCV, each with libjpeg-turbo's result.
Needs opencv and numpy.
"""

from pathlib import Path

import cv2
import numpy as np
from shared_numbers import numbers

out = Path(__file__).parent / "jpeg"
out.mkdir(exist_ok=True)

# Smooth, with some edges and noise: 61 high, 75 wide.
y, x = np.mgrid[0:61, 0:75]
channels = [127 + 90 * np.sin(x / 4.0 + c) * np.cos(y / (5.0 + c)) + 35 * ((x + 2 * y) // 13 % 2) for c in range(3)]
source = np.clip(np.stack(channels, -1) + 8 * numbers("jpeg", 61, 75, 3), 0, 255).astype(np.uint8)

# Sampling factors: a byte per component, 4 bits horizontally and 4 vertically, luma first.
samplings = {"444": 0x111111, "422": 0x211111, "440": 0x121111, "420": 0x221111, "grey": None}
# Height, width, quality, restart interval in MCUs.
kinds = [(61, 75, 90, 0), (48, 64, 30, 3), (17, 33, 100, 1), (1, 7, 75, 0), (61, 6, 1, 0)]
for name, sampling in samplings.items():
    for height, width, quality, restart in kinds:
        how = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_RST_INTERVAL, restart]
        if quality == 30:
            how += [cv2.IMWRITE_JPEG_OPTIMIZE, 1]
        image = source[:height, :width]
        if sampling is None:
            image = image[..., 1]
        else:
            how += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
        path = out / f"{name}_{height}x{width}_{quality}.jpg"
        cv2.imwrite(str(path), image, how)
        cv2.imwrite(str(path) + ".want.png", cv2.imread(str(path)), [cv2.IMWRITE_PNG_COMPRESSION, 9])
