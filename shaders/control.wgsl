// Decides, between backward and step, the factor of the gradients and whether the step is skipped, and writes the
// step's hyper blocks. One workgroup; follows bias_correction.wgsl. The host learns the decision only later.
//
// Clipping is torch's clip_grad_norm_; the loss scale is torch.amp.GradScaler's.

override WORKGROUP_SIZE: u32 = 256u;           // a power of two, at most 256

const SKIP_NONFINITE: u32 = 1u;                // flags: skip the step if a gradient is not finite
const CLIP_NORM: u32 = 2u;                     // scale gradients down to max_norm
const INFINITY_NORM: u32 = 4u;                 // the largest magnitude instead of the root of the sum of squares
const DYNAMIC_SCALE: u32 = 8u;                 // the loss scale grows and backs off
const DEVICE_STEPS: u32 = 16u;                 // steps may have been skipped: correct biases by the steps taken
const FOUND_INF: u32 = 32u;                    // found_inf comes from outside

const SKIP: u32 = 1u;                          // a flag of hyper blocks; their other flags belong to adam.wgsl

const INFINITY: u32 = 0x7f800000u;

// As in adam.wgsl.
struct Hyper {
    exp_avg_weight: f32,
    exp_avg_sq_weight: f32,
    step_size: f32,
    denom_eps: f32,
    weight_decay: f32,
    grad_scale: f32,
    clip_value: f32,
    flags: u32,
}

// A request for one hyper block.
struct ClassRequest {
    hyper: Hyper,               // the block if no step was ever skipped; grad_scale without the clip factor
    beta1: vec2<u32>,           // as a fraction of 2^64
    beta2: vec2<u32>,
    t: u32,                     // recorded steps, including this one
    tensor: u32,                // any tensor of the class: all of them have skipped equally many steps
    block: u32,                 // index among the ledger's blocks
    lr: f32,
    eps: f32,
    least_eps: f32,             // lower bound of the corrected eps, so that it is not flushed to zero
}

// A recorded step.
struct Request {
    flags: u32,
    classes: u32,
    stepping: u32,              // number of tensors that step
    partials: u32,
    first_partial: u32,         // in the ledger, after the numbers of the stepping tensors
    first_block: u32,           // in the ledger, in hyper blocks
    max_norm: f32,
    grad_scale: f32,            // factor of all gradients before the norm is taken, without the loss scale
    growth_factor: f32,
    backoff_factor: f32,
    growth_interval: u32,
    step_low: u32,              // the number of the recorded step
    step_high: u32,
    class_requests: array<ClassRequest>,
}

struct State {
    loss_scale: f32,
    growth_tracker: u32,
    found_inf_outside: u32,     // the bits of an f32, because a comparison with NaN may be true
    found_inf: u32,
    grad_norm: f32,
    clip_factor: f32,
    step_low: u32,
    step_high: u32,
    taken_low: u32,
    taken_high: u32,
    skipped_low: u32,
    skipped_high: u32,
}

// The numbers of the stepping tensors, four per word; partial results of gradient_norm.wgsl; hyper blocks, two words
// each.
@group(0) @binding(0) var<storage, read_write> ledger: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> state: State;
// By tensor number: how many recorded steps the tensor has skipped.
@group(0) @binding(2) var<storage, read_write> skipped: array<u32>;
@group(1) @binding(0) var<storage, read> request: Request;

var<workgroup> squares: array<vec3<f32>, 256>;
var<workgroup> largest: array<u32, 256>;
var<workgroup> grad_scale: f32;
var<workgroup> skip: u32;

// A partial result; zeros past the last one.
fn partial(at: u32) -> vec4<u32> {
    return ledger[request.first_partial + at] & vec4<u32>(select(0u, 0xffffffffu, at < request.partials));
}

// Sums every WORKGROUP_SIZE-th partial result. Sums 32 sums of 32, which keeps the rounding error small. Takes four at
// a time, because each iteration of a loop costs software adapters extra.
fn sum_partials(invocation: u32) {
    var total = vec3<f32>();
    var most = 0u;
    for (var outer = invocation; outer < request.partials; outer += 1024u * WORKGROUP_SIZE) {
        var of_outer = vec3<f32>();
        for (var j = 0u; j < 32u; j += 1u) {
            let middle = outer + j * 32u * WORKGROUP_SIZE;
            if (middle >= request.partials) {
                break;
            }
            var of_middle = vec3<f32>();
            for (var k = 0u; k < 32u; k += 4u) {
                let at = middle + k * WORKGROUP_SIZE;
                if (at >= request.partials) {
                    break;
                }
                let a = partial(at);
                let b = partial(at + WORKGROUP_SIZE);
                let c = partial(at + 2u * WORKGROUP_SIZE);
                let d = partial(at + 3u * WORKGROUP_SIZE);
                of_middle += (bitcast<vec3<f32>>(a.xyz) + bitcast<vec3<f32>>(b.xyz))
                    + (bitcast<vec3<f32>>(c.xyz) + bitcast<vec3<f32>>(d.xyz));
                most = max(most, max(max(a.w, b.w), max(c.w, d.w)));
            }
            of_outer += of_middle;
        }
        total += of_outer;
    }
    squares[invocation] = total;
    largest[invocation] = most;
}

