// Before a step: the norm of all gradients and the check that they are finite, the loss scale, and the rates of each
// parameter. Nothing of it is read by the host.
//
// Norm: ‖g‖₂ of all gradients together, summed in f64 in two stages; clipping multiplies by
// min(1, max_norm / (‖g‖ + 1e-6)) (Pascanu et al., 2013, as PyTorch's `clip_grad_norm_`), LAMB by
// min(1, max / ‖g‖).
//
// Loss scale (Micikevicius et al., "Mixed Precision Training", 2018, <https://arxiv.org/abs/1710.03740>, as in
// PyTorch's `GradScaler`): a step with a gradient that is not finite is skipped and the scale multiplied by `backoff`;
// after `interval` good steps in a row it is multiplied by `growth`. Unlike PyTorch's it stays a normal f32.
//
// Rates: the bias corrections 1 - βᵗ in f64, where t counts the steps of the parameter that were not skipped.
#include "update.cuh"

// Of each chunk the sum of g² and whether all g are finite.
// - `limit`: clipping by value, or 0.
extern "C" __global__ void __launch_bounds__(256)
gradient_squares(const Parameter* parameters, const Turn* turns, const Chunk* chunks, const Control* control,
                 Partial* partials, float limit) {
    __shared__ double parts[32];
    Chunk chunk = chunks[blockIdx.x];
    const Turn& turn = turns[chunk.parameter];
    float unscale = 1.0f / control->scale;
    double sum = 0.0;
    bool is_non_finite = false;
    if (turn.grad) {
        u64 from = u64(chunk.idx) * CHUNK;
        u32 len = min(CHUNK, parameters[chunk.parameter].len - u32(from));
        for (u32 first = threadIdx.x * 4; first < len; first += THREADS * 4) {
            int n = int(len) - int(first);
            Four g = load4_stored(turn.grad, turn.stored, from + first, n);
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                is_non_finite |= !is_finite(g.x[i]);
                double x = unscaled(g.x[i], unscale, limit);
                sum += x * x; // Beyond the last it is 0.
            }
        }
    }
    sum = block_sum(sum, parts);
    bool any = block_sum(is_non_finite ? 1.0 : 0.0, parts) > 0.0;
    if (threadIdx.x == 0) partials[blockIdx.x] = {sum, any, 0};
}

struct Plan {
    double beta1, beta2;
    double wd_ratio;
    double max_norm;      // clipping by norm, or 0
    double max_grad_norm; // LAMB's, or 0
    float dampening;
    float growth, backoff;
    u32 interval;
    u32 is_scaled;        // whether there is a loss scale
    u32 is_decoupled;     // whether the weight decay is subtracted from the parameter
    u32 n_parameters, n_chunks;
};

// baseⁿ, as Rust's `powi` computes it.
DEVICE double power(double base, u32 n) {
    double y = 1.0;
    for (;;) {
        if (n & 1) y *= base;
        n >>= 1;
        if (n == 0) return y;
        base *= base;
    }
}

DEVICE void begin(Control& it, double sum, bool is_non_finite, const Plan& plan) {
    it.unscale = 1.0f / it.scale;
    it.norm = sqrt(sum);
    it.is_non_finite = is_non_finite;
    it.is_skipped = plan.is_scaled && is_non_finite;
    double factor = 1.0, share = 1.0;
    if (plan.max_norm > 0.0) {
        double needed = plan.max_norm / (it.norm + 1e-6);
        if (needed < 1.0) factor = needed;
    }
    if (plan.max_grad_norm > 0.0) {
        double needed = plan.max_grad_norm / (it.norm * factor);
        if (needed < 1.0) share = needed;
    }
    it.factor = float(factor);
    it.share = float(share);
    if (!plan.is_scaled) return;
    if (is_non_finite) {
        it.scale = fmaxf(it.scale * plan.backoff, 1.17549435e-38f);
        it.good_steps = 0;
        it.skipped_steps += 1;
    } else if (++it.good_steps >= plan.interval) {
        float larger = it.scale * plan.growth;
        // 1 / scale stays normal as well.
        if (larger <= 8.5e37f) it.scale = larger;
        it.good_steps = 0;
    }
}

// One block. `partials` may be null: then neither the norm nor whether the gradients are finite is known.
// - `counts`: [n_parameters], the steps of each parameter.
extern "C" __global__ void __launch_bounds__(256)
begin_step(const Partial* partials, const Turn* turns, u32* counts, Rates* rates, Control* control, Plan plan) {
    __shared__ double parts[32];
    __shared__ u32 is_skipped;
    double sum = 0.0;
    bool is_non_finite = false;
    if (partials) {
        for (u32 i = threadIdx.x; i < plan.n_chunks; i += THREADS) {
            sum += partials[i].sum;
            is_non_finite |= partials[i].is_non_finite != 0;
        }
    }
    sum = block_sum(sum, parts);
    bool any = block_sum(is_non_finite ? 1.0 : 0.0, parts) > 0.0;
    if (threadIdx.x == 0) {
        begin(*control, sum, any, plan);
        is_skipped = control->is_skipped;
    }
    __syncthreads();
    if (is_skipped) return;
    for (u32 i = threadIdx.x; i < plan.n_parameters; i += THREADS) {
        if (!turns[i].grad) continue;
        double lr = turns[i].lr, decay = turns[i].decay;
        u32 n = ++counts[i];
        double first = 1.0 - power(plan.beta1, n), root = sqrt(1.0 - power(plan.beta2, n));
        double decoupled = plan.is_decoupled ? decay : 0.0;
        Rates it;
        it.lr = float(lr);
        it.decay = plan.is_decoupled ? 0.0f : float(decay);
        it.kept = float(1.0 - lr * decoupled);
        it.kept_less = float(1.0 - lr * decoupled * plan.wd_ratio);
        it.size = float(lr / first);
        it.first = float(first);
        it.root = float(root);
        it.taken = n == 1 ? 1.0f : 1.0f - plan.dampening;
        rates[i] = it;
    }
}
