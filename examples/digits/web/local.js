// localStorage: what is put there is kept when the call returns, whatever becomes of the page. Browsers may deny it.

export function read(key) {
  try {
    return JSON.parse(localStorage.getItem(key)) ?? undefined;
  } catch {
    return undefined;
  }
}

// What cannot be written is not read again as it was before either.
export function write(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
  } catch {
    drop(key);
  }
}

export function drop(key) {
  try {
    localStorage.removeItem(key);
  } catch {
    // Then nothing is there.
  }
}
