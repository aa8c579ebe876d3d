// The REST API as the pages use it: JSON in and out, errors with code and remedy; what is asked for lives elsewhere.

// beside /radiarch/elements/ and /radiarch/static/{version}/elements/ alike
const ROOT = new URL(import.meta.url).pathname.replace(/\/(static\/[^/]+\/)?elements\/core\/api\.js$/, '');

/** Address of a place in the light page, such as `/plans/…`. */
export const uiUrl = (path) => `${ROOT}/ui/#${path}`;

// Orthanc's own answers have a status and nothing else
const CODES = { 401: 'unauthorized', 403: 'forbidden' };
const REMEDIES = {
  401: 'Log in to Orthanc, then load the page again.',
  403: `If ${location.origin} is this server's right address, add it to Radiarch.KnownHosts in Orthanc's configuration; Orthanc's log has the reason.`,
};

/**
 * Address of a plan in the viewer, or of a result of its own there, such as a difference of doses.
 *
 * @param {{id: string, study_instance_uid: string}} plan
 * @param {{sop_instance_uid: string}} [output]
 */
export const ohifUrl = (plan, output) =>
  `/ohif/viewer?StudyInstanceUIDs=${encodeURIComponent(plan.study_instance_uid)}&${output ? `object=${encodeURIComponent(output.sop_instance_uid)}` : `plan=${encodeURIComponent(plan.id)}`}`;

/** `{code, message, remedy, details}` of the service, or of what kept us from reaching it. */
export class ApiError extends Error {
  /**
   * @param {{code: string, message: string, remedy: string, details?: Record<string, any>}} error
   * @param {number} [status]
   */
  constructor({ code, message, remedy, details = {} }, status = 0) {
    super(message);
    this.code = code;
    this.remedy = remedy;
    this.details = details;
    this.status = status;
  }
}

export class Api {
  constructor(base) {
    this.base = (base || `${ROOT}/api/v1`).replace(/\/$/, '');
  }

  url(path, params = {}) {
    const query = Object.entries(params)
      .filter(([, v]) => v !== undefined && v !== null && v !== '')
      .map(([k, v]) => `${k}=${encodeURIComponent(v)}`)
      .join('&');
    return `${this.base}${path}${query ? `?${query}` : ''}`;
  }

  /**
   * @template {string} P
   * @param {P} path
   * @param {{params?: Record<string, any>, signal?: AbortSignal}} [options]
   * @returns {Promise<import('../../types/service').GetAnswer<P>>}
   */
  get(path, { params, signal } = {}) {
    return this.#ask('GET', this.url(path, params), { signal });
  }

  /**
   * @template {string} P
   * @param {P} path
   * @param {object} body
   * @param {{headers?: Record<string, string>, signal?: AbortSignal}} [options]
   * @returns {Promise<import('../../types/service').PostAnswer<P>>}
   */
  post(path, body, { headers = {}, signal } = {}) {
    return this.#ask('POST', this.url(path), {
      signal,
      body: JSON.stringify(body),
      headers: { 'Content-Type': 'application/json', ...headers },
    });
  }

  /**
   * @template {string} P
   * @param {P} path
   * @param {{signal?: AbortSignal}} [options]
   * @returns {Promise<import('../../types/service').DeleteAnswer<P>>}
   */
  delete(path, { signal } = {}) {
    return this.#ask('DELETE', this.url(path), { signal });
  }

  /**
   * @param {string} method
   * @param {string} url
   * @param {{signal?: AbortSignal, body?: string, headers?: Record<string, string>}} options
   * @returns {Promise<any>}
   */
  async #ask(method, url, { signal, body, headers }) {
    let response;
    try {
      response = await fetch(url, { method, body, headers, signal, credentials: 'same-origin', cache: 'no-store' });
    } catch (e) {
      if (e.name === 'AbortError') throw e;
      throw new ApiError({
        code: 'network',
        message: 'the service does not answer',
        remedy: 'See that Orthanc runs and can be reached; this page tries again by itself.',
      });
    }
    const text = await response.text();
    let value;
    try {
      value = text ? JSON.parse(text) : null;
    } catch {
      value = null;
    }
    if (response.ok && value !== null) return value;
    if (value && typeof value.message === 'string') throw new ApiError(value, response.status);
    throw new ApiError(
      {
        code: CODES[response.status] ?? 'internal',
        message: `the service answered with status ${response.status}`,
        remedy: REMEDIES[response.status] ?? "See Orthanc's log.",
      },
      response.status,
    );
  }
}

const apis = new Map();

/** One `Api` for each base address. */
export function api(base) {
  const key = base || '';
  if (!apis.has(key)) apis.set(key, new Api(base));
  return apis.get(key);
}
