// Adam's options: the fields' values, the current values, and the fields' errors.

const FIELDS = ['lr', 'beta1', 'beta2', 'eps', 'weight-decay', 'epochs'];

export class Options {
  // The current options, and those of torch's run, which are the defaults.
  current;
  #torch;
  #apply;

  // `apply` is called with all options and the name of the changed one; an error that it throws is shown beside the
  // field.
  constructor(torch, apply) {
    this.#torch = torch;
    this.current = { ...torch };
    this.#apply = apply;
    for (const name of FIELDS) {
      element(name).addEventListener('change', () => this.#change(name, number(element(name).value)));
    }
    element('lr-slider').addEventListener('input', () => {
      this.#change('lr', Number((10 ** element('lr-slider').value).toPrecision(2)));
      this.#show('lr');
    });
    element('amsgrad').addEventListener('change', () => this.#change('amsgrad', element('amsgrad').checked));
    element('options').addEventListener('submit', event => event.preventDefault());
    // Leaving the page counts as leaving the field: the last typed value counts.
    addEventListener('pagehide', () => {
      const { id, value } = document.activeElement;
      if (FIELDS.includes(id) && value !== String(this.current[id])) this.#change(id, number(value));
    });
    this.show();
  }

  // Sets the defaults, except the number of epochs.
  reset() {
    for (const [name, value] of Object.entries(this.#torch)) {
      if (name !== 'epochs') this.#change(name, value);
    }
    this.show();
  }

  // Whether steps with the current options equal torch's steps.
  get areTorchs() {
    return Object.entries(this.#torch).every(([name, value]) => name === 'epochs' || this.current[name] === value);
  }

  // The valid options of a stored object, which another version of the page may have stored.
  known(stored) {
    const isKnown = ([name, value]) => typeof value === typeof this.#torch[name]
      && (name !== 'epochs' || isNumberOfEpochs(value));
    return Object.fromEntries(Object.entries(stored ?? {}).filter(isKnown));
  }

  // Shows options that the optimizer already has.
  adopt(options) {
    Object.assign(this.current, options);
    FIELDS.forEach(name => this.#note(name, ''));
    this.show();
  }

  set(name, value) {
    this.#change(name, value);
    this.#show(name);
  }

  show() {
    FIELDS.forEach(name => this.#show(name));
    element('amsgrad').checked = this.current.amsgrad;
  }

  #show(name) {
    element(name).value = String(this.current[name]);
    if (name === 'lr') element('lr-slider').value = Math.log10(this.current.lr || 1e-5);
  }

  #change(name, value) {
    const old = this.current[name];
    this.current[name] = value;
    try {
      if (Number.isNaN(value)) throw new Error('That is not a number');
      this.#apply(this.current, name);
      this.#note(name, name === 'lr' && value === 0 ? 'At a rate of 0, nothing is learned.' : '');
      if (name === 'lr') element('lr-slider').value = Math.log10(value || 1e-5);
    } catch (error) {
      this.current[name] = old;
      this.#note(name, `${sentence(error.message)} Still using ${old}.`, true);
    }
  }

  #note(name, text, wrong = false) {
    if (name === 'amsgrad') return;
    element(name).setAttribute('aria-invalid', wrong);
    element(`${name}-note`).textContent = text;
  }
}

export function isNumberOfEpochs(value) { return Number.isInteger(value) && value > 0 && value <= 10000; }

// Number('') would be 0.
function number(text) {
  return text.trim() === '' ? NaN : Number(text.trim().replace(',', '.'));
}

// The library's message, "invalid lr of parameter group 0: -1; it must be finite", without the group, because the page
// has only one.
function sentence(message) {
  const requirement = message.split('; it ').at(-1);
  const text = requirement === message ? message : `It ${requirement}`;
  return `${text[0].toUpperCase()}${text.slice(1).replace(/\.$/, '')}.`;
}

function element(id) { return document.getElementById(id); }
