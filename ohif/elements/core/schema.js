// JSON schema as pydantic writes it: finding errors as one types, and what kind of field a property needs.

const MAX_DEPTH = 20;

/** A schema with its `$ref` followed. */
export function deref(schema, root, depth = 0) {
  if (!schema?.$ref || depth > MAX_DEPTH) return schema ?? {};
  const found = schema.$ref
    .split('/')
    .slice(1)
    .reduce((at, key) => at?.[key], root);
  return deref({ ...found, ...Object.fromEntries(Object.entries(schema).filter(([k]) => k !== '$ref')) }, root, depth + 1);
}

/** `{schema, nullable}`: what is left of `anyOf: [X, null]`. */
export function unwrap(schema, root) {
  const plain = deref(schema, root);
  const choices = plain.anyOf ?? plain.oneOf;
  if (!choices) return { schema: plain, nullable: plain.type === 'null' };
  const kept = choices.map((s) => deref(s, root)).filter((s) => s.type !== 'null');
  const nullable = kept.length < choices.length;
  if (kept.length !== 1) return { schema: plain, nullable };
  const { anyOf, oneOf, ...rest } = plain;
  return { schema: { ...kept[0], ...rest }, nullable };
}

const TYPES = {
  object: (v) => typeof v === 'object' && v !== null && !Array.isArray(v),
  array: Array.isArray,
  string: (v) => typeof v === 'string',
  number: (v) => typeof v === 'number' && Number.isFinite(v),
  integer: (v) => Number.isInteger(v),
  boolean: (v) => typeof v === 'boolean',
  null: (v) => v === null,
};
const NOUNS = {
  object: 'an object',
  array: 'a list',
  string: 'a text',
  number: 'a number',
  integer: 'a whole number',
  boolean: 'yes or no',
  null: 'nothing',
};

/** What is wrong with a value: `[{path: ['objectives', 0, 'weight'], message}]`. */
export function check(value, schema, root = schema, path = []) {
  const s = deref(schema, root);
  const errors = [];
  const wrong = (message, at = path) => errors.push({ path: at, message });
  const choices = s.anyOf ?? s.oneOf;
  if (choices) {
    const tried = choices.map((c) => check(value, c, root, path));
    if (tried.some((t) => t.length === 0)) return [];
    // of several possibilities, what is wrong with the one that comes nearest
    const real = tried.filter((t, i) => deref(choices[i], root).type !== 'null');
    return (real.length ? real : tried).reduce((a, b) => (b.length < a.length ? b : a));
  }
  if ('const' in s && value !== s.const) wrong(`must be ${s.const}`);
  if (s.enum && !s.enum.includes(value)) wrong(`must be one of ${s.enum.join(', ')}`);
  if (s.type && !TYPES[s.type]?.(value)) {
    wrong(value === undefined || value === null || Number.isNaN(value) ? 'is needed' : `must be ${NOUNS[s.type]}`);
    return errors;
  }
  if (typeof value === 'number') {
    if (s.minimum !== undefined && value < s.minimum) wrong(`must be ${s.minimum} or more`);
    if (s.maximum !== undefined && value > s.maximum) wrong(`must be ${s.maximum} or less`);
    if (s.exclusiveMinimum !== undefined && value <= s.exclusiveMinimum) wrong(`must be more than ${s.exclusiveMinimum}`);
    if (s.exclusiveMaximum !== undefined && value >= s.exclusiveMaximum) wrong(`must be less than ${s.exclusiveMaximum}`);
    if (s.multipleOf && Math.abs(value / s.multipleOf - Math.round(value / s.multipleOf)) > 1e-9)
      wrong(`must be a multiple of ${s.multipleOf}`);
  }
  if (typeof value === 'string') {
    const length = [...value].length;
    if (length < (s.minLength ?? 0)) wrong(length ? `must have ${s.minLength} characters or more` : 'is needed');
    if (length > (s.maxLength ?? Infinity)) wrong(`must have at most ${s.maxLength} characters`);
    if (s.pattern && !matches(s.pattern, value)) wrong(`does not have the form ${s.pattern}`);
  }
  if (Array.isArray(value)) {
    if (s.prefixItems) {
      for (let i = value.length; i < (s.minItems ?? 0); i += 1) wrong('is needed', [...path, i]);
    } else if (value.length < (s.minItems ?? 0)) wrong(s.minItems === 1 ? 'at least one is needed' : `at least ${s.minItems} are needed`);
    if (value.length > (s.maxItems ?? Infinity)) wrong(`at most ${s.maxItems} are possible`);
    value.forEach((item, i) => {
      const own = s.prefixItems?.[i] ?? (typeof s.items === 'object' ? s.items : null);
      if (own) errors.push(...check(item, own, root, [...path, i]));
    });
  }
  if (TYPES.object(value)) {
    for (const name of s.required ?? []) if (value[name] === undefined) wrong('is needed', [...path, name]);
    if (Object.keys(value).length > (s.maxProperties ?? Infinity)) wrong(`at most ${s.maxProperties} are possible`);
    for (const [name, item] of Object.entries(value)) {
      if (item === undefined) continue;
      if (s.propertyNames) errors.push(...check(name, s.propertyNames, root, [...path, name]));
      if (s.properties?.[name]) errors.push(...check(item, s.properties[name], root, [...path, name]));
      else if (s.additionalProperties === false) wrong('is not known', [...path, name]);
      else if (typeof s.additionalProperties === 'object') errors.push(...check(item, s.additionalProperties, root, [...path, name]));
    }
  }
  return errors;
}

function matches(pattern, value) {
  try {
    return new RegExp(pattern, 'u').test(value);
  } catch {
    return true; // Python's patterns are not all JavaScript's: the service checks it
  }
}

/** A value to begin with, where the schema has no default. */
export function blank(schema, root) {
  const { schema: s, nullable } = unwrap(schema, root);
  if ('default' in s) return structuredClone(s.default);
  if (nullable) return null;
  if (s.enum) return s.enum[0];
  if ('const' in s) return s.const;
  if (s.type === 'object') return Object.fromEntries(Object.entries(s.properties ?? {}).map(([k, v]) => [k, blank(v, root)]));
  if (s.type === 'array') return s.prefixItems ? s.prefixItems.map((i) => blank(i, root)) : [];
  if (s.type === 'boolean') return false;
  if (s.type === 'string') return '';
  return s.minimum ?? 0;
}

/** The limits of a number in words, for a hint. */
export function limits(schema) {
  const low = schema.minimum ?? schema.exclusiveMinimum;
  const high = schema.maximum ?? schema.exclusiveMaximum;
  if (low === undefined && high === undefined) return '';
  if (high === undefined) return `${low} or more`;
  if (low === undefined) return `${high} or less`;
  return `${low.toLocaleString('en')} to ${high.toLocaleString('en')}`;
}

const UNITS = { mm: 'mm', gy: 'Gy', deg: '°', percent: '%', s: 's', mu: 'MU', cc: 'cm³', mev: 'MeV' };

/** `spot_spacing_mm` → {text: 'Spot spacing', unit: 'mm'}. */
export function label(name) {
  const parts = name.split('_');
  const unit = parts.length > 1 ? UNITS[parts.at(-1)] : undefined;
  const text = (unit ? parts.slice(0, -1) : parts).join(' ');
  return { text: text.charAt(0).toUpperCase() + text.slice(1), unit };
}
