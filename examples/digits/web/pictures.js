// Weights as small pictures, and small pictures as canvases.

import { bytes, colors } from './canvas.js';

const SIDE = 8;
const COLUMNS = 16;

// 128 units in 8 rows of 16, one pixel a weight and one between two pictures. Each picture has a scale of its own.
export function drawWeights(canvas, weights) {
  const cell = SIDE + 1;
  const rows = weights.length / SIDE / SIDE / COLUMNS;
  const image = new ImageData(COLUMNS * cell - 1, rows * cell - 1);
  const color = colors(canvas);
  const [zero, positive, negative] = [color.card, color.ours, color.theirs].map(bytes);
  for (let unit = 0; unit < COLUMNS * rows; unit++) {
    const own = weights.subarray(unit * SIDE * SIDE, (unit + 1) * SIDE * SIDE);
    const most = own.reduce((most, weight) => Math.max(most, Math.abs(weight)), 1e-9);
    own.forEach((weight, pixel) => {
      const x = unit % COLUMNS * cell + pixel % SIDE;
      const y = Math.floor(unit / COLUMNS) * cell + Math.floor(pixel / SIDE);
      put(image, x, y, mixed(zero, weight > 0 ? positive : negative, Math.abs(weight) / most));
    });
  }
  Object.assign(canvas, { width: image.width, height: image.height });
  canvas.getContext('2d').putImageData(image, 0, 0);
}

// A digit of 64 pixels, 0 for paper and 1 for ink.
export function drawDigit(canvas, pixels) {
  const image = new ImageData(SIDE, SIDE);
  const color = colors(canvas);
  const [paper, ink] = [color.card, color.ink].map(bytes);
  pixels?.forEach((value, pixel) => put(image, pixel % SIDE, Math.floor(pixel / SIDE), mixed(paper, ink, value)));
  canvas.getContext('2d').putImageData(image, 0, 0);
}

function mixed(from, to, share) {
  return from.map((byte, channel) => byte + (to[channel] - byte) * share);
}

function put(image, x, y, [red, green, blue]) {
  image.data.set([red, green, blue, 255], (y * image.width + x) * 4);
}