// The root of the sum of squares, times `scale`. Each pair of sums is combined with one constant per sum, and only
// where both count. A compiler would fold two constants in a row into one, which would be 0.
fn root(sums: vec3<f32>, scale: f32) -> f32 {
    let small = sums.x;
    let middling = sums.y;
    let large = sums.z;
    if (large > 0.0) {
        // The small sums are negligible here. The middling ones count only beside a large sum of at most 1.
        if (large > 1.0) {
            return times(sqrt(large), scale, 0x1p80f);
        }
        return times(sqrt(large * 0x1p80f + middling * 0x1p-80f), scale, 0x1p40f);
    }
    if (middling > 0x1p-20f) {
        return sqrt(middling) * scale;
    }
    if (middling > 0.0) {
        return times(sqrt(middling * 0x1p80f + small * 0x1p-80f), scale, 0x1p-40f);
    }
    return times(sqrt(small), scale, 0x1p-80f);
}

// Multiplies without an intermediate overflow.
fn times(number: f32, scale: f32, power: f32) -> f32 {
    return number * (scale * power);
}

fn has(flag: u32) -> bool {
    return (request.flags & flag) != 0u;
}

// Adds 1 to a 64-bit count.
fn count(low: u32, high: u32) -> vec2<u32> {
    return vec2<u32>(low + 1u, high + select(0u, 1u, low == 0xffffffffu));
}

fn decide() {
    var scale = request.grad_scale;
    if (has(DYNAMIC_SCALE)) {
        scale = scale / state.loss_scale;
    }
    let is_finite = largest[0] < INFINITY;
    var norm = bitcast<f32>(largest[0]);
    if (is_finite) {
        if (has(INFINITY_NORM)) {
            norm = norm * scale;
        } else {
            norm = root(squares[0], scale);
        }
    }
    var factor = 1.0;
    if (has(CLIP_NORM)) {
        factor = min(1.0, request.max_norm / (norm + 1e-6));
        // As in torch, a NaN makes all gradients NaN; min may drop it.
        if (largest[0] > INFINITY) {
            factor = norm;
        }
    }
    let found_inf = (has(SKIP_NONFINITE) && !is_finite) || (has(FOUND_INF) && (state.found_inf_outside & 0x7fffffffu) != 0u);
    grad_scale = scale * factor;
    skip = u32(found_inf);
    if (has(DYNAMIC_SCALE)) {
        if (found_inf) {
            state.loss_scale = state.loss_scale * request.backoff_factor;
            state.growth_tracker = 0u;
        } else {
            let tracker = state.growth_tracker + 1u;
            if (tracker >= request.growth_interval) {
                let grown = state.loss_scale * request.growth_factor;
                if ((bitcast<u32>(grown) & 0x7fffffffu) < INFINITY) {
                    state.loss_scale = grown;
                }
                state.growth_tracker = 0u;
            } else {
                state.growth_tracker = tracker;
            }
        }
    }
    state.found_inf = u32(found_inf || !is_finite);
    state.grad_norm = norm;
    state.clip_factor = factor;
    state.step_low = request.step_low;
    state.step_high = request.step_high;
    if (found_inf) {
        let counted = count(state.skipped_low, state.skipped_high);
        state.skipped_low = counted.x;
        state.skipped_high = counted.y;
    } else {
        let counted = count(state.taken_low, state.taken_high);
        state.taken_low = counted.x;
        state.taken_high = counted.y;
    }
}

fn make_block(number: u32) {
    let wanted = request.class_requests[number];
    var hyper = wanted.hyper;
    if (has(DEVICE_STEPS)) {
        // The steps taken. At least 1: the encoder that clears `skipped` for this tensor may never have been submitted.
        let missed = skipped[wanted.tensor];
        let t = max(wanted.t, missed + 1u) - missed;
        let bias_correction1 = one_minus_power(wanted.beta1, t);
        let bias_correction2_sqrt = sqrt(one_minus_power(wanted.beta2, t));
        hyper.step_size = wanted.lr * bias_correction2_sqrt / bias_correction1;
        hyper.denom_eps = max(wanted.eps * bias_correction2_sqrt, wanted.least_eps);
    }
    let at = request.first_block + 2u * wanted.block;
    ledger[at] = bitcast<vec4<u32>>(
        vec4<f32>(hyper.exp_avg_weight, hyper.exp_avg_sq_weight, hyper.step_size, hyper.denom_eps)
    );
    let scale = hyper.grad_scale * grad_scale;
    ledger[at + 1u] =
        vec4<u32>(bitcast<vec3<u32>>(vec3<f32>(hyper.weight_decay, scale, hyper.clip_value)), hyper.flags);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn control(@builtin(local_invocation_index) invocation: u32) {
    sum_partials(invocation);
    workgroupBarrier();
    for (var half = WORKGROUP_SIZE / 2u; half > 0u; half = half / 2u) {
        if (invocation < half) {
            squares[invocation] += squares[invocation + half];
            largest[invocation] = max(largest[invocation], largest[invocation + half]);
        }
        workgroupBarrier();
    }
    if (invocation == 0u) {
        decide();
    }
    workgroupBarrier();
    if (skip == 0u) {
        for (var number = invocation; number < request.classes; number += WORKGROUP_SIZE) {
            make_block(number);
        }
    } else {
        for (var number = invocation; number < request.classes; number += WORKGROUP_SIZE) {
            ledger[request.first_block + 2u * request.class_requests[number].block + 1u].w =
                request.class_requests[number].hyper.flags | SKIP;
        }
        for (var number = invocation; number < request.stepping; number += WORKGROUP_SIZE) {
            skipped[ledger[number >> 2u][number & 3u]] += 1u;
        }
    }
}
