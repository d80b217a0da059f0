// Weights as small pictures, and small pictures as canvases.

import { bytes, colors, fitted } from './canvas.js';

const SIDE = 8;
const COLUMNS = 16;
const ROWS = 8;
// The weight with full color, until there are larger ones. The initial weights, up to 1/8, are pale.
const FULL = 0.25;

// 128 units in 8 rows of 16, each blurred slightly from 8 by 8 weights.
export function drawWeights(canvas, weights) {
  const { context, width, height } = fitted(canvas);
  const color = colors(canvas);
  const [zero, positive, negative] = [color.card, color.ours, color.theirs].map(bytes);
  const full = Math.max(FULL, weights.reduce((most, weight) => Math.max(most, Math.abs(weight)), 0) * 0.4);
  const image = new ImageData(COLUMNS * SIDE, ROWS * SIDE);
  weights.forEach((weight, index) => {
    const [unit, pixel] = [Math.floor(index / SIDE / SIDE), index % (SIDE * SIDE)];
    const x = unit % COLUMNS * SIDE + pixel % SIDE;
    const y = Math.floor(unit / COLUMNS) * SIDE + Math.floor(pixel / SIDE);
    put(image, x, y, mixed(zero, weight > 0 ? positive : negative, Math.min(1, Math.abs(weight) / full)));
  });
  const sheet = new OffscreenCanvas(image.width, image.height);
  sheet.getContext('2d').putImageData(image, 0, 0);
  const [stepX, stepY] = [width / COLUMNS, height / ROWS];
  const side = Math.min(stepX, stepY) - 3;
  context.imageSmoothingQuality = 'high';
  context.clearRect(0, 0, width, height);
  for (let unit = 0; unit < COLUMNS * ROWS; unit++) {
    const [column, row] = [unit % COLUMNS, Math.floor(unit / COLUMNS)];
    const place = [column * stepX + (stepX - side) / 2, row * stepY + (stepY - side) / 2];
    context.save();
    context.beginPath();
    context.roundRect(...place, side, side, 3);
    context.clip();
    context.drawImage(sheet, column * SIDE, row * SIDE, SIDE, SIDE, ...place, side, side);
    context.restore();
    context.strokeStyle = color.grid;
    context.lineWidth = 1;
    context.stroke();
  }
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
