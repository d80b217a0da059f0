// The loss of every step on a logarithmic scale, with torch's recorded run behind it.

import { colors, fitted } from './canvas.js';

const LABELS = [1, 0.1, 0.01, 0.001, 0.0001];
// The top has room for the name of the vertical axis, the bottom for its labels and the name of the horizontal axis.
const INSET = { left: 46, right: 10, top: 30, bottom: 46 };

export class Chart {
  #canvas;
  #torch;
  #perEpoch;
  #under;

  constructor(canvas, torch, perEpoch) {
    this.#canvas = canvas;
    this.#torch = torch;
    this.#perEpoch = perEpoch;
  }

  // The step at a horizontal position in the window, if any.
  stepAt(clientX, last) {
    const box = this.#canvas.getBoundingClientRect();
    const share = (clientX - box.left - INSET.left) / (box.width - INSET.left - INSET.right);
    return share >= 0 && share <= 1 ? Math.round(share * last) : undefined;
  }

  // Marks a step, or none.
  mark(step) { this.#under = step; }

  draw(losses, goal) {
    const { context, width, height } = fitted(this.#canvas);
    const color = colors(this.#canvas);
    const last = this.last(losses, goal);
    const [low, high] = range(losses, this.#torch);
    const right = width - INSET.right;
    const bottom = height - INSET.bottom;
    const x = step => INSET.left + (right - INSET.left) * step / last;
    const y = loss => INSET.top + (bottom - INSET.top) * (Math.log(high) - Math.log(loss)) / (Math.log(high) - Math.log(low));

    context.clearRect(0, 0, width, height);
    context.font = `12px ${color.sans}`;
    context.lineWidth = 1;
    context.textBaseline = 'middle';
    context.textAlign = 'right';
    for (const label of ticks(low, high)) {
      line(context, [[INSET.left, y(label)], [right, y(label)]], color.grid);
      context.fillStyle = color.soft;
      context.fillText(label >= 1e4 ? label.toExponential(0) : String(label), INSET.left - 8, y(label));
    }
    const epochs = last / this.#perEpoch;
    const every = spacing(epochs, (right - INSET.left) / 64);
    context.textBaseline = 'top';
    for (let epoch = 0; epoch <= epochs; epoch += every) {
      const at = x(epoch * this.#perEpoch);
      const fits = at + 12 < right;
      context.textAlign = fits ? 'center' : 'right';
      context.fillStyle = color.soft;
      context.fillText(String(epoch), at, bottom + 10);
    }
    context.textAlign = 'center';
    context.fillText('Epoch', (INSET.left + right) / 2, bottom + 30);
    context.textAlign = 'left';
    context.fillText('Loss (logarithmic scale)', 0, 4);

    const points = values => Array.from(values, (loss, step) => [x(step), y(Math.max(Math.min(loss, high), low))]);
    context.lineJoin = 'round';
    context.lineCap = 'round';
    line(context, points(this.#torch), color.theirsLine, 5);
    const ours = points(finite(losses));
    line(context, ours, color.ours, 1.75);
    if (ours.length) dot(context, ours.at(-1), color);
    const marked = this.#under;
    if (marked !== undefined && marked < Math.max(losses.length, this.#torch.length)) {
      line(context, [[x(marked), INSET.top], [x(marked), bottom]], color.soft, 1);
      if (marked < ours.length) dot(context, ours[marked], color);
    }
  }

  // The step at the right end of the chart.
  last(losses, goal) { return Math.max(goal, this.#torch.length, losses.length); }
}

function range(losses, torch) {
  const seen = [...torch, ...finite(losses)].filter(loss => loss > 0);
  return [Math.max(Math.min(...seen) / 1.15, 1e-6), Math.min(Math.max(...seen) * 1.15, 1e4)];
}

function finite(losses) {
  const end = losses.findIndex(loss => !Number.isFinite(loss));
  return end < 0 ? losses : losses.slice(0, end);
}

function ticks(low, high) {
  const all = [...LABELS, 1e2, 1e4];
  return all.filter(label => label >= low && label <= high);
}

// Epochs between two labels: 1, 2, 5, 10, ..., so that at most `room` of them are drawn.
function spacing(epochs, room) {
  for (let unit = 1; ; unit *= 10) {
    for (const times of [1, 2, 5]) if (epochs / (unit * times) <= room) return unit * times;
  }
}

function line(context, points, color, width = 1) {
  context.strokeStyle = color;
  context.lineWidth = width;
  context.beginPath();
  for (const [x, y] of points) context.lineTo(x, y);
  context.stroke();
}

function dot(context, [x, y], color) {
  context.beginPath();
  context.arc(x, y, 4, 0, 7);
  context.fillStyle = color.ours;
  context.fill();
  context.lineWidth = 2;
  context.strokeStyle = color.card;
  context.stroke();
}
