// The page: the actions of its controls, and the display of a run.

import init, { Session } from './digits.js';
import * as addresses from './addresses.js';
import { Chart } from './chart.js';
import { fetchDigits, fetchTorch } from './data.js';
import { percent, short, small } from './format.js';
import { Keeping } from './keeping.js';
import { link } from './links.js';
import { hush } from './message.js';
import { Options, isNumberOfEpochs } from './options.js';
import { Pad } from './pad.js';
import { drawDigit, drawWeights } from './pictures.js';
import { Run, hasDiverged } from './run.js';

const UPDATE = 'The page works in current Chrome and Edge, in Safari from version 26, and in Firefox on Windows and macOS.';
const NO_WEBGPU = {
  title: 'This browser has no WebGPU',
  text: `${UPDATE} If you opened it by http from another machine, use https: browsers offer WebGPU only to secure pages.`,
};
const NO_ADAPTER = {
  title: 'No GPU is available to this page',
  text: `This browser supports WebGPU but found no GPU. Check that hardware acceleration is on in the browser's settings
    and that the graphics driver is up to date. Chrome on Linux may need
    chrome://flags/#enable-unsafe-webgpu.`.replace(/\s+/g, ' '),
};

// Epochs that are added when the user continues after the last one.
const MORE_EPOCHS = 40;
// The test digit that is shown before anybody draws: a clear 3.
const FIRST_SAMPLE = 63;

const $ = id => document.getElementById(id);
const query = new URLSearchParams(location.search);
const parts = {
  // The number of initial steps under torch's own options, which can be compared with torch's run.
  comparable: Infinity,
};
let state = 'loading';
let announced = '';

// --- state -----------------------------------------------------------------------------------------------------------

function enter(next) {
  state = next;
  if (next !== 'error') parts.broken = undefined;
  // Stored options arrive while the page loads, and would overwrite earlier input.
  $('options').inert = state === 'loading' || !parts.run;
  const allowed = {
    start: ['ready', 'paused', 'done'], pause: ['training'], step: ['ready', 'paused', 'done'],
    reset: ['training', 'paused', 'done', 'error'], download: ['training', 'paused', 'done'],
    open: ['ready', 'training', 'paused', 'done', 'error'],
  };
  for (const [id, states] of Object.entries(allowed)) {
    // Not `disabled`, which would lose the focus.
    $(id).setAttribute('aria-disabled', !(states.includes(state) && parts.run && !parts.lost));
  }
  $('start').textContent = { paused: 'Continue', done: 'Train more' }[state] ?? 'Start';
  if (parts.run) announce();
  show();
}

// Announced once per change of state, not once per step.
function announce() {
  const { run } = parts;
  const text = {
    ready: 'Ready to train.',
    training: 'Training.',
    paused: `Paused at step ${run.steps}. Loss ${short(run.losses.at(-1))}, test accuracy ${percent(run.accuracy)}.`,
    done: `Done after ${run.steps} steps. Loss ${short(run.losses.at(-1))}, test accuracy ${percent(run.accuracy)}.`,
  }[state] ?? '';
  if (text !== announced) $('status').textContent = announced = text;
}

function on(id, action) {
  $(id).addEventListener('click', () => {
    if ($(id).getAttribute('aria-disabled') === 'true') return;
    hush();
    guarded(action);
  });
}

// Shows any error of an action on the page.
async function guarded(action) {
  try {
    await action();
  } catch (error) {
    // The loss of the device explains why work on it failed, but the page may be notified of it later.
    parts.broken ??= state;
    await new Promise(resolve => setTimeout(resolve, 50));
    if (!parts.lost) notice('Something went wrong', error.message ?? String(error));
  }
}

function notice(title, text, label, action) {
  $('notice-title').textContent = title;
  $('notice-text').textContent = text;
  $('notice-action').hidden = !action;
  $('notice-action').textContent = label ?? '';
  $('notice-action').onclick = action ? () => guarded(action) : null;
  $('notice').hidden = false;
  enter('error');
}

// --- actions ---------------------------------------------------------------------------------------------------------

async function train() {
  const { run, options } = parts;
  if (goal() <= run.steps) options.set('epochs', Math.floor(run.steps / run.session.stepsPerEpoch) + MORE_EPOCHS);
  enter('training');
  await run.train(goal);
  settled();
}

async function one() {
  enter('training');
  await parts.run.one();
  settled();
}

// Called when a run pauses or ends.
function settled() {
  const { run } = parts;
  if (run.diverged) {
    const step = run.losses.findIndex(hasDiverged);
    const text = `At step ${step} the loss was ${short(run.losses[step])}. An option is too far from its default, most `
      + 'often the learning rate. Reset restores the initial weights and the default options.';
    notice('The training has diverged', text, 'Reset', resetAll);
  } else {
    enter(run.steps >= goal() ? 'done' : run.steps ? 'paused' : 'ready');
  }
}

