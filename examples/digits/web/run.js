// A training run: submits steps, reads reports, keeps a copy on the host.

// The interval of reports at full speed: short enough for the eye, long enough for the GPU.
const REPORT_MS = 50;
// Steps per second at the pace for watching; a report covers a few of them.
const WATCH_RATE = 60;
const WATCH_BATCH = 4;
// The state is copied to the host at the end of an epoch: of every epoch at the pace for watching, otherwise at most
// once per this interval.
const SAVE_MS = 250;
// Guessing among ten classes costs 2.3; a loss of a hundred means that training has failed.
const DIVERGED = 100;

export function hasDiverged(loss) { return !(loss < DIVERGED); }

export class Run {
  losses = [];
  // After each epoch.
  accuracies = [];
  accuracy;
  firstLayer;
  probabilities;
  rate = 0;
  // The number of drawings passed to `look`, and the number of the last classified one.
  looks = 0;
  looked = 0;
  pace = 'watch';
  diverged = false;
  training = false;
  saved;
  #session;
  #digit;
  #looking = false;
  #stopping = false;
  #last = Promise.resolve();
  #changed;
  #kept;
  // Callers that wait for a state on the host.
  #waiting = [];

  // `session` is a Session of the wasm module. `changed` is called after each report, `kept` after each new state on
  // the host.
  constructor(session, changed, kept) {
    this.#session = session;
    this.#changed = changed;
    this.#kept = kept;
  }

