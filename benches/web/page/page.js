// Measures steps of wgpu-adam and of TensorFlow.js over the same tensors, one after the other.

import init, { Stepper } from './bench-web.js';

const SIZES = [[100, 10240], [300, 1024]];
const LR = 1e-3;
const ROUNDS = 5;
const STEPS = { ours: 20, theirs: 4 };

const $ = id => document.getElementById(id);

async function main() {
  if (!navigator.gpu) throw new Error('This browser has no WebGPU.');
  await init();
  if (!await tf.setBackend('webgpu')) throw new Error('TensorFlow.js has no WebGPU backend here.');
  await tf.ready();
  window.rows = [];
  $('start').disabled = false;
  $('start').onclick = () => measure().catch(failed);
  document.body.dataset.state = 'ready';
  if (new URLSearchParams(location.search).get('autostart') === '1') await measure();
}

async function measure() {
  $('start').disabled = true;
  document.body.dataset.state = 'running';
  window.rows.length = 0;
  document.querySelector('tbody').replaceChildren();
  for (const [tensors, elements] of SIZES) {
    const param = Float32Array.from({ length: elements }, (_, i) => Math.sin(i));
    const grad = Float32Array.from({ length: elements }, (_, i) => Math.cos(3 * i));
    const arena = await ours(tensors, param, grad, true);
    const buffers = await ours(tensors, param, grad, false);
    const tfjs = await theirs(tensors, param, grad);
    const apart = values => Math.max(...values.map((value, i) => Math.abs(value - tfjs.first[i])));
    show({ tensors, elements, arena_ms: arena.ms, buffers_ms: buffers.ms, tfjs_ms: tfjs.ms,
      difference: Math.max(apart(arena.first), apart(buffers.first)) });
  }
  $('verdict').textContent = 'Done.';
  $('start').disabled = false;
  document.body.dataset.state = 'done';
}

async function ours(tensors, param, grad, arena) {
  const stepper = await Stepper.open(tensors, param, grad, LR, arena);
  const result = await timed(STEPS.ours, steps => stepper.step(steps), () => stepper.first());
  stepper.free();
  return result;
}

async function theirs(tensors, param, grad) {
  const names = Array.from({ length: tensors }, (_, number) => `t${tensors}x${param.length}_${number}`);
  const variables = names.map(name => tf.variable(tf.tensor1d(param), true, name));
  const gradients = Object.fromEntries(names.map(name => [name, tf.tensor1d(grad)]));
  const optimizer = tf.train.adam(LR, 0.9, 0.999, 1e-8);
  const step = steps => {
    for (let i = 0; i < steps; i++) optimizer.applyGradients(gradients);
  };
  const result = await timed(STEPS.theirs, step, () => variables[0].data());
  optimizer.dispose();
  [...variables, ...Object.values(gradients)].forEach(tensor => tensor.dispose());
  return result;
}

// The median of the rounds, and the first tensor after the first step, which also compiles.
async function timed(steps, step, read) {
  step(1);
  const first = await read();
  step(steps);
  await read();
  const rounds = [];
  for (let round = 0; round < ROUNDS; round++) {
    const begun = performance.now();
    step(steps);
    await read();
    rounds.push((performance.now() - begun) / steps);
  }
  return { ms: rounds.sort((a, b) => a - b)[ROUNDS >> 1], first: Array.from(first) };
}

function show(row) {
  window.rows.push(row);
  const cells = [`${row.tensors} × ${row.elements}`, row.arena_ms.toFixed(2), row.buffers_ms.toFixed(2), row.tfjs_ms.toFixed(1),
    (row.tfjs_ms / row.arena_ms).toFixed(1)];
  document.querySelector('tbody').insertRow().append(...cells.map(text => Object.assign(document.createElement('td'), { textContent: text })));
}

function failed(error) {
  $('verdict').textContent = error.message ?? String(error);
  document.body.dataset.state = 'error';
}

main().catch(failed);
