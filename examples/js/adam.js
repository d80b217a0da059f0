// torch.optim.Adam over one tensor, with wgpu-adam's shaders. shaders/README.md explains groups, structs and overrides.

const FLOAT = 4;
const WORKGROUP_SIZE = 256;
// An invocation steps four elements.
const PER_WORKGROUP = 4 * WORKGROUP_SIZE;
const HYPERS = { count: 512, bytes: 32 };
const FRAME_BYTES = 28;
// Workgroups in a row of a folded grid.
const GRID_WIDTH = 16384;

export const DEFAULTS = {
  lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0, amsgrad: false, maximize: false, decoupled: false,
};

// The shader's source: a storage prelude, then the step.
export async function fetchShader(folder) {
  const text = async name => {
    const response = await fetch(new URL(name, folder));
    if (!response.ok) throw new Error(`${name}: ${response.status}`);
    return response.text();
  };
  const parts = await Promise.all(['storage_vec4.wgsl', 'adam.wgsl'].map(text));
  return parts.join('');
}

// Flags of Hyper: a weight is beta, not 1 - beta. The smaller of the two keeps more digits in float32.
const EXP_AVG_BETA = 2;
const EXP_AVG_SQ_BETA = 4;

// The members of Hyper for step t, in order, computed in float64 and rounded once.
export function hyper(options, t) {
  const { lr, beta1, beta2, eps, weightDecay, maximize, decoupled } = options;
  const sqrtCorrection2 = Math.sqrt(1 - beta2 ** t);
  // `abs` turns -0 into 0: a negative sign would mean `maximize`.
  const weight1 = Math.abs(Math.min(beta1, 1 - beta1));
  const members = Float32Array.of(
    maximize ? -weight1 : weight1,
    Math.min(beta2, 1 - beta2),
    lr * sqrtCorrection2 / (1 - beta1 ** t),
    eps === 0 ? 0 : Math.max(eps * sqrtCorrection2, 2 ** -126),
    decoupled ? lr * weightDecay : maximize ? -weightDecay : weightDecay,
    // Read with GRADIENT_CONTROL and CLIP_VALUE only.
    1, Infinity,
    0,
  );
  // The last member is a u32.
  new Uint32Array(members.buffer)[7] = (beta1 > 0.5 ? 0 : EXP_AVG_BETA) | (beta2 > 0.5 ? 0 : EXP_AVG_SQ_BETA);
  return members;
}

export class Adam {
  #device;
  #pipeline;
  #groups;
  #hypers;
  #workgroups;
  #options;
  #t = 0;

  // Steps `param` with the gradients `grad`: storage buffers of equal length, a multiple of four floats.
  constructor(device, source, param, grad, options = {}) {
    const length = param.size / FLOAT;
    if (length % 4 || grad.size !== param.size) throw new Error('a multiple of four elements, and as many gradients');
    this.#device = device;
    this.#options = { ...DEFAULTS, ...options };
    const { amsgrad, decoupled } = this.#options;
    this.#pipeline = device.createComputePipeline({
      layout: 'auto',
      compute: {
        module: device.createShaderModule({ code: source }),
        entryPoint: 'adam',
        constants: {
          WORKGROUP_SIZE, GRID_WIDTH,
          // The one run begins where its bindings do.
          AT_START: 1,
          AMSGRAD: Number(amsgrad), DECOUPLED_WEIGHT_DECAY: Number(decoupled),
        },
      },
    });
    const { STORAGE, UNIFORM, COPY_SRC, COPY_DST } = GPUBufferUsage;
    // Planes: exp_avg, exp_avg_sq and, with amsgrad, max_exp_avg_sq. New buffers are zero, as torch's state is.
    this.moments = device.createBuffer({ size: (amsgrad ? 3 : 2) * param.size, usage: STORAGE | COPY_SRC | COPY_DST });
    this.#hypers = device.createBuffer({ size: HYPERS.count * HYPERS.bytes, usage: UNIFORM | COPY_DST });
    // The run begins at element 0 of each binding, and its planes are as long as the run.
    const all = Math.ceil(length / PER_WORKGROUP);
    const folded = all > device.limits.maxComputeWorkgroupsPerDimension;
    this.#workgroups = folded ? [GRID_WIDTH, Math.ceil(all / GRID_WIDTH)] : [all];
    const frame = device.createBuffer({ size: FRAME_BYTES, usage: UNIFORM | COPY_DST });
    device.queue.writeBuffer(frame, 0, Uint32Array.of(0, 0, 0, length, 0, length, 0));

    const group = (index, bindings) => device.createBindGroup({
      layout: this.#pipeline.getBindGroupLayout(index),
      entries: Object.entries(bindings).map(([binding, buffer]) => ({ binding: Number(binding), resource: { buffer } })),
    });
    // The layout includes bindings that the flat variant never reads, so `tiles` can be any 16 bytes.
    const tiles = device.createBuffer({ size: 16, usage: STORAGE });
    this.#groups = [
      group(0, { 0: param, 1: grad, 2: this.moments }),
      group(1, { 0: tiles, 1: frame }),
      group(2, { 0: this.#hypers }),
    ];
  }

  // Records one step. Submit the encoder before recording the next step: the queue writes a step's numbers before
  // everything that is submitted later, so two steps in one submission would both read the second step's numbers.
  record(encoder) {
    this.#t += 1;
    this.#device.queue.writeBuffer(this.#hypers, 0, hyper(this.#options, this.#t));
    const pass = encoder.beginComputePass();
    pass.setPipeline(this.#pipeline);
    this.#groups.forEach((group, index) => pass.setBindGroup(index, group));
    pass.dispatchWorkgroups(...this.#workgroups);
    pass.end();
  }
}
