// From RGB8 images to the input of a network: mixed samples are rendered and normalised.
//
// z = (x / 255 - mean) / std for each colour, y = (1 - s) z + s z' where a layer of opacity s covers an image, and then
// the erased areas, in order. Twin of `ops::normalise`. Channels beyond the third are zeros, for a first convolution
// that reads eight channels at once.
#include "stored.cuh"

constexpr u32 THREADS = 256;
constexpr u32 NO_IMAGE = 0xffffffffu;

struct Area { u32 top, left, height, width; };

DEVICE bool contains(const Area& it, u32 y, u32 x) { return y - it.top < it.height && x - it.left < it.width; }

// z = x·scale + shift.
struct Affine { float scale[3], shift[3]; };

// How a row of the batch is rendered.
struct Sample {
    u32 image, over; // The layer's image, or NO_IMAGE.
    Area area;
    u32 from[2];     // row and column of the layer's image at the area's upper left corner
    u32 first_erased, n_erased;
    float keep;      // 1 - s
    Affine affine;   // the layer's: scale and shift times s
    u32 padding;
};

struct Erased {
    Area area;
    u64 pixels; // where its numbers begin in the array of fills, or NO_PIXELS
    float colour[3];
    u32 padding;
};
constexpr u64 NO_PIXELS = ~u64(0);

DEVICE void colours(const unsigned char* images, u64 pixel, float (&rgb)[3]) {
#pragma unroll
    for (int i = 0; i < 3; ++i) rgb[i] = float(images[pixel * 3 + i]);
}

// - `images`: [m, h, w, 3], u8; `ys`: [n, h, w, channels] with channels from 3 to 8.
// - `fills`: the numbers of erased areas that have pixels.
// - `n_blocks`: blocks of an image.
extern "C" __global__ void __launch_bounds__(THREADS)
normalise(const unsigned char* __restrict__ images, const Sample* __restrict__ samples,
          const Erased* __restrict__ erased, const float* __restrict__ fills, Affine affine, void* __restrict__ ys,
          u32 storage, u32 channels, u32 h, u32 w, u32 n_blocks) {
    u32 row = blockIdx.x / n_blocks, pixel = blockIdx.x % n_blocks * THREADS + threadIdx.x;
    if (pixel >= h * w) return;
    u32 y = pixel / w, x = pixel % w;
    const Sample& it = samples[row];
    u64 area = u64(h) * w;
    float rgb[3];
    colours(images, it.image * area + pixel, rgb);
#pragma unroll
    for (int i = 0; i < 3; ++i) rgb[i] = fmaf(rgb[i], affine.scale[i], affine.shift[i]);
    if (it.over != NO_IMAGE && contains(it.area, y, x)) {
        u32 from_y = y - it.area.top + it.from[0], from_x = x - it.area.left + it.from[1];
        float above[3];
        colours(images, it.over * area + u64(from_y) * w + from_x, above);
#pragma unroll
        for (int i = 0; i < 3; ++i)
            rgb[i] = fmaf(rgb[i], it.keep, fmaf(above[i], it.affine.scale[i], it.affine.shift[i]));
    }
    for (u32 idx = it.first_erased; idx < it.first_erased + it.n_erased; ++idx) {
        const Erased& gone = erased[idx];
        if (!contains(gone.area, y, x)) continue;
        u64 at = gone.pixels + (u64(y - gone.area.top) * gone.area.width + (x - gone.area.left)) * 3;
#pragma unroll
        for (int i = 0; i < 3; ++i) rgb[i] = gone.pixels == NO_PIXELS ? gone.colour[i] : fills[at + i];
    }
    Eight v = {{rgb[0], rgb[1], rgb[2], 0, 0, 0, 0, 0}};
    Kind kind = {storage, channels};
    write8(ys, row * area + pixel, 0, kind, narrow(v, kind));
}

// One axis of a bilinear enlargement of RGB8 lines, bit for bit that of `ops::upsample_columns` and `upsample_rows`:
// out = first + ((second - first)·part + 2¹⁴) >> 15.
struct Between { u32 first, second; int part; };

// - `from`: [n_outer, n_from, n_inner], u8; `to`: [n_outer, n_to, n_inner]; `places`: [n_to].
extern "C" __global__ void __launch_bounds__(THREADS)
upsample(const unsigned char* __restrict__ from, const Between* __restrict__ places, unsigned char* __restrict__ to,
         u32 n_from, u32 n_to, u32 n_inner, u32 n) {
    u32 at = blockIdx.x * THREADS + threadIdx.x;
    if (at >= n) return;
    u32 inner = at % n_inner, line = at / n_inner, outer = line / n_to;
    Between place = places[line - outer * n_to];
    const unsigned char* own = from + u64(outer) * n_from * n_inner + inner;
    int first = own[u64(place.first) * n_inner], second = own[u64(place.second) * n_inner];
    to[at] = static_cast<unsigned char>(first + (((second - first) * place.part + (1 << 14)) >> 15));
}
