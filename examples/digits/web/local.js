// localStorage: what is put there is kept when the call returns, whatever becomes of the page. Browsers may deny it.

export function read(key) {
  try {
    return JSON.parse(localStorage.getItem(key)) ?? undefined;
  } catch {
    return undefined;
  }
}

// Returns whether it is written. If not, what was there before is gone too, because it is out of date.
export function write(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
    return true;
  } catch {
    drop(key);
    return false;
  }
}

export function drop(key) {
  try {
    localStorage.removeItem(key);
  } catch {
    // Then nothing is there.
  }
}
