// The written grammar of goals, as the service reads it (radiarch_contract.goals), for errors as one types.

const NUMBER = '\\d+(?:\\.\\d+)?';
const METRIC = new RegExp(`(?:Dmean|Dmin|Dmax|CI|HI|D|V)(?:(${NUMBER})(%|Gy|cc)|\\((${NUMBER})cc\\))?`, 'y');
const OP = /≥|≤|>=|<=/y;
const EXTRA = /priority|tolerance/y;
const PRIORITY = /[1-9]\d?/y;
const VALUE = new RegExp(`(${NUMBER})\\s*(%|Gy|cc)?`, 'y');

function at(pattern, text, position) {
  pattern.lastIndex = position;
  return pattern.exec(text);
}

const skip = (text, position) => position + text.slice(position).search(/\S|$/);

/** `{structure}` of a goal, or `{error, position}` where it stops making sense. */
export function parseGoal(text) {
  const wrong = (position, expected) => ({ position, error: `character ${position + 1}: expected ${expected}` });
  const colon = text.indexOf(':');
  const structure = (colon < 0 ? text : text.slice(0, colon)).trim();
  if (colon < 0 || !structure) return wrong(colon < 0 ? text.length : 0, "a structure's name and ':' in front");
  let position = skip(text, colon + 1);
  const metric = metricAt(text, position, wrong);
  if ('error' in metric) return metric;
  const { kind } = metric;
  position = skip(text, metric.end);
  const op = at(OP, text, position);
  if (!op) return wrong(position, '≥ or ≤ (also >= or <=)');
  position = skip(text, position + op[0].length);
  const value = at(VALUE, text, position);
  if (!value) return wrong(position, 'a number');
  const end = position + value[0].trimEnd().length;
  const allowed = ['CI', 'HI'].includes(kind) ? [''] : kind === 'V' ? ['%', 'cc'] : ['%', 'Gy'];
  if (!allowed.includes(value[2] ?? '')) return wrong(end, `the unit ${allowed.map((u) => u || 'none').join(' or ')}`);
  return extras(text, end, value[2] ?? '', wrong) ?? { structure };
}

/**
 * A metric of the grammar alone: `D95%`, `D2cc`, `V20Gy`, `V95%`, `Dmean`, `Dmin`, `Dmax`, `Dmax(0.03cc)`.
 *
 * @param {string} text
 * @returns {{name: string, kind: string, argument: number | null, unit: string} | {error: string}}
 */
export function parseMetric(text) {
  const plain = text.trim();
  const metric = metricAt(plain, 0, (position, expected) => ({ position, error: `character ${position + 1}: expected ${expected}` }));
  if ('error' in metric) return metric;
  if (metric.end < plain.length) return { error: `character ${metric.end + 1}: expected nothing more` };
  if (['CI', 'HI'].includes(metric.kind)) return { error: `${metric.kind} cannot be read from a curve: give it as a goal` };
  const { kind, argument, unit } = metric;
  return { name: plain, kind, argument, unit };
}

/** A metric at a place of a text: its parts and where it ends, or what is wrong. */
function metricAt(text, position, wrong) {
  const metric = at(METRIC, text, position);
  if (!metric) return wrong(position, 'a metric such as D95%, D2cc, V20Gy, Dmean, Dmax(0.03cc), CI or HI');
  const kind = metric[0].match(/^(Dmean|Dmin|Dmax|CI|HI|D|V)/)?.[0] ?? '';
  const [, argument, unit, volume] = metric;
  if (volume !== undefined && kind !== 'Dmax') return wrong(position, 'no parentheses: only Dmax(0.03cc) has them');
  if (['D', 'V'].includes(kind)) {
    if (argument === undefined) return wrong(position + metric[0].length, `a number and unit after ${kind}, as in D95% or V20Gy`);
    if ((kind === 'D' && unit === 'Gy') || (kind === 'V' && unit === 'cc'))
      return wrong(position + metric[0].length - unit.length, 'D of a volume (% or cc), V of a dose (Gy or %)');
    if (kind === 'D' && unit === '%' && !(Number(argument) > 0 && Number(argument) <= 100))
      return wrong(position + 1, 'a percentage above 0 and up to 100');
  } else if (argument !== undefined) {
    return wrong(position + kind.length, `nothing directly after ${kind}`);
  }
  return {
    kind,
    argument: argument !== undefined ? Number(argument) : volume !== undefined ? Number(volume) : null,
    unit: unit ?? (volume !== undefined ? 'cc' : ''),
    end: position + metric[0].length,
  };
}

/** What is wrong behind a goal's value, where priority and tolerance may stand; null where nothing is. */
function extras(text, end, unit, wrong) {
  const seen = new Set();
  let position = skip(text, end);
  while (position < text.length) {
    if (text[position] !== ',') return wrong(position, "the end of the goal, or ', priority 1', or ', tolerance 1%'");
    position = skip(text, position + 1);
    const word = at(EXTRA, text, position)?.[0];
    if (!word || seen.has(word)) return wrong(position, "'priority' or 'tolerance', each once");
    seen.add(word);
    position = skip(text, position + word.length);
    const found = at(word === 'priority' ? PRIORITY : VALUE, text, position);
    if (!found) return wrong(position, word === 'priority' ? 'a priority from 1, which comes first, to 99' : 'a number');
    if (word === 'tolerance' && (found[2] ?? '') !== unit)
      return wrong(position + found[1].length, `the unit of the goal's value, ${unit || 'none'}`);
    position = skip(text, position + found[0].trimEnd().length);
  }
  return null;
}