// Called when another run has replaced one with a notice.
function calm() {
  $('notice').hidden = true;
  settled();
}

async function reset() {
  const { run, options, keeping } = parts;
  run.stop();
  await keeping.renew(() => run.reset());
  apply(options.current);
  $('notice').hidden = true;
  enter('ready');
}

async function resetAll() {
  parts.options.reset();
  await reset();
  $('start').focus();
}

// Passes options to the optimizer. `name` is that of the changed one, if only one has changed.
function apply(options, name) {
  if (name === 'epochs') {
    if (!isNumberOfEpochs(options.epochs)) throw new Error('It must be a whole number from 1 to 10000');
    parts.keeping.keep();
    return show();
  }
  const session = parts.run.session;
  const { lr, beta1, beta2, eps, amsgrad } = options;
  session.setOptions(lr, beta1, beta2, eps, options['weight-decay'], amsgrad);
  // From the first step under other options on, the run cannot be compared with torch's.
  if (!parts.options.areTorchs) parts.comparable = Math.min(parts.comparable, session.steps);
  else if (session.steps <= parts.comparable) parts.comparable = Infinity;
  parts.keeping.keep();
  show();
}

function goal() { return parts.options.current.epochs * parts.run.session.stepsPerEpoch; }

// --- the device ------------------------------------------------------------------------------------------------------

// A new device with a new model. Without an adapter, shows a notice and returns nothing.
async function open() {
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter) return void notice(NO_ADAPTER.title, NO_ADAPTER.text, 'Try again', () => location.reload());
  const { vendor, architecture, device, description } = adapter.info;
  const name = description || [vendor, architecture, device].filter(Boolean).join(' ') || 'unnamed adapter';
  document.body.dataset.adapter = $('adapter').textContent = name;
  return Session.open(parts.digits.csv, parts.torch.lr, lost, message => notice('WebGPU reported an error', message));
}

function lost(reason) {
  const { run } = parts;
  parts.lost = { training: (parts.broken ?? state) === 'training' };
  run?.stop();
  const step = run?.saved?.steps ?? 0;
  const text = 'This can happen when a graphics driver restarts or a computer wakes up. '
    + (reason ? `The browser says: ${reason}\n` : '')
    + (step ? `The run is kept up to step ${step}.` : 'The run starts from the beginning.');
  notice('The GPU device was lost', text, 'Continue on a new device', recover);
}

async function recover() {
  const { run } = parts;
  const session = await open();
  if (!session) return;
  const old = run.session;
  await run.recover(session);
  old.free();
  const { training } = parts.lost;
  parts.lost = undefined;
  apply(parts.options.current);
  // While the device was lost, the drawing may have changed.
  look();
  $('notice').hidden = true;
  $('start').focus();
  settled();
  if (training) await train();
}

// --- what is shown ---------------------------------------------------------------------------------------------------

// At most once per frame; a hidden page has no frames.
function show() {
  tell();
  parts.frame ??= requestAnimationFrame(() => {
    parts.frame = undefined;
    draw();
  });
}

// For tests and assistive technology.
function tell() {
  const { dataset } = document.body;
  const { run } = parts;
  dataset.state = state;
  dataset.step = run?.steps ?? 0;
  dataset.loss = run?.losses.at(-1) ?? '';
  dataset.accuracy = run?.accuracy ?? '';
}

function draw() {
  const { run, chart, pad, torch } = parts;
  if (!run) return;
  $('steps').textContent = run.steps;
  $('goal').textContent = ` / ${goal()}`;
  $('loss').textContent = short(run.losses.at(-1));
  $('accuracy').textContent = percent(run.accuracy);
  $('rate').textContent = run.rate ? Math.round(run.rate) : '–';
  $('distance').textContent = distance(run.losses, torch.losses);
  chart.draw(run.losses, goal());
  if (run.firstLayer) drawWeights($('pictures'), run.firstLayer);
  if (!parts.sample) pad.draw();
  drawBars(run.probabilities);
  if (state !== 'training') $('chart').ariaLabel = `Loss of every step, on a logarithmic scale. ${announced}`;
}

function drawBars(probabilities) {
  const best = probabilities ? probabilities.indexOf(Math.max(...probabilities)) : -1;
  [...$('bars').children].forEach((bar, digit) => {
    const share = probabilities?.[digit] ?? 0;
    bar.classList.toggle('best', digit === best);
    bar.style.setProperty('--share', share.toFixed(4));
    bar.lastChild.textContent = probabilities ? `${Math.round(100 * share)} %` : '';
  });
  document.body.dataset.digit = best < 0 ? '' : best;
  document.body.dataset.looked = parts.run.looked === parts.run.looks;
  const name = `${best === 8 ? 'an' : 'a'} ${best}`;
  const told = best < 0 ? '' : parts.run.steps ? `Looks like ${name}.` : `Before training, the network guesses ${name}.`;
  if ($('verdict').textContent !== told) $('verdict').textContent = told;
}

