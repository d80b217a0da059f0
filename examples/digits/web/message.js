// One line above the run's results, about a run that was opened, resumed or not stored. The next line replaces it.

const element = id => document.getElementById(id);

// `label` and `action` belong to a button. `near` says that the user waits for the line, so it may have to be scrolled
// into view.
export function tell(text, { bad = false, near = false, label, action } = {}) {
  element('message').classList.toggle('bad', bad);
  element('message-text').textContent = text;
  element('message-action').hidden = !action;
  element('message-action').textContent = label ?? '';
  element('message-action').onclick = action ?? null;
  element('message-close').hidden = !text;
  if (near) element('message').scrollIntoView({ block: 'nearest' });
}

export function hush() { tell(''); }
