// Optimizing by rows, the numbers of a weight that belong to one output of a layer: adaptive gradient clipping and
// AdamP.
//
// Adaptive clipping: a row with weights w and gradient g where ‖g‖ > most = clip_factor·max(‖w‖, ε) becomes
// g·most / ‖g‖. Brock et al., "High-Performance Large-Scale Image Recognition Without Normalization", 2021,
// <https://arxiv.org/abs/2102.06171>.
//
// AdamP: with Adam's direction u, p = kept·p - size·(u - out·p), where out = (p·u) / ‖p‖² projects the part of the
// step along the weights away if |cos(g, p)| < δ / √d in every row of d numbers, or else in the whole weight. Heo et
// al., "AdamP", 2021, <https://arxiv.org/abs/2006.08217>.
//
// As on the CPU (`trainer::{clip::adaptive, optim::adamp}`), sums are in f64. A row is summed by one warp, or where
// rows are interleaved by one thread, always in the same order.
#include "update.cuh"

// The row of this thread, and which of its numbers it has: `from + i·step` for i = first, first + stride, … below n.
// Of rows beyond the last, none.
struct Row {
    u32 parameter;
    u32 row; // among those of all parameters
    u32 from, step, first, stride, n;
    bool is_there;
    bool is_writer;    // whether this thread writes what is known of the row
    bool has_a_thread; // rather than a warp
};

DEVICE Row row(const Parameter* parameters, const Rows* blocks) {
    Rows block = blocks[blockIdx.x];
    const Parameter& it = parameters[block.parameter];
    u32 len = it.len / it.n_rows, lane = threadIdx.x % 32;
    Row at;
    at.parameter = block.parameter;
    at.has_a_thread = it.is_last_axis;
    u32 row = block.first + (it.is_last_axis ? threadIdx.x : threadIdx.x / 32);
    at.is_there = row < it.n_rows;
    at.row = it.first_row + row;
    at.from = it.is_last_axis ? row : row * len;
    at.step = it.is_last_axis ? it.n_rows : 1;
    at.first = it.is_last_axis ? 0 : lane;
    at.stride = it.is_last_axis ? 1 : 32;
    at.n = at.is_there ? len : 0;
    at.is_writer = at.is_there && (it.is_last_axis || lane == 0);
    return at;
}

DEVICE double row_sum(const Row& at, double x) { return at.has_a_thread ? x : warp_sum(x); }

// Clips gradients in place, as they are stored.
// - `blocks`: of the parameters to clip.
extern "C" __global__ void __launch_bounds__(256)
clip_rows(const Parameter* parameters, const Turn* turns, const Rows* blocks, const Control* control,
          double clip_factor, double eps) {
    Row at = row(parameters, blocks);
    const Turn turn = turns[at.parameter];
    if (!turn.grad) return;
    const float* weights = parameters[at.parameter].master;
    void* grad = const_cast<void*>(turn.grad);
    float unscale = 1.0f / control->scale;
    double of_weights = 0.0, of_grad = 0.0;
    for (u32 i = at.first; i < at.n; i += at.stride) {
        u64 idx = at.from + i * at.step;
        double w = weights[idx], g = load_stored(grad, turn.stored, idx) * unscale;
        of_weights += w * w;
        of_grad += g * g;
    }
    of_weights = sqrt(row_sum(at, of_weights));
    of_grad = sqrt(row_sum(at, of_grad));
    double most = clip_factor * fmax(of_weights, eps);
    if (of_grad < most) return;
    float factor = float(most / fmax(of_grad, 1e-6));
    for (u32 i = at.first; i < at.n; i += at.stride) {
        u64 idx = at.from + i * at.step;
        store_stored(grad, turn.stored, idx, load_stored(grad, turn.stored, idx) * factor);
    }
}

struct AdamP {
    double eps, delta;
    float keep1, take1, keep2, take2; // β₁, 1 - β₁, β₂, 1 - β₂
    float limit;                      // clipping by value, or 0
    u32 is_nesterov;
};

// Of each row: Σ p·g, Σ p², Σ g², Σ p·u.
struct RowSums { double of_both, of_weights, of_grad, of_step; };

DEVICE float along(const AdamP& it, const Rates& rates, float g, float m, float v) {
    if (it.is_nesterov) m = it.keep1 * m + it.take1 * g;
    return m / (sqrtf(v) / rates.root + float(it.eps));
}

