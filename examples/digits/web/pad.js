// Paper to draw a digit on. Strokes become 8 by 8 pixels in the same way as in the data set: the digit fills the
// height, and a pixel is the share of its area covered by ink.

import { colors } from './canvas.js';

const SIDE = 8;
// Width of the pen in pixels of the small picture.
const PEN = 1.35;
// Digits of the data set are rarely wider.
const WIDEST = 6.5;
// The margin around a picture that is shown instead of a drawing, as a share of the pad.
const MARGIN = 0.1;

export class Pad {
  #canvas;
  #strokes = [];
  #changed;

  // `changed` is called whenever the ink changes.
  constructor(canvas, changed) {
    this.#canvas = canvas;
    this.#changed = changed;
    canvas.addEventListener('pointerdown', event => {
      if (!event.isPrimary || event.button !== 0) return;
      event.preventDefault();
      canvas.setPointerCapture(event.pointerId);
      this.#strokes.push([]);
      this.#add(event);
    });
    canvas.addEventListener('pointermove', event => {
      if (!canvas.hasPointerCapture(event.pointerId)) return;
      for (const point of event.getCoalescedEvents?.() ?? []) this.#add(point);
      this.#add(event);
    });
  }

  clear() {
    this.#strokes = [];
    this.#changed();
  }

  #add(event) {
    const box = this.#canvas.getBoundingClientRect();
    this.#strokes.at(-1).push([(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]);
    this.#changed();
  }

  // The drawing as input of the network; undefined without ink.
  pixels() {
    const points = this.#strokes.flat();
    if (!points.length) return undefined;
    const [left, right] = extent(points.map(([x]) => x));
    const [top, bottom] = extent(points.map(([, y]) => y));
    const scale = Math.min((SIDE - PEN) / Math.max(bottom - top, 0.05), (WIDEST - PEN) / Math.max(right - left, 0.01));
    const small = new OffscreenCanvas(SIDE, SIDE);
    const context = small.getContext('2d', { willReadFrequently: true });
    context.translate(SIDE / 2, SIDE / 2);
    context.scale(scale, scale);
    context.translate(-(left + right) / 2, -(top + bottom) / 2);
    this.#ink(context, PEN / scale, '#000');
    const { data } = context.getImageData(0, 0, SIDE, SIDE);
    return Float32Array.from({ length: SIDE * SIDE }, (_, pixel) => data[pixel * 4 + 3] / 255);
  }

  draw() {
    const context = this.#canvas.getContext('2d');
    const side = this.#canvas.width;
    context.setTransform(side, 0, 0, side, 0, 0);
    context.clearRect(0, 0, 1, 1);
    this.#ink(context, 0.06, colors(this.#canvas).ink);
  }

  // Shows another canvas instead of a drawing, with a margin that has room for its caption.
  copy(canvas) {
    const context = this.#canvas.getContext('2d');
    context.setTransform(1, 0, 0, 1, 0, 0);
    const { width, height } = this.#canvas;
    context.clearRect(0, 0, width, height);
    context.imageSmoothingEnabled = false;
    context.drawImage(canvas, MARGIN * width, MARGIN * height, (1 - 2 * MARGIN) * width, (1 - 2 * MARGIN) * height);
  }

  #ink(context, width, color) {
    context.strokeStyle = color;
    context.lineWidth = width;
    context.lineCap = 'round';
    context.lineJoin = 'round';
    for (const stroke of this.#strokes) {
      context.beginPath();
      context.moveTo(...stroke[0]);
      for (const point of stroke) context.lineTo(...point);
      context.stroke();
    }
  }
}

function extent(values) {
  return [Math.min(...values), Math.max(...values)];
}
