// torch.optim.Adam, one step over many tensors. Follows a storage prelude (storage_vec4.wgsl or storage_scalar.wgsl).
//
// Kingma and Ba, "Adam: A Method for Stochastic Optimization" (2015), Algorithm 1, in torch's order and with torch's
// epsilon, which is added after the bias correction; decoupled decay after Loshchilov and Hutter (2019); AMSGrad after
// Reddi et al. (2018), with the maximum taken before the bias correction, as in torch's code. At step t, for gradient
// g:
//
//     exp_avg        m = beta1 m + (1 - beta1) g
//     exp_avg_sq     v = beta2 v + (1 - beta2) g^2
//     max_exp_avg_sq u = max(u, v) with amsgrad, else v
//     param          p = p - lr / (1 - beta1^t) * m / (sqrt(u) / sqrt(1 - beta2^t) + eps)
//
// The shader multiplies numerator and denominator of the last line by sqrt(1 - beta2^t), which leaves one square root
// and one division. The host computes everything that depends on t alone in f64 and rounds it once: see Hyper.
// Decoupled decay is subtracted from p together with the update. As a factor of p, 1 - lr weight_decay, it would lose
// most of its digits in f32.

override WORKGROUP_SIZE: u32 = 256u;           // a multiple of TILE_INVOCATIONS
override GRID_WIDTH: u32 = 16384u;             // workgroups in a row of a grid that is folded
override QUADS_LOG2: u32 = 0u;                 // log2 of the quads that an invocation steps: 0, 1 or 2 for 1, 2 or 4
override TILED: bool = false;                  // one tile record per TILE_INVOCATIONS; else one run per dispatch
override NEIGHBOURS: bool = false;             // tiled: an invocation's quads are adjacent; else TILE_INVOCATIONS apart
override AT_START: bool = false;               // flat: the run begins at the start of its bindings and its window
override AMSGRAD: bool = false;                // keep and use max_exp_avg_sq
override DECOUPLED_WEIGHT_DECAY: bool = false; // AdamW's decay; else L2
override GRADIENT_CONTROL: bool = false;       // apply `grad_scale` of Hyper, and SKIP
override CLIP_VALUE: bool = false;             // apply `clip_value` of Hyper
// Gradients lie in the parameters' buffer and are read through its binding, because one dispatch cannot bind a buffer
// for writing and for reading.
override GRAD_IN_PARAM_BUFFER: bool = false;

const SKIP: u32 = 1u;                          // flags of Hyper: with GRADIENT_CONTROL, change nothing
const EXP_AVG_BETA: u32 = 2u;                  // exp_avg_weight is beta1
const EXP_AVG_SQ_BETA: u32 = 4u;               // exp_avg_sq_weight is beta2

// A tile is 64 quads.
override TILE_INVOCATIONS_LOG2: u32 = 6u - QUADS_LOG2;

// The numbers of one class of parameters for one step, rounded once from f64.
struct Hyper {
    exp_avg_weight: f32,        // the smaller of 1 - beta1 and beta1; negative with `maximize`
    exp_avg_sq_weight: f32,     // the smaller of 1 - beta2 and beta2
    step_size: f32,             // lr sqrt(1 - beta2^t) / (1 - beta1^t)
    denom_eps: f32,             // eps sqrt(1 - beta2^t)
    weight_decay: f32,          // L2: the factor of p added to g, negative with `maximize`; decoupled: lr weight_decay
    grad_scale: f32,            // with GRADIENT_CONTROL: the factor of the gradients
    clip_value: f32,            // with CLIP_VALUE: the largest magnitude of a scaled gradient
    flags: u32,
}

// One dispatch. Offsets are in elements from the start of their binding.
struct Frame {
    param: u32,                 // flat: offset of the run's parameters
    grad: u32,                  // flat: offset of its gradients
    moment: u32,                // flat: offset of its exp_avg
    length: u32,                // flat: number of elements; tiled: number of tile records
    first_tile: u32,            // tiled: the first record
    plane: u32,                 // from an element's exp_avg to its exp_avg_sq, and from there to its max_exp_avg_sq
    first_partial: u32,         // gradient_norm.wgsl: index of the run's first partial result
}

// Part of a run, at most 256 elements, for TILE_INVOCATIONS invocations.
struct Tile {
    param: u32,
    grad: u32,
    moment: u32,
    length_hyper: u32,          // low half: number of elements; high half: index of the hyper block
}

@group(1) @binding(0) var<storage, read> tiles: array<Tile>;
@group(1) @binding(1) var<uniform> frame: Frame;
// Tile records hold the index of their block; a flat dispatch reads the first one.
@group(2) @binding(0) var<uniform> hypers: array<Hyper, 512>;

