// Notes of a plan: which of them come first, and the list that shows those and opens for the rest.
import { html } from './dom.js';
import { Icon, sentence } from './parts.js';

// what a reader must know before looking at a number, the most important first; the service writes notes as sentences
const FIRST = [
  /supersed/i,
  /do(es)? not judge|must not be judged|not be judged/i,
  /\b(fails?|failed|refused)\b/i,
  /nois[ey]|uncertaint|statistic/i,
  /not (been )?confirmed|unconfirmed|generic|calibration/i,
  /\bnot\b|\bno\b|missing|incomplete|ignored|without|cannot|could not/i,
  /differ|another|beyond|outside|interpolated|completed|assumed/i,
];

const rank = (note) => {
  const found = FIRST.findIndex((pattern) => pattern.test(note));
  return found < 0 ? FIRST.length : found;
};

/** Important notes first, each once; the order among equals stays. */
export const sorted = (notes) => [...new Set(notes)].sort((a, b) => rank(a) - rank(b));

/** Whether a note is one that has to be seen before the numbers. */
export const isImportant = (note) => rank(note) < 5;

/**
 * Notes, of which `shown` are seen and the others on demand.
 *
 * @param {{notes: string[], shown?: number, open?: boolean, onOpen?: ((open: boolean) => void) | null}} properties `onOpen` is told of the wish to see all, or less again; without it all are shown
 */
export function NoteList({ notes, shown = 2, open = false, onOpen = null }) {
  const all = sorted(notes);
  if (!all.length) return null;
  const seen = open || !onOpen ? all : all.slice(0, shown);
  const rest = all.length - Math.min(shown, all.length);
  const tone = isImportant(all[0]) ? 'warn' : 'info';
  return html`<div class="notice ${tone} notes" role="note"><${Icon} name=${tone === 'warn' ? 'alert' : 'info'} />
    <div><ul>${seen.map((note) => html`<li>${sentence(note)}</li>`)}</ul>
      ${
        onOpen &&
        rest > 0 &&
        html`<button class="button quiet more" aria-expanded=${String(open)} onClick=${() => onOpen(!open)}>${
          open ? 'Fewer notes' : `${rest} more ${rest === 1 ? 'note' : 'notes'}`
        }</button>`
      }
    </div></div>`;
}

export const NOTES_CSS = `
  .notes ul { margin: 0; padding: 0; list-style: none; display: grid; gap: 3px; }
  .notes .more { padding: 0; min-height: 0; font-size: 12px; color: var(--accent); }
`;
