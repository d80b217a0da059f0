// Keeps a run beyond its page: as a file to download and open, and as the last run, which the browser stores.

import { chosen, download, record, recorded } from './checkpoint.js';
import { read, write } from './local.js';
import { hush, tell } from './message.js';
import { Storage } from './storage.js';

// Small data that must not wait for the run: options, pace, and the number of their run.
const NOTE = 'wgpu-adam digits';

export class Keeping {
  #parts;
  #page;
  #storage = new Storage(reason => {
    tell(`This browser cannot save the run: ${reason}. Download a checkpoint to keep it.`);
  });
  // The number of the stored run. A run without steps is not stored and has no number.
  #run = null;
  // The number of a run that may be stored although the browser did not return it.
  #unseen;
  // Whether the current run was given up and the next one does not exist yet.
  #renewing = false;
  // The note of the previous page.
  #noted;

  // `parts` are the page's run, options, chosen pace, and comparable steps. `page` has `apply`, which passes options to
  // the optimizer, `settled`, which follows when a run pauses or ends, and `startOver`.
  constructor(parts, page) {
    this.#parts = parts;
    this.#page = page;
    addEventListener('pagehide', () => this.#storage.leave(), true);
    // The browser may end a hidden page without further events.
    addEventListener('visibilitychange', () => document.hidden && this.#storage.leave(), true);
  }

  // A promise of the stored data, for `resume`.
  load() {
    this.#noted = read(NOTE);
    return this.#storage.load();
  }

  // The pace chosen earlier; available after `load`.
  get pace() { return this.#noted?.pace; }

  // Stores the run for a reload; training does not wait for it. Options and pace are stored when this returns.
  keep() {
    const { run, options } = this.#parts;
    if (!this.#renewing && !run.saved) return;
    if (!this.#renewing && run.saved.steps) {
      this.#run ??= newNumber();
      this.#storage.put(() => record(run.checkpoint(), this.#run, options.current, this.#parts.comparable));
    }
    this.#note();
  }

  // Makes a new run with `make`. From now on a reload does not continue the old one.
  async renew(make) {
    this.#renewing = true;
    this.#forget();
    this.#note();
    try {
      await make();
    } finally {
      this.#renewing = false;
      this.keep();
    }
  }

  async download() {
    const { run } = this.#parts;
    await run.fresh();
    download(run.checkpoint(), run.saved.steps);
  }

  // Continues the run in the chosen file. If it is not a checkpoint of this model, reports that and changes nothing.
  async open(input) {
    const [file] = input.files;
    if (!file) return;
    const { run } = this.#parts;
    let checkpoint;
    try {
      checkpoint = await chosen(file, run.session.stepsPerEpoch);
    } catch (error) {
      return tell(`${file.name} could not be opened: ${error.message}. Your run is unchanged.`, { bad: true, near: true });
    } finally {
      // So that the same file can be chosen again.
      input.value = '';
    }
    await this.#goOn(checkpoint, newNumber());
    this.#page.settled();
    tell(`${file.name} opened: ${place(run)}.`, { near: true });
  }

  // Continues the stored run, if there is one that can be read. Returns whether it does. `loading` is the result of
  // `load`, or undefined in a page that starts a new run. The options in `wanted` replace stored ones.
  async resume(loading, wanted) {
    const stored = loading ? await this.#storage.answer(loading) : [];
    const noted = this.#noted;
    const { run } = this.#parts;
    const isNoted = record => noted !== undefined && noted.run === record?.run;
    // A note without a number says that the last run was given up and its record should have been deleted. Of two
    // records, the one with the note's number is the last run.
    const records = (stored ?? []).filter(record => !(record?.run && noted?.run === null));
    records.sort((a, b) => isNoted(b) - isNoted(a));
    let checkpoint, found, trouble;
    for (const record of records) {
      try {
        checkpoint ??= recorded(record, run.session.stepsPerEpoch);
        found ??= record;
      } catch (error) {
        trouble ??= error;
      }
    }
    if (!checkpoint) {
      // If the browser does not return the stored data, they stay stored.
      if (stored) this.#forget();
      else this.#unseen = noted?.run;
      if (trouble) tell(`The saved run could not be restored: ${trouble.message}.`, { bad: true });
      if (noted) this.#adopt(noted.options, Infinity, wanted);
      return false;
    }
    const { options, comparable } = isNoted(found) ? noted : found;
    // JSON has no infinity.
    const least = Math.min(comparable ?? Infinity, found.comparable ?? Infinity);
    await this.#goOn(checkpoint, found.run, () => this.#adopt(options, least, wanted));
    this.#page.settled();
    const action = () => {
      hush();
      this.#page.startOver();
    };
    tell(`Resumed at ${place(run)}.`, { label: 'Start over', action });
    return true;
  }

  // Changes run and options together. Otherwise this run would be stored with the options of the previous one.
  async #goOn(checkpoint, number, adopt) {
    const { run } = this.#parts;
    run.stop();
    try {
      await run.load(checkpoint, () => {
        this.#run = number;
        this.#adoptSession();
        adopt?.();
      });
    } finally {
      checkpoint.free();
    }
  }

  #adoptSession() {
    const { run: { session }, options } = this.#parts;
    const [lr, beta1, beta2, eps, decay] = session.options;
    options.adopt({ lr, beta1, beta2, eps, 'weight-decay': decay, amsgrad: session.amsgrad });
    // The options of earlier steps are unknown; the distance from torch shows them.
    this.#parts.comparable = options.areTorchs && session.hasDefaults ? Infinity : 0;
  }

  #adopt(stored, comparable, wanted) {
    const { options } = this.#parts;
    options.adopt({ ...options.known(stored), ...wanted });
    this.#parts.comparable = comparable;
    try {
      this.#page.apply(options.current);
    } catch {
      // No page has stored these options.
      this.#adoptSession();
    }
  }

  #forget() {
    this.#run = null;
    this.#unseen = undefined;
    this.#storage.forget();
  }

  #note() {
    const { options, comparable, pace } = this.#parts;
    write(NOTE, { run: this.#run ?? this.#unseen ?? null, options: options.current, comparable, pace });
  }
}

// Other runs have different numbers.
function newNumber() { return 1 + Math.random(); }

function place(run) { return `epoch ${run.accuracies.length}, step ${run.steps}`; }
