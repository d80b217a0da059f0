// One step over 1,000 elements, and the same in float64.

import { Adam, DEFAULTS, fetchShader } from './adam.js';

const LENGTH = 1000;
const OPTIONS = { ...DEFAULTS, lr: 0.01, weightDecay: 0.1 };
const SHOWN = 8;

async function main() {
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter) throw new Error('This browser gives no WebGPU adapter.');
  const device = await adapter.requestDevice();
  const source = await fetchShader(new URL('../shaders/', location.href));
  const { STORAGE, COPY_SRC, COPY_DST, MAP_READ } = GPUBufferUsage;

  const before = {
    param: Float32Array.from({ length: LENGTH }, (_, i) => Math.sin(i)),
    grad: Float32Array.from({ length: LENGTH }, (_, i) => Math.cos(3 * i) * 10 ** (i % 9 - 6)),
  };
  const buffer = values => {
    const buffer = device.createBuffer({ size: values.byteLength, usage: STORAGE | COPY_SRC | COPY_DST });
    device.queue.writeBuffer(buffer, 0, values);
    return buffer;
  };
  const [param, grad] = [buffer(before.param), buffer(before.grad)];
  const adam = new Adam(device, source, param, grad, OPTIONS);

  const size = before.param.byteLength;
  const readback = device.createBuffer({ size: 3 * size, usage: MAP_READ | COPY_DST });
  const encoder = device.createCommandEncoder();
  adam.record(encoder);
  encoder.copyBufferToBuffer(param, 0, readback, 0, size);
  encoder.copyBufferToBuffer(adam.moments, 0, readback, size, 2 * size);
  device.queue.submit([encoder.finish()]);
  await readback.mapAsync(GPUMapMode.READ);
  const floats = new Float32Array(readback.getMappedRange().slice());
  const part = number => floats.subarray(number * LENGTH, (number + 1) * LENGTH);
  const after = { param: part(0), expAvg: part(1), expAvgSq: part(2) };
  // For the test, which computes its own reference.
  window.step = { options: OPTIONS, before, after };
  show(before, after);
}

// Adam's first step in float64, from moments of zero.
function firstStep(param, grad, { lr, beta1, beta2, eps, weightDecay }) {
  const decayed = grad + weightDecay * param;
  const expAvg = (1 - beta1) * decayed;
  const expAvgSq = (1 - beta2) * decayed * decayed;
  return param - lr / (1 - beta1) * expAvg / (Math.sqrt(expAvgSq) / Math.sqrt(1 - beta2) + eps);
}

function show(before, after) {
  const wanted = Array.from(before.param, (param, i) => firstStep(param, before.grad[i], OPTIONS));
  const worst = Math.max(...wanted.map((want, i) => Math.abs(after.param[i] - want)));
  const rows = wanted.slice(0, SHOWN).map((want, i) =>
    [i, ...[before.param[i], before.grad[i], after.param[i], want].map(value => value.toPrecision(9))]);
  document.querySelector('tbody').innerHTML = rows.map(row => `<tr>${row.map(cell => `<td>${cell}</td>`).join('')}</tr>`).join('');
  document.getElementById('table').hidden = false;
  tell('done', `One step over ${LENGTH} elements: at most ${worst.toExponential(1)} from float64.`);
}

function tell(state, text) {
  document.getElementById('verdict').textContent = text;
  document.body.dataset.state = state;
}

main().catch(error => tell('error', error.message));