struct Element {
    param: vec4<f32>,
    exp_avg: vec4<f32>,
    exp_avg_sq: vec4<f32>,
    max_exp_avg_sq: vec4<f32>,
}

// The new running average of `average` and x is kept average + (added x - dropped average).
struct Weights {
    kept: f32,
    dropped: f32,
    added: f32,
}

// The host sends the smaller of beta and 1 - beta: its rounding error is at most 2^-24 of itself. For beta above 1/2
// the average is average + (weight x - weight average): the change is small, so its rounding error is small too, and
// the factors sum to exactly 1, which f32(0.999) and f32(0.001) do not. Below 1/2 that form would cancel, so there it
// is beta average + weight x. The selects also keep compilers from factoring: Mesa factors when it knows that the first
// factor is 1, and then the result rounds differently.
fn weights(smaller: f32, is_beta: bool) -> Weights {
    return Weights(select(1.0, smaller, is_beta), select(smaller, 0.0, is_beta), select(smaller, 1.0 - smaller, is_beta));
}

// `x` with the sign bit of `sign`. Works on bits, because in arithmetic a compiler may drop the sign of a zero.
fn with_sign(x: f32, sign: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(x) | (bitcast<u32>(sign) & 0x80000000u));
}

// The maximum of two numbers that are not negative; NaN if either is NaN. Compares bits, which sort as the numbers do
// and put NaN last. WGSL's max may drop a NaN.
fn max_or_nan(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(max(bitcast<vec4<u32>>(a), bitcast<vec4<u32>>(b)));
}

// `x` clamped to magnitudes of at most `most`; NaN stays NaN. Works on bits, because WGSL's clamp may drop a NaN.
fn clip(x: vec4<f32>, most: f32) -> vec4<f32> {
    let bits = bitcast<vec4<u32>>(x);
    let magnitude = bits & vec4<u32>(0x7fffffffu);
    let clipped = vec4<u32>(bitcast<u32>(most)) | (bits & vec4<u32>(0x80000000u));
    let over = (magnitude > vec4<u32>(bitcast<u32>(most))) & (magnitude <= vec4<u32>(0x7f800000u));
    return bitcast<vec4<f32>>(select(bits, clipped, over));
}

// The parameter minus its update and minus its decoupled decay, `factor` times the parameter. Three cases multiply by 1
// - factor instead of subtracting: an infinite parameter, as in torch, since infinity minus infinity would be NaN
// (detected by its bits); a factor above 1/2, where subtracting would cancel; and a factor of 0, so that the bits equal
// those of a step of Adam.
fn decay(param: vec4<f32>, update: vec4<f32>, factor: f32) -> vec4<f32> {
    let magnitude = bitcast<vec4<u32>>(param) & vec4<u32>(0x7fffffffu);
    let multiplied = (magnitude == vec4<u32>(0x7f800000u)) | vec4<bool>(factor == 0.0 || factor > 0.5);
    return select(param - (update + factor * param), (1.0 - factor) * param - update, multiplied);
}

// One step of four elements. Pure: works on registers, touches no binding.
fn adam_update(old: Element, stored_grad: vec4<f32>, hyper: Hyper) -> Element {
    var next: Element;
    // With `maximize` the negated gradient is averaged: exp_avg_weight carries the sign, and squaring removes it.
    var grad = stored_grad;
    if (GRADIENT_CONTROL) {
        grad = hyper.grad_scale * grad;
    }
    if (CLIP_VALUE) {
        grad = clip(grad, hyper.clip_value);
    }
    if (!DECOUPLED_WEIGHT_DECAY) {
        // Without decay this adds 0 times 0, by masking the parameter: 0 times an infinite parameter would make the
        // moments NaN.
        let decaying = vec4<u32>(select(0u, 0xffffffffu, hyper.weight_decay != 0.0));
        grad += hyper.weight_decay * bitcast<vec4<f32>>(bitcast<vec4<u32>>(old.param) & decaying);
    }
    let first = weights(abs(hyper.exp_avg_weight), (hyper.flags & EXP_AVG_BETA) != 0u);
    let added = with_sign(first.added, hyper.exp_avg_weight) * grad;
    next.exp_avg = first.kept * old.exp_avg + (added - first.dropped * old.exp_avg);
    // Multiplies from left to right, so that a gradient of 1e20 does not overflow.
    let second = weights(hyper.exp_avg_sq_weight, (hyper.flags & EXP_AVG_SQ_BETA) != 0u);
    let square = (second.added * grad) * grad;
    // An infinite average stays infinite, as in torch, and the parameter no longer moves. Subtracting would give
    // infinity minus infinity, NaN. Detected by bits, because compilers may assume that no number is infinite.
    let is_infinite = bitcast<vec4<u32>>(old.exp_avg_sq) == vec4<u32>(0x7f800000u);
    let dropped = select(second.dropped * old.exp_avg_sq, vec4<f32>(), is_infinite);
    next.exp_avg_sq = second.kept * old.exp_avg_sq + (square - dropped);
    var largest = next.exp_avg_sq;
    if (AMSGRAD) {
        largest = max_or_nan(old.max_exp_avg_sq, next.exp_avg_sq);
    }
    next.max_exp_avg_sq = largest;
    let update = hyper.step_size * (next.exp_avg / (sqrt(largest) + hyper.denom_eps));
    if (DECOUPLED_WEIGHT_DECAY) {
        next.param = decay(old.param, update, hyper.weight_decay);
    } else {
        next.param = old.param - update;
    }
    return next;
}