  get session() { return this.#session; }
  get steps() { return this.losses.length; }

  // Reads the values that a page shows before the first step.
  open() { return this.#alone(() => this.#settle()); }

  // Trains until there are `goal()` steps or `stop` is called.
  train(goal) {
    this.#stopping = false;
    return this.#alone(() => this.#train(goal).finally(() => answer(this.#waiting)));
  }

  stop() { this.#stopping = true; }

  one() {
    return this.#alone(async () => {
      this.#session.step(1);
      await this.#settle();
    });
  }

  reset() {
    return this.#alone(async () => {
      this.#session.reset();
      this.#forget(0);
      this.saved?.free();
      this.saved = undefined;
      await this.#settle();
    });
  }

  // Continues the run of an opened checkpoint; if that fails, continues the current run. `adopt` is called when the
  // other run has replaced this one, before `changed` and `kept`.
  load(opened, adopt) {
    return this.#alone(async () => {
      const saved = opened.saved();
      try {
        this.#session.restore(saved);
      } catch (error) {
        saved.free();
        throw error;
      }
      this.saved?.free();
      this.saved = saved;
      this.#forget(0);
      for (const loss of opened.losses) this.losses.push(loss);
      this.accuracies = [...opened.accuracies];
      adopt();
      await this.#settle();
    });
  }

  // The state on the host as a checkpoint's bytes; undefined before the first step.
  checkpoint() {
    const steps = this.saved?.steps;
    const epochs = Math.floor(steps / this.#session.stepsPerEpoch);
    return steps ? this.saved.checkpoint(this.losses.slice(0, steps), this.accuracies.slice(0, epochs)) : undefined;
  }

  // Resolves when the state on the host is no older than this call, including options.
  fresh() {
    if (this.training) return new Promise(resolve => this.#waiting.push(resolve));
    return this.#alone(async () => this.#keep(await this.#session.save()));
  }

  // After the loss of the device, continues with another session from the last state on the host.
  recover(session) {
    return this.#alone(async () => {
      this.#session = session;
      if (this.saved) session.restore(this.saved);
      this.#forget(session.steps);
      await this.#settle();
    });
  }

  // From now on classifies these 64 pixels (or none) in every report, and at once if no report is due.
  async look(digit) {
    this.#digit = digit;
    this.looks++;
    if (!digit) {
      this.probabilities = undefined;
      this.looked = this.looks;
    }
    if (!digit || this.#looking || this.training) return;
    this.#looking = true;
    await this.#alone(async () => {
      this.#looking = false;
      this.#take(await this.#read(false, false));
    });
  }

  // Runs work sequentially: at most one readback is in flight.
  #alone(work) {
    const result = this.#last.then(work);
    this.#last = result.catch(() => {});
    return result;
  }

  async #train(goal) {
    this.training = true;
    const session = this.#session;
    let [pending, copy, waiting] = [];
    let saved = -Infinity;
    let batch = WATCH_BATCH;
    let reported = performance.now();
    try {
      while (!this.#stopping && session.steps < goal()) {
        const epochLeft = session.stepsPerEpoch - session.steps % session.stepsPerEpoch;
        const full = this.pace === 'full';
        const count = Math.min(full ? batch : WATCH_BATCH, epochLeft, goal() - session.steps);
        session.step(count);
        // The GPU works on these steps while the page waits for the report on the earlier ones.
        if (pending) this.#take(await pending);
        if (copy) this.#keep(await copy, waiting);
        pending = quiet(this.#read(epochLeft === count, true));
        // Submitted after the report and arriving with it, so that the losses of the copied steps are there.
        const due = epochLeft === count && performance.now() - saved >= SAVE_MS;
        waiting = this.#waiting.splice(0);
        copy = due || waiting.length ? quiet(session.save()) : undefined;
        if (copy) saved = performance.now();

        let now = performance.now();
        if (!full) {
          await sleep(count * 1000 / WATCH_RATE - (now - reported));
          now = performance.now();
        }
        const elapsed = now - reported;
        reported = now;
        batch = Math.max(WATCH_BATCH, Math.round(count * Math.min(2, REPORT_MS / Math.max(elapsed, 1))));
        const rate = count * 1000 / elapsed;
        this.rate = this.rate ? this.rate + (rate - this.rate) * Math.min(1, elapsed / 500) : rate;
      }
      if (pending) this.#take(await pending);
      if (copy) this.#keep(await copy, waiting);
    } finally {
      this.training = false;
      this.#waiting.push(...waiting ?? []);
    }
    await this.#settle();
  }

  // Reads everything, and copies the state in case the device is lost.
  async #settle() {
    this.#take(await this.#read(true, true));
    if (!this.diverged) this.#keep(await this.#session.save());
  }

  // The losses up to `saved` have been read.
  #keep(saved, waiting = []) {
    if (this.diverged) return saved.free();
    this.saved?.free();
    this.saved = saved;
    this.#kept();
    answer(waiting);
  }

  async #read(accuracy, firstLayer) {
    const { looks } = this;
    return [await this.#session.read(accuracy, firstLayer, this.#digit), looks];
  }

  #take([report, looks]) {
    for (const loss of report.losses) {
      this.losses.push(loss);
      if (hasDiverged(loss)) this.diverged = true;
    }
    if (this.diverged) this.stop();
    this.accuracy = report.accuracy ?? this.accuracy;
    const epochs = this.steps / this.#session.stepsPerEpoch;
    if (report.accuracy !== undefined && epochs > 0 && Number.isInteger(epochs)) this.accuracies[epochs - 1] = report.accuracy;
    this.firstLayer = report.firstLayer ?? this.firstLayer;
    this.probabilities = this.#digit ? report.probabilities ?? this.probabilities : undefined;
    this.looked = Math.max(this.looked, looks);
    report.free();
    this.#changed();
  }

  #forget(steps) {
    this.losses.length = steps;
    this.accuracies.length = Math.floor(steps / this.#session.stepsPerEpoch);
    this.diverged = false;
    this.rate = 0;
  }
}

function answer(waiting) { for (const resolve of waiting.splice(0)) resolve(); }

// A promise that is awaited later, or never if something else fails first.
function quiet(promise) {
  promise.catch(() => {});
  return promise;
}

function sleep(milliseconds) {
  return milliseconds > 1 ? new Promise(resolve => setTimeout(resolve, milliseconds)) : Promise.resolve();
}
