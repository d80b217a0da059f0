// The last run, stored in the browser so that a reload continues it. It is stored in IndexedDB, which is slow: when the
// page is left, a write may still be pending. So leaving the page also writes the run to localStorage, which is
// immediate.

import { packed, unpacked } from './checkpoint.js';
import { drop, read, write } from './local.js';

const DATABASE = 'wgpu-adam digits';
const STORE = 'runs';
const KEY = 'last';
const LATE = 'wgpu-adam digits, last run';
// Storage that hangs must not keep the page from starting, but a busy browser gets time.
const PATIENCE_MS = 10e3;

export class Storage {
  #database;
  // Makes the record that waits to be written.
  #make;
  // Makes the latest record that is pending or waiting, until it is on the disk.
  #unsure;
  #writing = false;
  #works = true;
  #trouble;

  // `trouble` is called with the browser's message, when it first refuses.
  constructor(trouble) {
    this.#trouble = message => {
      this.#trouble = () => {};
      trouble(message);
    };
  }

  // A promise of the stored records: none, one, or two, the newer one first. It resolves to undefined if the browser
  // refuses.
  load() {
    const late = unpacked(read(LATE));
    return this.#attempt(async () => {
      const last = await this.#transact('readonly', store => store.get(KEY));
      return [late, last].filter(record => record !== undefined);
    });
  }

  // The result of `loading`; undefined if that takes too long from now on.
  async answer(loading) {
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error('its storage does not respond')), PATIENCE_MS);
    });
    const answer = await this.#attempt(() => Promise.race([loading, late]));
    clearTimeout(timer);
    return answer;
  }

  // Stores the record of `make` soon. While a write is pending, only the last of several records is kept for the next
  // write.
  async put(make) {
    this.#make = this.#unsure = make;
    if (this.#writing) return;
    this.#writing = true;
    while (this.#make) {
      const next = this.#make;
      this.#make = undefined;
      await this.#attempt(async () => {
        await this.#transact('readwrite', store => store.put(next(), KEY));
        this.#works = true;
        if (this.#unsure === next) this.#settle();
      });
    }
    this.#writing = false;
  }

  forget() {
    this.#make = undefined;
    this.#settle();
    return this.#attempt(() => this.#transact('readwrite', store => store.delete(KEY)));
  }

  // The page may be gone after this call. So records that IndexedDB has not written yet are written to localStorage. If
  // IndexedDB has refused them, they are not, because the page has reported that the run is not stored.
  leave() {
    const make = this.#unsure;
    if (!make || !this.#works) return;
    // Without localStorage, try IndexedDB and hope.
    this.#attempt(() => write(LATE, packed(make())) || this.#transact('readwrite', store => store.put(make(), KEY)));
  }

  #settle() {
    this.#unsure = undefined;
    drop(LATE);
  }

  // Training continues without storage.
  async #attempt(work) {
    try {
      return await work();
    } catch (error) {
      this.#works = false;
      // Browsers identify this error only by its name.
      const full = error?.name === 'QuotaExceededError';
      this.#trouble(full ? 'there is not enough space for it' : error?.message || error?.name || String(error));
    }
  }

  // The result of a request, when it is on the disk or was read from it.
  async #transact(mode, request) {
    const database = await (this.#database ??= this.#open());
    return new Promise((resolve, reject) => {
      const transaction = database.transaction(STORE, mode);
      const asked = request(transaction.objectStore(STORE));
      transaction.oncomplete = () => resolve(asked.result);
      transaction.onabort = () => reject(transaction.error ?? asked.error);
      // So that it is written even if the page is gone by then. A commit would cut off a read.
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
      // Another tab that deletes the database, or the browser, closes it; the next use opens it again.
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
