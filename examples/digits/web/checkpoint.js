// Checkpoints, in the files of the terminal program: downloaded, opened, stored.

import { Opened } from './digits.js';
import { hasDiverged } from './run.js';

// A checkpoint of this model takes 0.1 MB, and the losses of 10,000 epochs another 0.1 MB.
const LARGEST = 16e6;
// The version of stored records; the checkpoint inside has its own.
const VERSION = 1;

// Opens and checks a checkpoint's bytes: returns an `Opened` of the wasm module. `perEpoch` is the number of steps per
// epoch.
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
    throw new Error(`it has ${Math.round(file.size / 1e6)} MB, and checkpoints of this model have at most ${LARGEST / 1e6} MB`);
  }
  return opened(new Uint8Array(await file.arrayBuffer()), perEpoch);
}

export function download(bytes, steps) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([bytes], { type: 'application/octet-stream' }));
  link.download = `digits-step-${steps}.safetensors`;
  link.click();
  // Not before the browser has started to read it.
  setTimeout(() => URL.revokeObjectURL(link.href), 60e3);
}

// The stored record of a run: its checkpoint, the run's unique number, options that may have changed since, and the
// number of steps that can be compared with torch's.
export function record(checkpoint, run, options, comparable) {
  return { version: VERSION, checkpoint, run, options: { ...options }, comparable };
}

// Opens the checkpoint in a stored record.
export function recorded(record, perEpoch) {
  if (record.version !== VERSION) throw new Error(`it has version ${record.version}, and this page reads version ${VERSION}`);
  if (!(record.checkpoint instanceof Uint8Array)) throw new Error('it has no checkpoint');
  return opened(record.checkpoint, perEpoch);
}

// A record in a form that JSON can express...
export function packed(record) {
  const bytes = Array.from(record.checkpoint, byte => String.fromCharCode(byte));
  return { ...record, checkpoint: btoa(bytes.join('')) };
}

// ...and the record from that form; undefined if it is not one.
export function unpacked(record) {
  try {
    const checkpoint = Uint8Array.from(atob(record.checkpoint), letter => letter.charCodeAt(0));
    return { ...record, checkpoint };
  } catch {
    return undefined;
  }
}
