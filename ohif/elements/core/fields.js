// Form fields from a JSON schema: one for each property, objects and lists within each other, whatever a workflow asks for.
import { html } from './dom.js';
import { blank, label, limits, unwrap } from './schema.js';

export const errorAt = (errors, path) =>
  errors.find((e) => e.path.length === path.length && e.path.every((p, i) => String(p) === String(path[i])))?.message;
const idOf = (path) => `f-${path.join('-')}`;

/** A number as typed: empty is `null`, what is no number is NaN, so that it is refused rather than guessed. */
export function typed(text) {
  const plain = text.trim().replace(',', '.');
  return plain === '' ? null : Number(plain);
}

/** An input for a number which keeps what is typed until it is another number. */
export function NumberInput({ id, value, onValue, error, placeholder, width = 92, ...rest }) {
  return html`<input id=${id} type="text" inputmode="decimal" autocomplete="off" style=${{ width: `${width}px`, textAlign: 'right' }} placeholder=${placeholder}
    value=${value === null || value === undefined ? '' : Number.isNaN(value) ? undefined : String(value)} aria-invalid=${error ? 'true' : null}
    aria-describedby=${error ? `${id}-error` : null} title=${error ?? rest.title} aria-label=${rest.label}
    onInput=${(e) => onValue(typed(e.target.value))} />`;
}

export const FieldError = ({ id, message }) => (message ? html`<div class="bad small" id=${`${id}-error`}>${message}</div>` : null);

/**
 * One property. `path` is where it is in the request's parameters, `change(path, value)` sets it.
 */
export function Field({ name, schema, root, value, path, errors, change, defaultValue, structures }) {
  const { schema: s, nullable } = unwrap(schema, root);
  const { text, unit } = label(name);
  const id = idOf(path);
  const error = errorAt(errors, path);
  const set = (v) => change(path, v);
  const hint = [s.description, limits(s)].filter(Boolean).join(' ');
  if (s.type === 'object' && s.properties) {
    const on = value !== null && value !== undefined;
    return html`<fieldset class="group">
      <legend>${nullable ? html`<label class="row"><input type="checkbox" checked=${on} onChange=${() => set(on ? null : blank({ ...s, default: undefined, type: 'object' }, root))} /> ${text}</label>` : text}</legend>
      ${s.description && html`<p class="muted small">${s.description}</p>`}
      ${
        on &&
        html`<div class="fields">${Object.entries(s.properties).map(
          ([key, own]) => html`<${Field} key=${key} name=${key} schema=${own} root=${root}
        value=${value[key]} path=${[...path, key]} errors=${errors} change=${change} defaultValue=${own.default} structures=${structures} />`,
        )}</div>`
      }
      <${FieldError} id=${id} message=${error} />
    </fieldset>`;
  }
  const hinted = html`<${FieldError} id=${id} message=${error} />`;
  if (s.type === 'array') return html`<${List} ...${{ text, s, root, value, path, errors, change, error, id, nullable, structures }} />`;
  if (s.type === 'object') return html`<${Pairs} ...${{ text, s, value: value ?? {}, path, errors, set, hint }} />`;
  const either = s.anyOf?.map((c) => unwrap(c, root).schema);
  if (either?.some((c) => c.type === 'boolean') && either.some((c) => c.properties)) {
    const detail = either.find((c) => c.properties);
    const detailed = typeof value === 'object' && value !== null;
    return html`<fieldset class="group"><legend><label class="row"><input id=${id} type="checkbox" checked=${Boolean(value)} onChange=${(e) => set(e.target.checked)} /> ${text}</label></legend>
      ${s.description && html`<p class="muted small" style="margin:0">${s.description}</p>`}
      ${value && html`<label class="row small"><input type="checkbox" checked=${detailed} onChange=${(e) => set(e.target.checked ? blank(detail, root) : true)} /> With limits of its own</label>`}
      ${
        detailed &&
        html`<div class="fields">${Object.entries(detail.properties).map(
          ([key, own]) => html`<${Field} key=${key} name=${key} schema=${own} root=${root} value=${value[key]}
        path=${[...path, key]} errors=${errors} change=${change} defaultValue=${own.default} structures=${structures} />`,
        )}</div>`
      }${hinted}</fieldset>`;
  }
  let input;
  if (s.type === 'boolean') {
    input = html`<input id=${id} type="checkbox" checked=${Boolean(value)} onChange=${(e) => set(e.target.checked)} />`;
  } else if (name === 'structure' && structures) {
    input = html`<select id=${id} aria-invalid=${error ? 'true' : null} onChange=${(e) => set(e.target.value)}><option value="" selected=${!value}>Choose…</option>
      ${[...new Set([value, ...structures])].filter(Boolean).map((x) => html`<option value=${x} selected=${x === value}>${x}</option>`)}</select>`;
  } else if (s.enum) {
    input = html`<select id=${id} value=${value ?? ''} onChange=${(e) => set(e.target.value === '' ? null : s.enum.find((x) => String(x) === e.target.value))}>
      ${nullable && html`<option value="">automatic</option>`}${s.enum.map((x) => html`<option value=${x} selected=${x === value}>${String(x)}</option>`)}</select>`;
  } else if (s.type === 'number' || s.type === 'integer') {
    input = html`<${NumberInput} id=${id} value=${value} error=${error} onValue=${set} placeholder=${nullable ? 'automatic' : ''} />`;
  } else {
    input = html`<input id=${id} type="text" value=${value ?? ''} aria-invalid=${error ? 'true' : null} placeholder=${nullable ? 'automatic' : ''}
      onInput=${(e) => set(e.target.value === '' && nullable ? null : e.target.value)} />`;
  }
  const changed = defaultValue !== undefined && JSON.stringify(value) !== JSON.stringify(defaultValue);
  return html`<div class="field">
    <label for=${id} title=${hint}>${text}${changed ? html` <span class="changed" title=${`Default: ${defaultValue ?? 'automatic'}`}>•<span class="vh"> changed</span></span>` : ''}</label>
    <div class="row" style="gap:5px;flex-wrap:nowrap">${input}${unit && html`<span class="muted">${unit}</span>`}</div>
    ${hinted}
  </div>`;
}

