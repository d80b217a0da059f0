// Formats numbers for the page.

export function short(loss) {
  if (loss === undefined) return '–';
  if (!Number.isFinite(loss)) return Number.isNaN(loss) ? 'NaN' : '∞';
  return loss >= 1000 ? loss.toExponential(1) : loss.toFixed(loss < 10 ? 4 : 1);
}

export function percent(share) { return share === undefined ? '–' : `${(100 * share).toFixed(1)} %`; }

// 4.8e-7 as 4.8 · 10⁻⁷.
export function small(number) { return number.toExponential(1).replace('e-', ' · 10⁻').replace(/\d+$/, power); }

function power(digits) { return [...digits].map(digit => '⁰¹²³⁴⁵⁶⁷⁸⁹'[digit]).join(''); }
