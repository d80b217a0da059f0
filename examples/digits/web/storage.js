// The last run, kept in the browser so that a reload goes on with it. It lies in IndexedDB, which takes its time: when the
// page goes, a write may still be under way. Then the run lies in localStorage too, which is written at once.

import { packed, unpacked } from './checkpoint.js';
import { drop, read, write } from './local.js';

const DATABASE = 'wgpu-adam digits';
const STORE = 'runs';
const KEY = 'last';
const LATE = 'wgpu-adam digits, last run';
// A browser whose storage hangs must not keep the page from beginning; one that is busy may take its time.
const PATIENCE_MS = 10e3;

export class Storage {
  #database;
  // Makes what waits to be written.
  #make;
  // Makes the last of what is written or waits, until that is on the disk.
  #unsure;
  #writing = false;
  #works = true;
  #trouble;

  // `trouble` is called with what the browser says, the first time that it refuses.
  constructor(trouble) {
    this.#trouble = message => {
      this.#trouble = () => {};
      trouble(message);
    };
  }

  // A promise of the records that are stored: none, one, or two of which the first is newer. It is undefined if the browser
  // refuses.
  load() {
    const late = unpacked(read(LATE));
    return this.#attempt(async () => {
      const last = await this.#transact('readonly', store => store.get(KEY));
      return [late, last].filter(record => record !== undefined);
    });
  }

  // What `loading` gives; undefined where that takes too long from now on.
  async answer(loading) {
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error('it does not answer')), PATIENCE_MS);
    });
    const answer = await this.#attempt(() => Promise.race([loading, late]));
    clearTimeout(timer);
    return answer;
  }

  // Stores what `make` makes, soon: while a write is under way, only the last of several is kept for the next.
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

  // The page may be gone after this call. So what IndexedDB has not written yet is written into localStorage; not where
  // IndexedDB has refused it, because the page has said then that the run is not kept.
  leave() {
    const make = this.#unsure;
    if (!make || !this.#works) return;
    // Without localStorage there is hope only.
    this.#attempt(() => write(LATE, packed(make())) || this.#transact('readwrite', store => store.put(make(), KEY)));
  }

  #settle() {
    this.#unsure = undefined;
    drop(LATE);
  }

  // Training goes on without storage.
  async #attempt(work) {
    try {
      return await work();
    } catch (error) {
      this.#works = false;
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
