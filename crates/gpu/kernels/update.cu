// The steps of optimizers over all parameters at once, elementwise: SGD, Adam, AdamW, Lion, RMSprop, and LAMB's two
// passes.
//
// With the gradient g, unscaled and clipped, and the rates of each parameter, which `step.cu` has prepared:
//
//   SGD:     g += decay·p;  v = momentum·v + taken·g;  p -= lr·(nesterov ? g + momentum·v : v)
//   Adam:    g += decay·p;  m = β₁m + (1-β₁)g;  v = β₂v + (1-β₂)g²;  p = kept·p - size·m / (√v / root + ε)
//   Lion:    p = kept·p - lr·sign(β₁m + (1-β₁)g);  m = β₂m + (1-β₂)g
//   RMSprop: g += decay·p;  s += (1-α)(g² - s);  v = momentum·v + lr·g / √(s + ε);  p -= v
//   LAMB:    m, v as Adam's;  u = m / first / (√v / root + ε) + decay·p;  then p -= size·u
//
// The formulas, their sources and the differences from them are those of the CPU's `trainer::optim`. Parameters and
// states are f32; the copy of a parameter that the network computes with is written in the same pass. A launch has a
// block for each chunk of a parameter, as NVIDIA Apex's "multi tensor apply" has; a skipped step changes nothing.
#include "update.cuh"

// The numbers that are the same for all parameters.
struct Constants {
    float keep1, take1, keep2, take2; // β₁, 1 - β₁, β₂, 1 - β₂
    float momentum, eps;
    float limit;    // clipping by value, or 0
    u32 is_nesterov;
};

// Each optimizer: the number of its states, and the step of one number.
struct Sgd {
    static constexpr int N = 1;
    static DEVICE void step(float& p, float g, float (&s)[3], const Rates& r, const Constants& c) {
        g += r.decay * p;
        s[0] = c.momentum * s[0] + r.taken * g;
        p -= r.lr * (c.is_nesterov ? g + c.momentum * s[0] : s[0]);
    }
};

struct Adam {
    static constexpr int N = 2;
    static DEVICE void step(float& p, float g, float (&s)[3], const Rates& r, const Constants& c) {
        g += r.decay * p;
        s[0] = c.keep1 * s[0] + c.take1 * g;
        s[1] = c.keep2 * s[1] + c.take2 * g * g;
        p = r.kept * p - r.size * s[0] / (sqrtf(s[1]) / r.root + c.eps);
    }
};

struct Lion {
    static constexpr int N = 1;
    static DEVICE void step(float& p, float g, float (&s)[3], const Rates& r, const Constants& c) {
        float along = c.keep1 * s[0] + c.take1 * g;
        float sign = along > 0.0f ? 1.0f : along < 0.0f ? -1.0f : along; // A NaN stays.
        p = r.kept * p - r.lr * sign;
        s[0] = c.keep2 * s[0] + c.take2 * g;
    }
};

struct RmsProp {
    static constexpr int N = 2;
    static DEVICE void step(float& p, float g, float (&s)[3], const Rates& r, const Constants& c) {
        g += r.decay * p;
        s[0] += c.take2 * (g * g - s[0]);
        s[1] = c.momentum * s[1] + r.lr * g / sqrtf(s[0] + c.eps);
        p -= s[1];
    }
};

// m, v and the direction u; the parameter stays.
struct LambDirection {
    static constexpr int N = 3;
    static DEVICE void step(float& p, float g, float (&s)[3], const Rates& r, const Constants& c) {
        s[0] = c.keep1 * s[0] + c.take1 * g;
        s[1] = c.keep2 * s[1] + c.take2 * g * g;
        s[2] = s[0] / r.first / (sqrtf(s[1]) / r.root + c.eps) + r.decay * p;
    }
};

struct Tables {
    const Parameter* parameters;
    const Turn* turns;
    const Chunk* chunks;
    const Rates* rates;
    const Control* control;
};

// The part of a parameter that this block works on; `n` is 0 where there is nothing to do.
struct Part {
    u32 parameter;
    u64 from;
    u32 n;
};

DEVICE Part part(const Tables& it) {
    Chunk chunk = it.chunks[blockIdx.x];
    u32 len = it.parameters[chunk.parameter].len, from = chunk.idx * CHUNK;
    bool is_idle = it.control->is_skipped || !it.turns[chunk.parameter].grad;
    return {chunk.parameter, from, is_idle ? 0 : min(CHUNK, len - from)};
}

