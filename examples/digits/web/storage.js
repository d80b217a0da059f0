// The last run, kept in the browser (IndexedDB) so that a reload goes on with it.

const DATABASE = 'wgpu-adam digits';
const STORE = 'runs';
const KEY = 'last';
// A browser whose storage hangs must not keep the page from beginning.
const PATIENCE_MS = 3000;

export class Storage {
  #database;
  #make;
  #writing = false;
  #trouble;

  // `trouble` is called with what the browser says, the first time that it refuses.
  constructor(trouble) {
    this.#trouble = message => {
      this.#trouble = () => {};
      trouble(message);
    };
  }

  // What was stored last, if anything.
  async load() {
    const late = new Promise((_, reject) => setTimeout(reject, PATIENCE_MS, new Error('it does not answer')));
    return this.#attempt(() => Promise.race([this.#transact('readonly', store => store.get(KEY)), late]));
  }

  // Stores what `make` makes, soon: while a write is under way, only the last of several is kept for the next.
  async put(make) {
    this.#make = make;
    if (this.#writing) return;
    this.#writing = true;
    while (this.#make) await this.flush();
    this.#writing = false;
  }

  // Hands what waits to the browser at once, which may be the last chance.
  flush() {
    const make = this.#make;
    this.#make = undefined;
    return make && this.#attempt(() => this.#transact('readwrite', store => store.put(make(), KEY)));
  }

  forget() {
    this.#make = undefined;
    return this.#attempt(() => this.#transact('readwrite', store => store.delete(KEY)));
  }

  // Training goes on without storage.
  async #attempt(work) {
    try {
      return await work();
    } catch (error) {
      // Browsers tell this one by its name only.
      const full = error?.name === 'QuotaExceededError';
      this.#trouble(full ? 'there is no room for it' : error?.message || error?.name || String(error));
    }
  }

  // The result of a request, once it is on the disk or read from it.
  async #transact(mode, request) {
    const database = await (this.#database ??= this.#open());
    return new Promise((resolve, reject) => {
      const transaction = database.transaction(STORE, mode);
      const asked = request(transaction.objectStore(STORE));
      transaction.oncomplete = () => resolve(asked.result);
      transaction.onabort = () => reject(transaction.error ?? asked.error);
      // So that it is written even if the page is gone by then. A read would be cut off by it.
      if (mode === 'readwrite') transaction.commit?.();
    });
  }

  async #open() {
    try {
      if (!self.indexedDB) throw new Error('it has no IndexedDB');
      const database = await new Promise((resolve, reject) => {
        const asked = indexedDB.open(DATABASE);
        asked.onupgradeneeded = () => asked.result.createObjectStore(STORE);
        asked.onsuccess = () => resolve(asked.result);
        asked.onerror = () => reject(asked.error);
      });
      // Closed by another tab that deletes it, or by the browser: the next use opens it again.
      database.onversionchange = () => {
        database.close();
        this.#database = undefined;
      };
      database.onclose = () => { this.#database = undefined; };
      return database;
    } catch (error) {
      this.#database = undefined;
      throw error;
    }
  }
}