function distance(ours, theirs) {
  const count = Math.min(ours.length, theirs.length, parts.comparable);
  let worst = 0;
  for (let step = 0; step < count; step++) worst = Math.max(worst, Math.abs(ours[step] - theirs[step]));
  return count ? small(worst) : '–';
}

function under(event) {
  const { run, chart, torch } = parts;
  const step = event.type === 'pointerleave' ? undefined : chart.stepAt(event.clientX, chart.last(run.losses, goal()));
  chart.mark(step);
  const [ours, theirs] = [run.losses[step], torch.losses[step]];
  $('under').textContent = step === undefined ? '' : `step ${step}`
    + (ours === undefined ? '' : ` · loss ${short(ours)}`) + (theirs === undefined ? '' : ` · PyTorch ${short(theirs)}`);
  show();
}

// --- the drawing -----------------------------------------------------------------------------------------------------

function look() {
  const { sample } = parts;
  const pixels = sample?.pixels ?? parts.pad.pixels();
  const { classList } = document.querySelector('.paper');
  classList.toggle('drawn', pixels !== undefined && !sample);
  classList.toggle('sampled', sample !== undefined);
  $('invitation').textContent = sample ? `Test digit: ${sample.label} · draw here` : 'Draw here';
  drawDigit($('seen'), pixels);
  if (sample) parts.pad.copy($('seen'));
  document.body.dataset.looked = false;
  show();
  if (!parts.lost) guarded(() => parts.run.look(pixels));
}

// Replaces the drawing by a digit of the test set, for users who cannot draw.
function sample() {
  const { test } = parts.digits;
  parts.pad.clear();
  parts.sample = test[Math.floor(Math.random() * test.length)];
  look();
}

// --- beginning -------------------------------------------------------------------------------------------------------

async function begin() {
  if (!navigator.gpu) return notice(NO_WEBGPU.title, NO_WEBGPU.text);
  const autostart = query.get('autostart') === '1';
  const keeping = parts.keeping = new Keeping(parts, { apply, settled: calm, startOver: () => guarded(resetAll) });
  // An address that starts a run shows it from its first step...
  const resumes = query.get('resume') ?? (autostart ? '0' : '1');
  const loading = resumes === '1' ? keeping.load() : undefined;
  [parts.digits, parts.torch] = await Promise.all([fetchDigits(), fetchTorch(), init()]);
  const session = await open();
  if (!session) return;
  const { torch } = parts;
  const run = parts.run = new Run(session, show, () => keeping.keep());
  window.losses = run.losses;
  parts.chart = new Chart($('chart'), torch.losses, session.stepsPerEpoch);
  const defaults = {
    lr: torch.lr, beta1: 0.9, beta2: 0.999, eps: 1e-8, 'weight-decay': 0, amsgrad: false, epochs: torch.epochs,
  };
  parts.options = new Options(defaults, apply);
  parts.pad = new Pad($('pad'), () => {
    parts.sample = undefined;
    look();
  });
  $('torch-version').textContent = torch.version;
  $('bars').innerHTML = Array.from({ length: 10 }, (_, digit) => `<li><b>${digit}</b><i></i><span></span></li>`).join('');

  on('start', train);
  on('pause', () => run.stop());
  on('step', one);
  on('reset', reset);
  on('download', () => keeping.download());
  on('open', () => $('file').click());
  $('file').onchange = () => parts.lost || guarded(() => keeping.open($('file')));
  $('message-close').onclick = hush;
  $('defaults').onclick = () => parts.options.reset();
  $('clear').onclick = () => parts.pad.clear();
  $('sample').onclick = sample;
  for (const radio of document.getElementsByName('pace')) {
    radio.onchange = () => {
      run.pace = parts.pace = radio.value;
      keeping.keep();
    };
  }
  for (const type of ['pointermove', 'pointerleave']) $('chart').addEventListener(type, under);
  new ResizeObserver(show).observe($('chart'));
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => (look(), show()));

  if (query.has('epochs')) parts.options.set('epochs', Number(query.get('epochs')));
  const wanted = query.has('epochs') ? { epochs: parts.options.current.epochs } : {};
  parts.pace = keeping.pace;
  // ...and to its end.
  setPace(query.get('pace') ?? (autostart ? 'full' : parts.pace ?? 'watch'));
  // There is something to see before anybody draws. The first stroke replaces it.
  parts.sample = parts.digits.test[FIRST_SAMPLE];
  look();
  // A new run becomes the last run as soon as it is opened.
  if (!await keeping.resume(loading, wanted)) {
    await run.open();
    enter('ready');
  }
  if (autostart) await train();
}

function setPace(pace) {
  const radio = [...document.getElementsByName('pace')].find(radio => radio.value === pace);
  if (!radio) return;
  radio.checked = true;
  parts.run.pace = pace;
}

link(addresses);
guarded(begin);
