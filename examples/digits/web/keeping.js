// How a run outlives its page: as a file that is downloaded and opened, and as the last run that the browser stores.

import { chosen, download, record, recorded } from './checkpoint.js';
import { hush, tell } from './message.js';
import { Storage } from './storage.js';

export class Keeping {
  #parts;
  #page;
  #storage = new Storage(reason => {
    tell(`This browser will not keep the run over a reload: ${reason}. A checkpoint that you download keeps it.`);
  });

  // `parts` are the page's run, options and comparable steps; `page` has `apply`, which gives options to the optimizer,
  // `settled`, which follows on a run that has come to rest, and `startOver`.
  constructor(parts, page) {
    this.#parts = parts;
    this.#page = page;
    for (const type of ['visibilitychange', 'pagehide']) addEventListener(type, () => this.#storage.flush(), true);
  }

  // A promise of what the browser has stored, for `resume`.
  load() { return this.#storage.load(); }

  // Stores the run for a reload; training does not wait for it.
  keep() {
    const { run, options } = this.#parts;
    if (run.saved?.steps) this.#storage.put(() => record(run.checkpoint(), options.current, this.#parts.comparable));
    else if (run.saved) this.#storage.forget();
  }

  async download() {
    const { run } = this.#parts;
    await run.fresh();
    download(run.checkpoint(), run.saved.steps);
  }

  // Goes on with the file that was chosen; without it, and told why, if it is no checkpoint of this model.
  async open(input) {
    const [file] = input.files;
    if (!file) return;
    const { run } = this.#parts;
    let checkpoint;
    try {
      checkpoint = await chosen(file, run.session.stepsPerEpoch);
    } catch (error) {
      return tell(`${file.name} was not opened: ${error.message}. The run is as it was.`, { bad: true, near: true });
    } finally {
      // The same file may be chosen again.
      input.value = '';
    }
    await this.#goOn(checkpoint);
    this.#page.settled();
    tell(`${file.name} opened: ${place(run)}.`, { near: true });
  }

  // Goes on with the stored run, if there is one that can be read: whether it does. `epochs`, if given, are wanted
  // rather than those of the stored run.
  async resume(stored, keepsEpochs) {
    if (!stored) return false;
    const { run, options } = this.#parts;
    let checkpoint;
    try {
      checkpoint = recorded(stored, run.session.stepsPerEpoch);
    } catch (error) {
      this.#storage.forget();
      tell(`The run that this browser had kept was dropped: ${error.message}.`, { bad: true });
      return false;
    }
    await this.#goOn(checkpoint);
    const { epochs } = options.current;
    options.adopt(stored.options);
    if (keepsEpochs) options.adopt({ epochs });
    this.#parts.comparable = stored.comparable;
    this.#page.apply(options.current);
    this.#page.settled();
    const action = () => {
      hush();
      this.#page.startOver();
    };
    tell(`Resumed at ${place(run)}.`, { label: 'Start over', action });
    return true;
  }

  async #goOn(checkpoint) {
    const { run, options } = this.#parts;
    run.stop();
    await run.load(checkpoint);
    checkpoint.free();
    const { session } = run;
    const [lr, beta1, beta2, decay] = session.options;
    options.adopt({ lr, beta1, beta2, 'weight-decay': decay, amsgrad: session.amsgrad });
    // Options before its last step are not known; the distance from torch tells.
    this.#parts.comparable = options.areTorchs && session.hasDefaults ? Infinity : 0;
  }
}

function place(run) { return `epoch ${run.accuracies.length}, step ${run.steps}`; }
