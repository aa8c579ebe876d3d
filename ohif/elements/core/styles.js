// What all elements look like: colors in two themes, type, tables, controls. Constructed style sheets, so that the
// page's Content-Security-Policy needs no 'unsafe-inline'.

export const TOKENS = `
:host {
  --accent: var(--rad-accent, #0b5cad);
  --on-accent: #ffffff;
  --surface: var(--rad-surface, #ffffff);
  --surface-2: var(--rad-surface-2, #f4f6f8);
  --text: var(--rad-text, #18202a);
  --text-2: var(--rad-text-2, #55606e);
  --line: var(--rad-line, #dbe1e8);
  --line-2: #8b96a3;
  --good: #0b6e51;
  --warn: #8a5300;
  --bad: #b3261e;
  --good-bg: #e3f3ed;
  --warn-bg: #fcf0dc;
  --bad-bg: #fbe7e5;
  --info-bg: #e5eff9;
  --shadow: 0 1px 2px rgb(16 24 32 / 6%);
  --font: var(--rad-font, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", sans-serif);
  --mono: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  color-scheme: light;
}
`;

const DARK = `
  --accent: var(--rad-accent, #78b7f2);
  --on-accent: #0d1a28;
  --surface: var(--rad-surface, #171c23);
  --surface-2: var(--rad-surface-2, #1f262f);
  --text: var(--rad-text, #e6ebf1);
  --text-2: var(--rad-text-2, #a3afbd);
  --line: var(--rad-line, #2e3844);
  --line-2: #6d7987;
  --good: #58c7a0;
  --warn: #e8b04e;
  --bad: #ff8f85;
  --good-bg: #12342a;
  --warn-bg: #3a2c10;
  --bad-bg: #421d1a;
  --info-bg: #16304a;
  --shadow: 0 1px 2px rgb(0 0 0 / 40%);
  color-scheme: dark;
`;

