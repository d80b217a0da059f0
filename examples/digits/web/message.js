// One line about the run that was opened, resumed or not kept, above what the run shows; the next takes its place.

const element = id => document.getElementById(id);

// `label` and `action` are those of a button; `near` says that somebody waits for the line and may have to be shown it.
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