// First pass: m, v, and the sums of each row.
extern "C" __global__ void __launch_bounds__(256)
adamp_direction(const Parameter* parameters, const Turn* turns, const Rows* blocks, const Rates* all_rates,
                const Control* control, RowSums* sums, AdamP it) {
    Row at = row(parameters, blocks);
    const Parameter parameter = parameters[at.parameter];
    const Turn turn = turns[at.parameter];
    if (!turn.grad || control->is_skipped) return;
    Rates rates = all_rates[at.parameter];
    float unscale = control->unscale, factor = control->factor;
    float *ms = parameter.state[0], *vs = parameter.state[1];
    RowSums sum = {};
    for (u32 i = at.first; i < at.n; i += at.stride) {
        u64 idx = at.from + i * at.step;
        float p = parameter.master[idx];
        float g = unscaled(load_stored(turn.grad, turn.stored, idx), unscale, it.limit) * factor;
        float m = it.keep1 * ms[idx] + it.take1 * g, v = it.keep2 * vs[idx] + it.take2 * g * g;
        ms[idx] = m;
        vs[idx] = v;
        double weight = p, grad = g;
        sum.of_both += weight * grad;
        sum.of_weights += weight * weight;
        sum.of_grad += grad * grad;
        sum.of_step += weight * double(along(it, rates, g, m, v));
    }
    sum.of_both = row_sum(at, sum.of_both);
    sum.of_weights = row_sum(at, sum.of_weights);
    sum.of_grad = row_sum(at, sum.of_grad);
    sum.of_step = row_sum(at, sum.of_step);
    if (at.is_writer) sums[at.row] = sum;
}

DEVICE double warp_max(double x) {
#pragma unroll
    for (int apart = 16; apart; apart /= 2) {
        u64 bits = u64(__double_as_longlong(x));
        u32 low = __shfl_xor_sync(0xffffffffu, u32(bits), apart);
        u32 high = __shfl_xor_sync(0xffffffffu, u32(bits >> 32), apart);
        x = fmax(x, __longlong_as_double(i64(u64(high) << 32 | low)));
    }
    return x;
}

DEVICE double cosine(const RowSums& it, double eps) {
    return fabs(it.of_both / (fmax(sqrt(it.of_weights), eps) * fmax(sqrt(it.of_grad), eps)));
}
DEVICE float outward(const RowSums& it, double eps) {
    double norm = sqrt(it.of_weights) + eps;
    return float(it.of_step / norm / norm);
}

// Between the passes, a warp for each parameter: by which factor of a row's weights the step is projected.
// - `outs`: [n_rows]; 0 where it is not.
// - `projected`: [n_parameters], 1 or 0.
extern "C" __global__ void __launch_bounds__(32)
adamp_decide(const Parameter* parameters, const Turn* turns, const Control* control, const RowSums* sums, float* outs,
             u32* projected, AdamP it) {
    const Parameter& parameter = parameters[blockIdx.x];
    if (!turns[blockIdx.x].grad || control->is_skipped) return;
    sums += parameter.first_row;
    outs += parameter.first_row;
    u32 n = parameter.is_matrix ? parameter.n_rows : 0;
    double most = 0.0;
    RowSums whole = {};
    for (u32 i = threadIdx.x; i < n; i += 32) {
        RowSums row = sums[i];
        most = fmax(most, cosine(row, it.eps));
        whole.of_both += row.of_both;
        whole.of_weights += row.of_weights;
        whole.of_grad += row.of_grad;
        whole.of_step += row.of_step;
    }
    most = warp_max(most);
    whole = {warp_sum(whole.of_both), warp_sum(whole.of_weights), warp_sum(whole.of_grad), warp_sum(whole.of_step)};
    bool by_rows = n > 0 && most < it.delta / sqrt(double(parameter.len / parameter.n_rows));
    bool as_whole = n > 0 && !by_rows && cosine(whole, it.eps) < it.delta / sqrt(double(parameter.len));
    for (u32 i = threadIdx.x; i < parameter.n_rows; i += 32)
        outs[i] = by_rows ? outward(sums[i], it.eps) : as_whole ? outward(whole, it.eps) : 0.0f;
    if (threadIdx.x == 0) projected[blockIdx.x] = by_rows || as_whole;
}

// Second pass.
extern "C" __global__ void __launch_bounds__(256)
adamp_step(const Parameter* parameters, const Turn* turns, const Rows* blocks, const Rates* all_rates,
           const Control* control, const float* outs, const u32* projected, AdamP it) {
    Row at = row(parameters, blocks);
    const Parameter parameter = parameters[at.parameter];
    const Turn turn = turns[at.parameter];
    if (!turn.grad || control->is_skipped || !at.is_there) return;
    Rates rates = all_rates[at.parameter];
    float unscale = control->unscale, factor = control->factor;
    float kept = projected[at.parameter] ? rates.kept_less : rates.kept, out = outs[at.row];
    for (u32 i = at.first; i < at.n; i += at.stride) {
        u64 idx = at.from + i * at.step;
        float p = parameter.master[idx];
        float g = unscaled(load_stored(turn.grad, turn.stored, idx), unscale, it.limit) * factor;
        float u = along(it, rates, g, parameter.state[0][idx], parameter.state[1][idx]);
        p = kept * p - rates.size * (u - out * p);
        parameter.master[idx] = p;
        if (parameter.copy) store_stored(parameter.copy, parameter.copy_stored, idx, p);
    }
}
