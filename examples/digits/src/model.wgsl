// The classifier 64-128-10: ReLU between its two layers, softmax cross-entropy after them. Tensors are stored by rows
// as in torch: a weight is [outputs, inputs], an activation [batch, features].

const PIXELS: u32 = 64;
const HIDDEN: u32 = 128;
const CLASSES: u32 = 10;
// A digit is its pixels and, in the last column, its class.
const COLUMNS: u32 = PIXELS + 1;
const LARGEST_BATCH: u32 = 64;

// The digits of a dispatch: a batch, or a micro-batch of one.
struct Batch {
    first: u32,
    size: u32,
    loss_slot: u32,
    // 1 if micro-batches of the same step came before: sums continue from theirs.
    goes_on: u32,
    // The divisor of the gradient of a digit's loss.
    gradient_divisor: f32,
    // The divisor of the sum of losses: 1 until the last micro-batch.
    loss_divisor: f32,
    padding: vec2<u32>,
}

@group(0) @binding(0) var<uniform> batch: Batch;
// x is the factor of the loss in the backward pass: wgpu-adam's buffer, or 1.
@group(0) @binding(1) var<uniform> loss_scale: vec4<f32>;

@group(1) @binding(0) var<storage, read> digits: array<f32>;
@group(1) @binding(1) var<storage, read> rows: array<u32>;

@group(1) @binding(2) var<storage, read> fc1_weight: array<f32>;
@group(1) @binding(3) var<storage, read> fc1_bias: array<f32>;
@group(1) @binding(4) var<storage, read> fc2_weight: array<f32>;
@group(1) @binding(5) var<storage, read> fc2_bias: array<f32>;

@group(1) @binding(6) var<storage, read_write> inputs: array<f32>;
@group(1) @binding(7) var<storage, read_write> hidden: array<f32>;
@group(1) @binding(8) var<storage, read_write> logits: array<f32>;
@group(1) @binding(9) var<storage, read_write> losses: array<f32>;

@group(1) @binding(10) var<storage, read_write> logits_grad: array<f32>;
@group(1) @binding(11) var<storage, read_write> hidden_grad: array<f32>;
@group(1) @binding(12) var<storage, read_write> fc1_weight_grad: array<f32>;
@group(1) @binding(13) var<storage, read_write> fc1_bias_grad: array<f32>;
@group(1) @binding(14) var<storage, read_write> fc2_weight_grad: array<f32>;
@group(1) @binding(15) var<storage, read_write> fc2_bias_grad: array<f32>;

// inputs = digits[rows of the batch]; a thread copies one column of one digit.
@compute @workgroup_size(64)
fn select_rows(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= batch.size * COLUMNS {
        return;
    }
    let sample = id.x / COLUMNS;
    let column = id.x % COLUMNS;
    inputs[id.x] = digits[rows[batch.first + sample] * COLUMNS + column];
}

// hidden = relu(inputs @ fc1_weight.T + fc1_bias); a thread computes one unit for one digit.
@compute @workgroup_size(64)
fn fc1_forward(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= batch.size * HIDDEN {
        return;
    }
    let sample = id.x / HIDDEN;
    let unit = id.x % HIDDEN;
    var sum = fc1_bias[unit];
    for (var pixel = 0u; pixel < PIXELS; pixel++) {
        sum += fc1_weight[unit * PIXELS + pixel] * inputs[sample * COLUMNS + pixel];
    }
    hidden[id.x] = max(sum, 0.0);
}

// logits = hidden @ fc2_weight.T + fc2_bias; a thread computes one class for one digit.
@compute @workgroup_size(64)
fn fc2_forward(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= batch.size * CLASSES {
        return;
    }
    let sample = id.x / CLASSES;
    let class_index = id.x % CLASSES;
    var sum = fc2_bias[class_index];
    for (var unit = 0u; unit < HIDDEN; unit++) {
        sum += fc2_weight[class_index * HIDDEN + unit] * hidden[sample * HIDDEN + unit];
    }
    logits[id.x] = sum;
}

