// Common parts of all drawings: the page's colors, and canvases as sharp as the screen.

const NAMES = { ink: '--ink', soft: '--soft', grid: '--grid', card: '--card', ours: '--ours', theirs: '--theirs',
  theirsLine: '--theirs-line', sans: '--sans' };

// The current colors, light or dark.
export function colors(element) {
  const style = getComputedStyle(element);
  return Object.fromEntries(Object.entries(NAMES).map(([name, property]) => [name, style.getPropertyValue(property).trim()]));
}

// The canvas' context, with pixels matched to the screen's; sizes are in CSS pixels.
export function fitted(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const ratio = devicePixelRatio || 1;
  const context = canvas.getContext('2d');
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return { context, width, height };
}

// A color as three bytes.
export function bytes(hex) {
  const number = parseInt(hex.slice(1), 16);
  return [number >> 16, number >> 8 & 255, number & 255];
}
