// A training run: when steps are submitted, when they are read, what is kept on the host.

// A report every so many milliseconds at full speed: often enough for the eye, seldom enough for the GPU.
const REPORT_MS = 50;
// Steps a second at the pace for watching, a few of them a report.
const WATCH_RATE = 60;
const WATCH_BATCH = 4;
// The state is copied to the host at the end of an epoch, at most so often.
const SAVE_MS = 1000;
// Ten classes guessed at random cost 2.3; a hundred is no training any more.
const DIVERGED = 100;

export function hasDiverged(loss) { return !(loss < DIVERGED); }

export class Run {
  losses = [];
  accuracy;
  firstLayer;
  probabilities;
  rate = 0;
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

  // `changed` is called after each report, `session` is a Session of the wasm module.
  constructor(session, changed) {
    this.#session = session;
    this.#changed = changed;
  }

  get session() { return this.#session; }
  get steps() { return this.losses.length; }

  // Reads what a page shows before the first step.
  open() { return this.#alone(() => this.#settle()); }

  // Trains until there are `goal()` steps or `stop` is called.
  train(goal) {
    this.#stopping = false;
    return this.#alone(() => this.#train(goal));
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

  // Goes on with another session, after the device of this one was lost, from the last state on the host.
  recover(session) {
    return this.#alone(async () => {
      this.#session = session;
      if (this.saved) session.restore(this.saved);
      this.#forget(session.steps);
      await this.#settle();
    });
  }

  // Classifies 64 pixels, or none, from now on in every report, and at once if no report is due.
  async look(digit) {
    this.#digit = digit;
    if (!digit) this.probabilities = undefined;
    if (!digit || this.#looking || this.training) return;
    this.#looking = true;
    await this.#alone(async () => {
      this.#looking = false;
      this.#take(await this.#session.read(false, false, this.#digit));
    });
  }

  // One after the other: there is never more than one readback in flight.
  #alone(work) {
    const result = this.#last.then(work);
    this.#last = result.catch(() => {});
    return result;
  }

  async #train(goal) {
    this.training = true;
    const session = this.#session;
    let pending;
    let saved = -Infinity;
    let batch = WATCH_BATCH;
    let reported = performance.now();
    try {
      while (!this.#stopping && session.steps < goal()) {
        const epochLeft = session.stepsPerEpoch - session.steps % session.stepsPerEpoch;
        const full = this.pace === 'full';
        const count = Math.min(full ? batch : WATCH_BATCH, epochLeft, goal() - session.steps);
        session.step(count);
        // The GPU works on these steps while the report on those before is waited for.
        if (pending) this.#take(await pending);
        pending = quiet(session.read(epochLeft === count, true, this.#digit));

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
        if (epochLeft === count && now - saved > SAVE_MS) {
          this.#take(await pending);
          pending = undefined;
          await this.#save();
          saved = performance.now();
        }
      }
      if (pending) this.#take(await pending);
      pending = undefined;
    } finally {
      this.training = false;
    }
    await this.#settle();
  }

  // All there is to tell, and the state for a device that may come.
  async #settle() {
    this.#take(await this.#session.read(true, true, this.#digit));
    if (!this.diverged) await this.#save();
  }

  async #save() {
    const saved = await this.#session.save();
    this.saved?.free();
    this.saved = saved;
  }

  #take(report) {
    for (const loss of report.losses) {
      this.losses.push(loss);
      if (hasDiverged(loss)) this.diverged = true;
    }
    if (this.diverged) this.stop();
    this.accuracy = report.accuracy ?? this.accuracy;
    this.firstLayer = report.firstLayer ?? this.firstLayer;
    this.probabilities = this.#digit ? report.probabilities ?? this.probabilities : undefined;
    report.free();
    this.#changed();
  }

  #forget(steps) {
    this.losses.length = steps;
    this.diverged = false;
    this.rate = 0;
  }
}

// A promise that is awaited later, or never if something else fails first.
function quiet(promise) {
  promise.catch(() => {});
  return promise;
}

function sleep(milliseconds) {
  return milliseconds > 1 ? new Promise(resolve => setTimeout(resolve, milliseconds)) : Promise.resolve();
}
