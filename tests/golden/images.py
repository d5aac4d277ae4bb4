"""Golden images of PIL and torchvision for crates/augment: python3 images.py

Small files of every kind in images/, each with PIL's result, and resized and recoloured images.
"""

import io
import json
from pathlib import Path

import numpy as np
import PIL
import torchvision
import torchvision.transforms.functional as F
from PIL import Image
from shared_numbers import numbers

out = Path(__file__).parent / "images"
out.mkdir(exist_ok=True)

# A smooth image with some edges: 29 wide, 37 high.
y, x = np.mgrid[0:37, 0:29]
channels = [127 + 90 * np.sin(x / 4.0 + c) * np.cos(y / (5.0 + c)) + 35 * ((x + 2 * y) // 13 % 2) for c in range(3)]
pixels = np.clip(np.stack(channels, -1) + 8 * numbers("picture", 37, 29, 3), 0, 255).astype(np.uint8)
source = Image.fromarray(pixels)
source.save(out / "source.png")


def want(name, image):
    image.convert("RGB").save(out / f"{name}.want.png")


def save(name, image, **kw):
    image.save(out / name, **kw)
    return Image.open(out / name)


want("palette.png", save("palette.png", source.quantize(32)))
want("alpha.png", save("alpha.png", Image.merge("RGBA", (*source.split(), source.split()[0]))))
want("cmyk.jpg", save("cmyk.jpg", source.convert("CMYK"), quality=95))
exif = Image.Exif()
exif[0x0112] = 6  # Rotated by 90 degrees.
from PIL import ImageOps

want("rotated.jpg", ImageOps.exif_transpose(save("rotated.jpg", source, quality=95, exif=exif)))
grey16 = (np.asarray(source.convert("L")).astype(np.uint16) * 257)
Image.fromarray(grey16).save(out / "grey16.png")
want("grey16.png", source.convert("L"))  # PIL's own conversion of 16 bits to 8 clips.
# A progressive JPEG with a whole JPEG inside its EXIF, as cameras write thumbnails.
thumbnail = io.BytesIO()
source.resize((8, 10)).save(thumbnail, "JPEG")
segment = b"Exif\0\0" + thumbnail.getvalue()
body = io.BytesIO()
source.save(body, "JPEG", progressive=True, quality=90)
body = body.getvalue()
(out / "progressive_thumbnail.jpg").write_bytes(body[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + body[2:])


def flat(image):
    return np.asarray(image).flatten().tolist()


resize = []
for size in [(18, 14), (9, 29), (37, 10), (50, 60), (1, 1)]:
    for name, filter in [("bilinear", 2), ("bicubic", 3), ("lanczos", 1)]:
        resize.append(dict(size=size, filter=name, image=flat(source.resize(size[::-1], filter))))
crop = [dict(size=size, image=flat(F.center_crop(source, size))) for size in [(20, 20), (36, 28), (37, 29), (1, 2)]]
adjust = dict(brightness=F.adjust_brightness, contrast=F.adjust_contrast, saturation=F.adjust_saturation)
color = {name: [dict(factor=f, image=flat(op(source, f))) for f in (0.0, 0.5, 0.83, 1.2, 1.9)] for name, op in adjust.items()}
path = Path(__file__).with_suffix(".json")
made_by = f"PIL {PIL.__version__}, torchvision {torchvision.__version__}"
path.write_text(json.dumps(dict(made_by=made_by, resize=resize, center_crop=crop, color=color), separators=(",", ":")))
print(path, path.stat().st_size)