/** Names and what they stand for. */
function Pairs({ text, s, value, path, errors, set, hint }) {
  const entries = Object.entries(value);
  const put = (i, pair) => set(Object.fromEntries(entries.map((e, k) => (k === i ? pair : e))));
  return html`<fieldset class="group"><legend title=${hint}>${text}</legend>
    ${s.description && html`<p class="muted small" style="margin:0">${s.description}</p>`}
    ${entries.map(([name, v], i) => {
      const error = errorAt(errors, [...path, name]);
      return html`<div class="row" key=${i} style="flex-wrap:nowrap"><input type="text" style="width:150px" aria-label=${`Name ${i + 1} of ${text}`} placeholder="Name" value=${name} onInput=${(e) => put(i, [e.target.value, v])} />
        <span class="muted">=</span><input type="text" class="grow" aria-label=${`${text} ${name}`} aria-invalid=${error ? 'true' : null} value=${v} onInput=${(e) => put(i, [name, e.target.value])} />
        <button type="button" class="button quiet" aria-label=${`Remove ${name}`} onClick=${() => set(Object.fromEntries(entries.filter((_, k) => k !== i)))}>Remove</button></div>
        <${FieldError} id=${`${idOf(path)}-${i}`} message=${error} />`;
    })}
    <div><button type="button" class="button" disabled=${'' in value || entries.length >= (s.maxProperties ?? Infinity)} onClick=${() => set({ ...value, '': '' })}>Add</button></div>
    <${FieldError} id=${idOf(path)} message=${errorAt(errors, path)} /></fieldset>`;
}

function List({ text, s, root, value, path, errors, change, error, id, nullable, structures }) {
  const items = value ?? [];
  const own = typeof s.items === 'object' ? s.items : {};
  const set = (v) => change(path, nullable && v.length === 0 ? null : v);
  if (s.prefixItems) {
    const on = value !== null && value !== undefined;
    return html`<div class="field"><span>${text}</span><div class="row" style="gap:5px">
      ${nullable && html`<input type="checkbox" checked=${on} aria-label=${`Give ${text}`} onChange=${() => change(path, on ? null : s.prefixItems.map((i) => blank(i, root)))} />`}
      ${
        on &&
        s.prefixItems.map(
          (item, i) => html`<${NumberInput} id=${`${id}-${i}`} width="70" value=${items[i]} label=${`${text} ${'xyz'[i] ?? i + 1}`}
        error=${errorAt(errors, [...path, i])} onValue=${(v) => change([...path, i], v)} />`,
        )
      }
      ${!on && html`<span class="muted">automatic</span>`}</div><${FieldError} id=${id} message=${error} /></div>`;
  }
  const { schema: item } = unwrap(own, root);
  return html`<fieldset class="group"><legend>${text}</legend>
    ${items.map(
      (v, i) => html`<div class="row item" key=${i}>
      ${
        item.type === 'object' && item.properties
          ? html`<div class="fields">${Object.entries(item.properties).map(
              ([key, p]) => html`<${Field} key=${key} name=${key} schema=${p} root=${root} value=${v?.[key]}
            path=${[...path, i, key]} errors=${errors} change=${change} defaultValue=${p.default} structures=${structures} />`,
            )}</div>`
          : html`<${Field} name=${`${i + 1}`} schema=${own} root=${root} value=${v} path=${[...path, i]} errors=${errors} change=${change} />`
      }
      <button type="button" class="button quiet" aria-label=${`Remove ${text} ${i + 1}`} onClick=${() => set(items.filter((_, k) => k !== i))}>Remove</button></div>`,
    )}
    ${s.description && html`<p class="muted small" style="margin:0">${s.description}</p>`}
    <div><button type="button" class="button" disabled=${items.length >= (s.maxItems ?? Infinity)} onClick=${() => set([...items, blank(own, root)])}>Add</button></div>
    <${FieldError} id=${id} message=${error} />
  </fieldset>`;
}
