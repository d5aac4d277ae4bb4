"""JPEGs of every kind with Huffman codes and 8 bits, each with Pillow's result.

python3 jpeg_matrix.py                   a few of them, into jpeg/matrix.bin
python3 jpeg_matrix.py matrix.bin        all of them: about 14,500 files, 8 minutes, 120 MB
JPEG_MATRIX=matrix.bin cargo test --release --workspace --lib jpeg::tests::matrix -- --nocapture

The last command compares all of them with crates/augment/src/jpeg.rs, on each path: whole and in rectangles,
at full size and at a half, a quarter and an eighth (Pillow's `draft`), and prints the number of files and
paths and the largest difference. Needs numpy and Pillow with libjpeg-turbo.

Most of these kinds are written by no program, so this script has an encoder: sampling factors 1 to 4 of each
component; one scan, one for each component, or luma by itself; baseline and progressive (with separate scans
for the low bits of coefficients); restarts; grey, YCbCr, RGB, CMYK, YCCK; any size. Those that Pillow refuses
are included, without pixels.

An entry: length and name, length and bytes of the JPEG, the number of results (0 where Pillow refuses it),
and for each result its height, width and pixels. Numbers have 32 bits, little-endian.
"""

import io
import itertools
import random
import struct
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ZIGZAG = sorted(range(64), key=lambda at: (s := at // 8 + at % 8, at % 8 if s % 2 == 0 else at // 8))
DCT = np.array([[np.cos((2 * x + 1) * u * np.pi / 16) * (0.5 if u else 8**-0.5) for x in range(8)] for u in range(8)])
SCALES = [1, 2, 4, 8]


class Bits:
    """Coded data: most significant bits first, 0xff followed by a zero."""

    def __init__(self):
        self.bytes, self.value, self.n = bytearray(), 0, 0

    def put(self, value, n):
        self.value, self.n = self.value << n | value & (1 << n) - 1, self.n + n
        while self.n >= 8:
            self.n -= 8
            byte = self.value >> self.n & 255
            self.bytes += bytes([byte, 0]) if byte == 255 else bytes([byte])
        self.value &= 255

    def end(self):
        if self.n:
            self.put(255, 8 - self.n)


# Both codes have a fixed length: 12 symbols of 4 bits, and 256 of 8 bits, except that the last two have 9.
def dc_code(bits, symbol):
    bits.put(symbol, 4)


def ac_code(bits, symbol):
    bits.put(symbol, 8) if symbol < 254 else bits.put(508 + symbol - 254, 9)


def table(class_and_place, counts, symbols):
    return segment(0xC4, bytes([class_and_place, *counts]) + bytes(symbols))


TABLES = lambda: table(0, [0, 0, 0, 12] + [0] * 12, range(12)) + table(0x10, [0] * 7 + [254, 2] + [0] * 7, range(256))


def segment(marker, content):
    return bytes([255, marker]) + struct.pack(">H", len(content) + 2) + content


def number(bits, value):
    """Writes the bits of a number whose size is already written."""
    size = abs(value).bit_length()
    bits.put(value if value >= 0 else value - 1, size)


class Scan:
    """Writes the blocks of a scan: coefficients `first` to `last`, bits `high` down to `low`."""

    def __init__(self, is_progressive, first, last, high, low):
        self.how = (is_progressive, first, last, high, low)
        self.bits = Bits()
        self.start()

    def start(self):
        self.before, self.ends, self.pending = {}, 0, []

    def end(self):
        self.flush()
        self.bits.end()

    def flush(self):
        if self.ends:
            size = self.ends.bit_length() - 1
            ac_code(self.bits, size << 4)
            self.bits.put(self.ends, size)
            self.ends = 0
        for bit in self.pending:
            self.bits.put(bit, 1)
        self.pending = []

    def block(self, component, block):
        is_progressive, first, last, high, low = self.how
        if not is_progressive:
            self.dc(component, block[0])
            self.ac(block, 1, 63, 0)
            self.flush()
        elif first == 0:
            self.bits.put(block[0] >> low, 1) if high else self.dc(component, block[0] >> low)
        elif high == 0:
            self.ac(block, first, last, low)
            if self.ends == 0x7FFF:
                self.flush()
        else:
            self.refine(block, first, last, low)

    def dc(self, component, value):
        difference = value - self.before.get(component, 0)
        self.before[component] = value
        dc_code(self.bits, abs(difference).bit_length())
        number(self.bits, difference)

    def ac(self, block, first, last, low):
        zeros = 0
        for at in range(first, last + 1):
            value = abs(block[at]) >> low
            if value == 0:
                zeros += 1
                continue
            self.flush()
            while zeros > 15:
                ac_code(self.bits, 0xF0)
                zeros -= 16
            ac_code(self.bits, zeros << 4 | value.bit_length())
            number(self.bits, value if block[at] > 0 else -value)
            zeros = 0
        if zeros:
            self.ends += 1

    def refine(self, block, first, last, low):
        values = [abs(it) >> low for it in block]
        final = max((at for at in range(first, last + 1) if values[at] == 1), default=0)
        zeros, bits = 0, []

        def put():
            for bit in bits:
                self.bits.put(bit, 1)
            bits.clear()

        for at in range(first, last + 1):
            if values[at] == 0:
                zeros += 1
                continue
            while zeros > 15 and at <= final:
                self.flush()
                ac_code(self.bits, 0xF0)
                put()
                zeros -= 16
            if values[at] > 1:
                bits.append(values[at] & 1)
                continue
            self.flush()
            ac_code(self.bits, zeros << 4 | 1)
            self.bits.put(int(block[at] > 0), 1)
            put()
            zeros = 0
        if zeros or bits:
            self.ends += 1
            self.pending += bits
            if self.ends == 0x7FFF or len(self.pending) > 900:
                self.flush()


def coefficients(rng, down, across, steps):
    """The coefficients of a plane with a smooth part, an edge and noise, in rows of blocks."""
    y, x = np.mgrid[0 : 8 * down, 0 : 8 * across]
    a, b, c = rng.uniform(3, 30, 3)
    plane = 90 * np.sin(x / a + c) * np.cos(y / b) + 40 * ((x + 2 * y) // int(c + 5) % 2) + rng.normal(0, 6, x.shape)
    blocks = plane.reshape(down, 8, across, 8).transpose(0, 2, 1, 3)
    blocks = np.rint(DCT @ blocks @ DCT.T / steps).astype(int).clip(-1000, 1000)
    return blocks.reshape(down, across, 64)[:, :, ZIGZAG].tolist()


def encode(seed, size, factors, scans="one", restart=0, progressive=False, space="YCbCr"):
    """`factors`: (across, down) of each component."""
    rng = np.random.default_rng(seed)
    n, (height, width) = len(factors), size
    most = [max(it[side] for it in factors) for side in (0, 1)]
    units = [-(-height // (8 * most[1])), -(-width // (8 * most[0]))]
    ids = list(b"RGB") if space == "RGB by name" else list(range(1, n + 1))
    out = b"\xff\xd8"
    if space in ("YCbCr", "grey"):
        out += segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")
    if space in ("RGB", "CMYK", "YCCK"):
        out += segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([2 * (space == "YCCK")]))
    steps = []
    for it in range(n):
        y, x = np.mgrid[0:8, 0:8]
        steps.append(rng.integers(1, 12) + rng.integers(0, 7) * (x + y))
        out += segment(0xDB, bytes([it]) + bytes(steps[it].reshape(64)[ZIGZAG].tolist()))
    planes = [coefficients(rng, units[0] * v, units[1] * h, steps[it]) for it, (h, v) in enumerate(factors)]
    frame = struct.pack(">BHHB", 8, height, width, n)
    frame += b"".join(bytes([ids[it], h << 4 | v, it]) for it, (h, v) in enumerate(factors))
    out += segment(0xC2 if progressive else 0xC0, frame) + TABLES()
    if restart:
        out += segment(0xDD, struct.pack(">H", restart))
    groups = {"one": [list(range(n))], "each": [[it] for it in range(n)], "luma": [[0], list(range(1, n))]}[scans]
    script = [(group, 0, 63, 0, 0) for group in groups]
    if progressive:
        alone = [[it] for it in range(n)]
        script = [(group, 0, 0, 0, 1) for group in groups]
        for first, last, high, low in [(1, 5, 0, 2), (6, 63, 0, 2), (1, 63, 2, 1)]:
            script += [(group, first, last, high, low) for group in alone]
        script += [(group, 0, 0, 1, 0) for group in groups]
        script += [(group, 1, 63, 1, 0) for group in alone]
    for group, first, last, high, low in script:
        head = bytes([len(group)]) + b"".join(bytes([ids[it], 0]) for it in group)
        out += segment(0xDA, head + bytes([first, last, high << 4 | low]))
        scan = Scan(progressive, first, last, high, low)
        alone = len(group) == 1
        if alone:
            h, v = factors[group[0]]
            rows, columns = (-(-(side * f) // (8 * m)) for side, f, m in zip(size, (v, h), most[::-1]))
        else:
            rows, columns = units
        for it, (row, column) in enumerate(itertools.product(range(rows), range(columns))):
            if restart and it and it % restart == 0:
                scan.end()
                scan.bits.bytes += bytes([255, 0xD0 + (it // restart - 1) % 8])
                scan.start()
            for component in group:
                h, v = (1, 1) if alone else factors[component]
                for down, across in itertools.product(range(v), range(h)):
                    scan.block(component, planes[component][row * v + down][column * h + across])
        scan.end()
        out += bytes(scan.bits.bytes)
    return out + b"\xff\xd9"


def decoded(jpeg, scale):
    image = Image.open(io.BytesIO(jpeg))
    # As `draft`, also for sides that it would reduce to 0.
    width, height = (-(-side // scale) for side in image.size)
    image.decoderconfig, image._size = (scale, 0), (width, height)
    image.tile = [it._replace(extents=(0, 0, width, height)) for it in image.tile]
    return image.convert("RGB")


def write(to, name, jpeg):
    try:
        results = [decoded(jpeg, scale) for scale in SCALES]
    except (OSError, SyntaxError):
        results = []
    name = name.encode()
    to.write(struct.pack("<I", len(name)) + name + struct.pack("<I", len(jpeg)) + jpeg)
    to.write(struct.pack("<I", len(results)))
    for it in results:
        to.write(struct.pack("<II", it.height, it.width) + it.tobytes())
    return bool(results)


ONE = [(h, v) for h in range(1, 5) for v in range(1, 5)]
SIZES = [(61, 75), (50, 33), (65, 64), (31, 97), (17, 129), (70, 41)]
ODD = [(1, 1), (1, 9), (9, 1), (2, 3), (3, 2), (5, 5), (8, 8), (7, 16), (16, 7), (15, 17), (33, 2), (2, 33), (4, 65)]


def is_whole(factors):
    return all(max(it[side] for it in factors) % it[side] == 0 for it in factors for side in (0, 1))


def kinds():
    """The arguments of `encode` for each kind."""
    sizes = itertools.cycle(SIZES)
    three = list(itertools.product(ONE, repeat=3))
    for factors in three:
        if not is_whole(factors):
            # All decoders refuse it: once is enough.
            yield dict(size=(20, 30), factors=factors, scans="each")
            continue
        for scans, restart, progressive in itertools.product(["one", "each"], [0, 3], [False, True]):
            yield dict(size=next(sizes), factors=factors, scans=scans, restart=restart, progressive=progressive)
    draw = random.Random(0)
    whole = [it for it in three if is_whole(it)]
    usual = [((2, 2), (1, 1), (1, 1)), ((2, 1), (1, 1), (1, 1)), ((1, 2), (1, 1), (1, 1)), ((1, 1),) * 3]
    for size in ODD:
        for factors in usual + [((1, 1), (2, 2), (1, 2)), ((4, 1), (1, 1), (1, 1))] + draw.sample(whole, 6):
            for scans, progressive in itertools.product(["one", "each", "luma"], [False, True]):
                restart = draw.choice([0, 1, 2])
                yield dict(size=size, factors=factors, scans=scans, restart=restart, progressive=progressive)
    for factor, restart, progressive, size in itertools.product(ONE, [0, 2], [False, True], [(61, 75), (9, 1)]):
        yield dict(size=size, factors=(factor,), restart=restart, progressive=progressive, space="grey")
    for space in ["RGB", "RGB by name", "nameless", "CMYK", "YCCK"]:
        for _ in range(40):
            factors = draw.choice(whole + usual * 200)
            if space in ("CMYK", "YCCK"):
                factors += (factors[0],)
            for scans, progressive in itertools.product(["one", "each", "luma"], [False, True]):
                size, restart = draw.choice(SIZES + ODD), draw.choice([0, 1, 5])
                yield dict(
                    size=size, factors=factors, scans=scans, restart=restart, progressive=progressive, space=space
                )


def name_of(size, factors, scans="one", restart=0, progressive=False, space="YCbCr"):
    factors = ",".join(f"{h}x{v}" for h, v in factors)
    how = "progressive" if progressive else "baseline"
    return f"{space} {size[0]}x{size[1]} {factors} {how} scans:{scans} restart:{restart}"


def golden():
    """A small file for every code path."""
    usual = {
        "444": ((1, 1), (1, 1), (1, 1)),
        "422": ((2, 1), (1, 1), (1, 1)),
        "440": ((1, 2), (1, 1), (1, 1)),
        "420": ((2, 2), (1, 1), (1, 1)),
        "411": ((4, 1), (1, 1), (1, 1)),
        "410": ((4, 2), (1, 1), (1, 1)),
        "big chroma": ((1, 1), (2, 2), (2, 2)),
        "one big": ((2, 1), (1, 2), (2, 2)),
        "thirds": ((3, 1), (1, 1), (3, 1)),
    }
    for factors in usual.values():
        for scans, progressive in itertools.product(["one", "each"], [False, True]):
            restart = 3 if scans == "each" else 0
            yield dict(size=(37, 43), factors=factors, scans=scans, restart=restart, progressive=progressive)
    for space, size in [("RGB", (19, 21)), ("RGB by name", (9, 17)), ("nameless", (17, 9))]:
        yield dict(size=size, factors=usual["420"], scans="luma", restart=1, space=space)
    for space, progressive in itertools.product(["CMYK", "YCCK"], [False, True]):
        factors = usual["422"] + ((2, 1),)
        yield dict(size=(21, 19), factors=factors, scans="one", progressive=progressive, space=space)
    for size in [(1, 1), (1, 9), (9, 1), (2, 5), (33, 4)]:
        yield dict(size=size, factors=usual["420"], scans="each", progressive=size[0] == 1)
    yield dict(size=(19, 21), factors=((2, 2),), restart=2, space="grey")
    yield dict(size=(19, 21), factors=((1, 1),), progressive=True, space="grey")
    yield dict(size=(9, 9), factors=((3, 1), (2, 1), (1, 1)), scans="each")
    yield dict(size=(9, 9), factors=((2, 2), (2, 2), (2, 2)), scans="one")


if __name__ == "__main__":
    is_all = len(sys.argv) > 1
    path = Path(sys.argv[1]) if is_all else Path(__file__).parent / "jpeg" / "matrix.bin"
    n, n_read = 0, 0
    with open(path, "wb") as to:
        for seed, kind in enumerate(kinds() if is_all else golden()):
            n_read += write(to, name_of(**kind), encode(seed, **kind))
            n += 1
            if n % 1000 == 0:
                print(n, flush=True)
    print(f"{n} files, {n_read} of them read by Pillow")