// Offsets and length of a run or of a part of one.
struct Run {
    param: u32,
    grad: u32,
    moment: u32,
    length: u32,
}

fn load_grad_or_param(at: u32, left: u32) -> vec4<f32> {
    if (GRAD_IN_PARAM_BUFFER) {
        return load_param(at, left);
    }
    return load_grad(at, left);
}

// Steps quad `quad` of a run, if the run has it. Everything conditional is inside `if`: after a return, software
// adapters mask every instruction.
fn step_quad(run: Run, quad: u32, hyper: Hyper) {
    if (4u * quad < run.length) {
        let left = run.length - 4u * quad;
        let param_at = word(run.param, quad);
        let exp_avg_at = word(run.moment, quad);
        let exp_avg_sq_at = word(run.moment + frame.plane, quad);
        let max_exp_avg_sq_at = word(run.moment + 2u * frame.plane, quad);
        // Load the parameter last: it is needed last, which keeps registers free.
        var old: Element;
        let grad = load_grad_or_param(word(run.grad, quad), left);
        old.exp_avg = load_moment(exp_avg_at, left);
        old.exp_avg_sq = load_moment(exp_avg_sq_at, left);
        if (AMSGRAD) {
            old.max_exp_avg_sq = load_moment(max_exp_avg_sq_at, left);
        }
        old.param = load_param(param_at, left);
        let next = adam_update(old, grad, hyper);
        store_moment(exp_avg_at, left, next.exp_avg);
        store_moment(exp_avg_sq_at, left, next.exp_avg_sq);
        if (AMSGRAD) {
            store_moment(max_exp_avg_sq_at, left, next.max_exp_avg_sq);
        }
        store_param(param_at, left, next.param);
    }
}

// Steps an invocation's quads: `first` and those that follow at a distance of `apart`.
fn step_quads(run: Run, first: u32, apart: u32, hyper: Hyper) {
    var wanted = run;
    if (GRADIENT_CONTROL) {
        wanted.length = select(0u, run.length, (hyper.flags & SKIP) == 0u);
    }
    step_quad(wanted, first, hyper);
    if (QUADS_LOG2 > 0u) {
        step_quad(wanted, first + apart, hyper);
    }
    if (QUADS_LOG2 > 1u) {
        step_quad(wanted, first + 2u * apart, hyper);
        step_quad(wanted, first + 3u * apart, hyper);
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn adam(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(local_invocation_index) local_index: u32) {
    let invocation = (workgroup_id.y * GRID_WIDTH + workgroup_id.x) * WORKGROUP_SIZE + local_index;
    if (TILED) {
        let record = invocation >> TILE_INVOCATIONS_LOG2;
        // A folded grid has workgroups past the last record, and a read past the end may be clamped to the last one.
        if (record < frame.length) {
            let tile = tiles[frame.first_tile + record];
            let run = Run(tile.param, tile.grad, tile.moment, tile.length_hyper & 0xffffu);
            let tile_invocations = 1u << TILE_INVOCATIONS_LOG2;
            let lane = invocation & (tile_invocations - 1u);
            let hyper = hypers[tile.length_hyper >> 16u];
            if (NEIGHBOURS) {
                step_quads(run, lane << QUADS_LOG2, 1u, hyper);
            } else {
                step_quads(run, lane, tile_invocations, hyper);
            }
        }
    } else {
        var run = Run(0u, 0u, 0u, frame.length);
        if (!AT_START) {
            run = Run(frame.param, frame.grad, frame.moment, frame.length);
        }
        // A constant index: software adapters gather, unless they can prove that a value is the same for all
        // invocations.
        step_quads(run, invocation << QUADS_LOG2, 1u, hypers[0]);
    }
}