const BASE = `
${TOKENS}
@media (prefers-color-scheme: dark) { :host(:not([theme="light"])) { ${DARK} } }
:host([theme="dark"]) { ${DARK} }
:host { display: block; color: var(--text); font: 13px/1.45 var(--font); font-variant-numeric: tabular-nums; }
:host([hidden]) { display: none; }
* { box-sizing: border-box; }
.root { min-width: 0; }
p { margin: 0 0 8px; }
h2, h3 { margin: 0; font-size: 13px; font-weight: 600; letter-spacing: .005em; }
a { color: var(--accent); text-decoration: none; }
a:hover, p a, dd a, li a, .notice a, .note a { text-decoration: underline; }
a.button, .cards a, .list a { text-decoration: none; }
:focus { outline: none; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: 3px; }
.muted { color: var(--text-2); }
.small { font-size: 12px; }
.mono { font-family: var(--mono); font-size: 12px; }
.num { text-align: right; white-space: nowrap; }
.nowrap { white-space: nowrap; }
.clip { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.row { display: flex; align-items: center; gap: 8px; flex-wrap: wrap; }
.spread { justify-content: space-between; }
.grow { flex: 1 1 auto; min-width: 0; }
.vh { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }

table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-weight: 500; font-size: 12px; color: var(--text-2); white-space: nowrap; }
th, td { padding: 5px 10px 5px 0; border-bottom: 1px solid var(--line); vertical-align: baseline; }
th.num { text-align: right; }
tr:last-child td { border-bottom: 0; }
th:last-child, td:last-child { padding-right: 0; }
.scroll { overflow-x: auto; }

button, select, input, textarea { font: inherit; color: inherit; }
button { cursor: pointer; }
.button { display: inline-flex; align-items: center; gap: 6px; min-height: 28px; padding: 3px 11px; border: 1px solid var(--line-2);
  border-radius: 6px; background: var(--surface); color: var(--text); font-weight: 500; white-space: nowrap; }
.button:hover { background: var(--surface-2); text-decoration: none; }
.button.primary { background: var(--accent); border-color: var(--accent); color: var(--on-accent); }
.button.primary:hover { filter: brightness(1.08); }
.button.danger { color: var(--bad); border-color: currentColor; }
.button.quiet { border-color: transparent; background: transparent; padding: 3px 6px; color: var(--text-2); }
.button.quiet:hover { background: var(--surface-2); color: var(--text); }
.button:disabled { opacity: .5; cursor: default; }
.segmented { display: inline-flex; border: 1px solid var(--line-2); border-radius: 6px; overflow: hidden; }
.segmented button { border: 0; border-right: 1px solid var(--line); background: var(--surface); padding: 3px 10px; color: var(--text-2); min-height: 26px; }
.segmented button:last-child { border-right: 0; }
.segmented button[aria-pressed="true"] { background: var(--info-bg); color: var(--text); font-weight: 600; }
.segmented button:focus-visible { outline-offset: -2px; }
input:not([type]), input[type="text"], input[type="search"], input[type="number"], input[type="date"], select, textarea { min-height: 28px; padding: 3px 8px; border: 1px solid var(--line-2);
  border-radius: 5px; background: var(--surface); min-width: 0; }
input[type="number"] { text-align: right; font-variant-numeric: tabular-nums; }
input[aria-invalid="true"], select[aria-invalid="true"] { border-color: var(--bad); box-shadow: inset 0 0 0 1px var(--bad); }
::placeholder { color: var(--text-2); opacity: .8; }

.status { display: inline-flex; align-items: baseline; gap: 5px; white-space: nowrap; font-weight: 500; }
.status svg { flex: none; align-self: center; }
.good { color: var(--good); } .warn { color: var(--warn); } .bad { color: var(--bad); }
.tag { display: inline-block; padding: 0 6px; border: 1px solid var(--line-2); border-radius: 4px; font-size: 11px; color: var(--text-2); white-space: nowrap; }

.empty { padding: 28px 16px; text-align: center; color: var(--text-2); }
.empty strong { display: block; margin-bottom: 3px; color: var(--text); font-weight: 600; }
.notice { display: flex; gap: 9px; padding: 9px 12px; border-radius: 6px; background: var(--info-bg); border: 1px solid transparent; }
.notice svg { flex: none; margin-top: 2px; }
.notice.bad { background: var(--bad-bg); color: var(--text); } .notice.bad > svg { color: var(--bad); }
.notice.warn { background: var(--warn-bg); color: var(--text); } .notice.warn > svg { color: var(--warn); }
.notice .remedy { color: var(--text-2); }
.notice > div { min-width: 0; overflow-wrap: anywhere; }
.bones { display: grid; gap: 9px; padding: 6px 0; }
.bone { height: 12px; border-radius: 4px; background: var(--surface-2); }
.bone:nth-child(3n+1) { width: 72%; } .bone:nth-child(3n+2) { width: 90%; } .bone:nth-child(3n) { width: 58%; }
@media (prefers-reduced-motion: no-preference) {
  .bone { animation: wait 1.4s ease-in-out infinite; }
  @keyframes wait { 50% { opacity: .45; } }
}
.swatch { display: inline-block; width: 11px; height: 11px; border-radius: 3px; flex: none; background: var(--line-2); }
.bar { height: 5px; border-radius: 3px; background: var(--surface-2); overflow: hidden; box-shadow: inset 0 0 0 1px var(--line); }
.bar > i { display: block; height: 100%; background: var(--accent); border-radius: 3px; }
dl.facts { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 4px 14px; margin: 0; }
dl.facts dt { color: var(--text-2); } dl.facts dd { margin: 0; overflow-wrap: anywhere; }
`;

function sheet(text) {
  const made = new CSSStyleSheet();
  made.replaceSync(text);
  return made;
}

const base = sheet(BASE);
const own = new Map();

/** The base and an element's own styles, each made once. */
export function sheets(css) {
  if (!css) return [base];
  if (!own.has(css)) own.set(css, sheet(css));
  return [base, own.get(css)];
}

/** A style sheet of a package, filled in when it has come. */
export function packageSheet(url) {
  const made = new CSSStyleSheet();
  fetch(url)
    .then((answer) => (answer.ok ? answer.text() : ''))
    .then((text) => made.replaceSync(text))
    .catch(() => {}); // without it a curve still has its axes and values
  return made;
}
