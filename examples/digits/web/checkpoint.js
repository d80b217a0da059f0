// Checkpoints, the files that the terminal program writes and resumes: downloaded, chosen, stored.

import { Opened } from './digits.js';
import { hasDiverged } from './run.js';

// A checkpoint of this model takes 0.1 MB and the losses of 10,000 epochs another.
const LARGEST = 16e6;
// Of what is stored; the checkpoint in it has a version of its own.
const VERSION = 1;

// What a checkpoint's bytes hold, checked: an `Opened` of the wasm module. `perEpoch` are the steps an epoch takes.
export function opened(bytes, perEpoch) {
  const run = Opened.read(bytes);
  const losses = run.losses;
  const epochs = Math.floor(losses.length / perEpoch);
  const wrong = losses.some(hasDiverged) ? 'its run has diverged'
    : run.accuracies.length !== epochs ? `${run.accuracies.length} accuracies in a run of ${epochs} epochs`
    : undefined;
  if (!wrong) return run;
  run.free();
  throw new Error(wrong);
}

export async function chosen(file, perEpoch) {
  if (file.size > LARGEST) {
    throw new Error(`it has ${Math.round(file.size / 1e6)} MB, and no checkpoint of this model has more than ${LARGEST / 1e6}`);
  }
  return opened(new Uint8Array(await file.arrayBuffer()), perEpoch);
}

export function download(bytes, steps) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([bytes], { type: 'application/octet-stream' }));
  link.download = `digits-step-${steps}.safetensors`;
  link.click();
  // Not before the browser has begun to read it.
  setTimeout(() => URL.revokeObjectURL(link.href), 60e3);
}

// What is stored of a run: its checkpoint, a number that other runs do not have, options that may have been changed since,
// and how many of its steps can be compared with torch's.
export function record(checkpoint, run, options, comparable) {
  return { version: VERSION, checkpoint, run, options: { ...options }, comparable };
}

// The checkpoint in a stored record, opened.
export function recorded(record, perEpoch) {
  if (record.version !== VERSION) throw new Error(`it is of version ${record.version}, and this page reads ${VERSION}`);
  if (!(record.checkpoint instanceof Uint8Array)) throw new Error('it has no checkpoint');
  return opened(record.checkpoint, perEpoch);
}

// A record as JSON can say it...
export function packed(record) {
  const bytes = Array.from(record.checkpoint, byte => String.fromCharCode(byte));
  return { ...record, checkpoint: btoa(bytes.join('')) };
}

// ...and as it was; nothing if it is none.
export function unpacked(record) {
  try {
    const checkpoint = Uint8Array.from(atob(record.checkpoint), letter => letter.charCodeAt(0));
    return { ...record, checkpoint };
  } catch {
    return undefined;
  }
}
