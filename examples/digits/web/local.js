// localStorage: written data is stored when the call returns, even if the page is left at once. Browsers may deny
// access.

export function read(key) {
  try {
    return JSON.parse(localStorage.getItem(key)) ?? undefined;
  } catch {
    return undefined;
  }
}

// Returns whether the value was written. If not, the old value is deleted too, because it is out of date.
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