// Calls `use(p, s)` for each number of the part after the step, and writes the states, and the parameter where WRITES.
template <class Rule, bool WRITES, class Use>
DEVICE void step(const Tables& it, const Constants& constants, const Part& at, Use use) {
    // All of the tables is read before the first store, which might change them as far as the compiler knows.
    const Parameter& parameter = it.parameters[at.parameter];
    const void* grad = it.turns[at.parameter].grad;
    void* copy = parameter.copy;
    u32 grad_stored = it.turns[at.parameter].stored, copy_stored = parameter.copy_stored;
    const Rates rates = it.rates[at.parameter];
    float unscale = it.control->unscale, factor = it.control->factor * it.control->share;
    float* master = parameter.master + at.from;
    float* state[Rule::N];
#pragma unroll
    for (int k = 0; k < Rule::N; ++k) state[k] = parameter.state[k] + at.from;
    for (u32 first = threadIdx.x * 4; first < at.n; first += THREADS * 4) {
        int n = int(at.n) - int(first);
        Four g = load4_stored(grad, grad_stored, at.from + first, n);
        Four p = load4(master + first, n), s[Rule::N];
#pragma unroll
        for (int k = 0; k < Rule::N; ++k) s[k] = load4(state[k] + first, n);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            float one[3] = {};
#pragma unroll
            for (int k = 0; k < Rule::N; ++k) one[k] = s[k].x[i];
            float before = p.x[i];
            Rule::step(p.x[i], unscaled(g.x[i], unscale, constants.limit) * factor, one, rates, constants);
#pragma unroll
            for (int k = 0; k < Rule::N; ++k) s[k].x[i] = one[k];
            if (i < n) use(before, one);
        }
#pragma unroll
        for (int k = 0; k < Rule::N; ++k) store4(state[k] + first, s[k], n);
        if (WRITES) {
            store4(master + first, p, n);
            if (copy) store4_stored(copy, copy_stored, at.from + first, p, n);
        }
    }
}

#define OPTIMIZER(name, Rule)                                                                               \
    extern "C" __global__ void __launch_bounds__(256) name(Tables tables, Constants constants) {           \
        step<Rule, true>(tables, constants, part(tables), [](float, const float (&)[3]) {});               \
    }

OPTIMIZER(sgd, Sgd)
OPTIMIZER(adam, Adam)
OPTIMIZER(lion, Lion)
OPTIMIZER(rmsprop, RmsProp)

// LAMB's first pass: m, v and u, and of each chunk the sums of p² and u².
// - `sums`: [n_chunks][2].
extern "C" __global__ void __launch_bounds__(256, 4)
lamb_direction(Tables tables, Constants constants, double* sums) {
    __shared__ double parts[32];
    double of_weights = 0.0, of_step = 0.0;
    step<LambDirection, false>(tables, constants, part(tables), [&](float p, const float (&s)[3]) {
        of_weights += double(p) * double(p);
        of_step += double(s[2]) * double(s[2]);
    });
    of_weights = block_sum(of_weights, parts);
    of_step = block_sum(of_step, parts);
    if (threadIdx.x == 0) {
        sums[2 * u64(blockIdx.x)] = of_weights;
        sums[2 * u64(blockIdx.x) + 1] = of_step;
    }
}

// LAMB's step size, lr times the trust ratio, by a warp for each parameter.
extern "C" __global__ void __launch_bounds__(32)
lamb_trust(const Parameter* parameters, const Turn* turns, Rates* rates, const double* sums) {
    u32 idx = blockIdx.x;
    const Parameter& it = parameters[idx];
    double of_weights = 0.0, of_step = 0.0;
    u32 n_chunks = (it.len + CHUNK - 1) / CHUNK;
    for (u32 chunk = threadIdx.x; chunk < n_chunks; chunk += 32) {
        of_weights += sums[2 * u64(it.first_chunk + chunk)];
        of_step += sums[2 * u64(it.first_chunk + chunk) + 1];
    }
    of_weights = sqrt(warp_sum(of_weights));
    of_step = sqrt(warp_sum(of_step));
    if (threadIdx.x == 0) {
        bool is_scaled = rates[idx].decay != 0.0f && of_weights > 0.0 && of_step > 0.0;
        rates[idx].size = float(turns[idx].lr * (is_scaled ? of_weights / of_step : 1.0));
    }
}

// LAMB's second pass.
extern "C" __global__ void __launch_bounds__(256) lamb_step(Tables tables) {
    Part at = part(tables);
    const Parameter parameter = tables.parameters[at.parameter];
    float size = tables.rates[at.parameter].size;
    for (u32 first = threadIdx.x * 4; first < at.n; first += THREADS * 4) {
        int n = int(at.n) - int(first);
        u64 from = at.from + first;
        Four p = load4(parameter.master + from, n), u = load4(parameter.state[2] + from, n);
#pragma unroll
        for (int i = 0; i < 4; ++i) p.x[i] -= size * u.x[i];
        store4(parameter.master + from, p, n);
        if (parameter.copy) store4_stored(parameter.copy, parameter.copy_stored, from, p, n);
    }
}

// average += share·(weights - average), for pairs of tensors; a share of 1 copies.
// - `pairs`: `master` is the average, `copy` its copy, `state[0]` the weights.
extern "C" __global__ void __launch_bounds__(256) average(const Parameter* pairs, const Chunk* chunks, float share) {
    Chunk chunk = chunks[blockIdx.x];
    const Parameter pair = pairs[chunk.parameter];
    u64 from = u64(chunk.idx) * CHUNK;
    u32 len = min(CHUNK, pair.len - u32(from));
    for (u32 first = threadIdx.x * 4; first < len; first += THREADS * 4) {
        int n = int(len) - int(first);
        u64 at = from + first;
        Four theirs = load4(pair.state[0] + at, n);
        if (share != 1.0f) {
            Four ours = load4(pair.master + at, n);
#pragma unroll
            for (int i = 0; i < 4; ++i) theirs.x[i] = ours.x[i] + share * (theirs.x[i] - ours.x[i]);
        }
        store4(pair.master + at, theirs, n);
        if (pair.copy) store4_stored(pair.copy, pair.copy_stored, at, theirs, n);
    }
}