var<workgroup> sample_losses: array<f32, LARGEST_BATCH>;

// Softmax cross-entropy, averaged over the batch, and the gradient of the scaled loss; one workgroup, a thread a digit.
@compute @workgroup_size(LARGEST_BATCH)
fn cross_entropy(@builtin(local_invocation_index) sample: u32) {
    if sample < batch.size {
        let label = u32(inputs[sample * COLUMNS + PIXELS]);
        let row = sample * CLASSES;
        // Subtracting the largest logit keeps exponentials from overflowing.
        var largest = logits[row];
        for (var i = 1u; i < CLASSES; i++) {
            largest = max(largest, logits[row + i]);
        }
        var sum = 0.0;
        for (var i = 0u; i < CLASSES; i++) {
            sum += exp(logits[row + i] - largest);
        }
        sample_losses[sample] = log(sum) - (logits[row + label] - largest);
        for (var i = 0u; i < CLASSES; i++) {
            let softmax = exp(logits[row + i] - largest) / sum;
            logits_grad[row + i] = (softmax - f32(i == label)) / batch.gradient_divisor * loss_scale.x;
        }
    }
    workgroupBarrier();
    if sample == 0u {
        var sum = 0.0;
        if batch.goes_on == 1u {
            sum = losses[batch.loss_slot];
        }
        for (var i = 0u; i < batch.size; i++) {
            sum += sample_losses[i];
        }
        losses[batch.loss_slot] = sum / batch.loss_divisor;
    }
}

// Gradients of fc2, summed over the batch. A thread writes one element of the weight's gradient; some threads also
// write one of the bias's.
@compute @workgroup_size(64)
fn fc2_backward(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= CLASSES * HIDDEN {
        return;
    }
    let class_index = id.x / HIDDEN;
    let unit = id.x % HIDDEN;
    var weight_sum = 0.0;
    var bias_sum = 0.0;
    if batch.goes_on == 1u {
        weight_sum = fc2_weight_grad[id.x];
        if unit == 0u {
            bias_sum = fc2_bias_grad[class_index];
        }
    }
    for (var sample = 0u; sample < batch.size; sample++) {
        let output_grad = logits_grad[sample * CLASSES + class_index];
        weight_sum += output_grad * hidden[sample * HIDDEN + unit];
        bias_sum += output_grad;
    }
    fc2_weight_grad[id.x] = weight_sum;
    if unit == 0u {
        fc2_bias_grad[class_index] = bias_sum;
    }
}

// Gradient of the hidden layer before its ReLU; a thread computes one unit for one digit.
@compute @workgroup_size(64)
fn hidden_backward(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= batch.size * HIDDEN {
        return;
    }
    let sample = id.x / HIDDEN;
    let unit = id.x % HIDDEN;
    var sum = 0.0;
    for (var i = 0u; i < CLASSES; i++) {
        sum += logits_grad[sample * CLASSES + i] * fc2_weight[i * HIDDEN + unit];
    }
    hidden_grad[id.x] = select(0.0, sum, hidden[id.x] > 0.0);
}

// Gradients of fc1, summed over the batch. A thread writes one element of the weight's gradient; some threads also
// write one of the bias's.
@compute @workgroup_size(64)
fn fc1_backward(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= HIDDEN * PIXELS {
        return;
    }
    let unit = id.x / PIXELS;
    let pixel = id.x % PIXELS;
    var weight_sum = 0.0;
    var bias_sum = 0.0;
    if batch.goes_on == 1u {
        weight_sum = fc1_weight_grad[id.x];
        if pixel == 0u {
            bias_sum = fc1_bias_grad[unit];
        }
    }
    for (var sample = 0u; sample < batch.size; sample++) {
        let output_grad = hidden_grad[sample * HIDDEN + unit];
        weight_sum += output_grad * inputs[sample * COLUMNS + pixel];
        bias_sum += output_grad;
    }
    fc1_weight_grad[id.x] = weight_sum;
    if pixel == 0u {
        fc1_bias_grad[unit] = bias_sum;
    }
}
