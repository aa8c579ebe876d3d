// What changes while a page is open: one poller for each API, however many elements watch; and one copy of each plan.

const QUIET_AFTER = 20; // polls without news, then pages ask less often
const SLOWEST = 4;
const WHOLE_MS = 180_000; // now and then everything is looked at, whatever was said
const LONGEST_ERROR_MS = 30_000;

class Live extends EventTarget {
  #api;
  #watchers = new Set();
  #next = null;
  #arrivals = null;
  #timer = 0;
  /** @type {Promise<void> | null} */
  #polling = null;
  #quiet = 0;
  #failures = 0;
  #whole = performance.now();

  constructor(api) {
    super();
    this.#api = api;
    document.addEventListener('visibilitychange', () => this.#visible());
  }

  get offline() {
    return this.#failures > 0;
  }

  /** `callback({plans: Map, complete, arrivals})`; returns how to stop. */
  watch(callback) {
    this.#watchers.add(callback);
    if (!this.#timer && !this.#polling) this.#poll();
    return () => {
      this.#watchers.delete(callback);
      if (this.#watchers.size === 0) {
        clearTimeout(this.#timer);
        this.#timer = 0;
        this.#next = null;
      }
    };
  }

  /** Resolves once changes are followed: what is read after that and changes later is told. */
  async ready() {
    if (this.#next === null && this.#polling) await this.#polling;
  }

  /** Something was done here: look now. */
  hurry() {
    if (!this.#polling && this.#watchers.size) {
      clearTimeout(this.#timer);
      this.#poll();
    }
  }

  #visible() {
    if (document.visibilityState === 'visible') this.hurry();
  }

  #poll() {
    this.#timer = 0;
    this.#polling = this.#ask().then((wait) => {
      this.#polling = null;
      if (this.#watchers.size && document.visibilityState === 'visible' && !this.#timer) {
        this.#timer = setTimeout(() => this.#poll(), wait);
      }
    });
  }

  async #ask() {
    let answer;
    try {
      answer = await this.#api.get('/changes', { params: { since: this.#next } });
    } catch {
      this.#failures += 1;
      if (this.#failures === 1) this.dispatchEvent(new Event('offline'));
      return Math.min(1000 * 2 ** this.#failures, LONGEST_ERROR_MS) * (0.8 + 0.4 * Math.random());
    }
    const first = this.#next === null;
    const wasOffline = this.#failures > 0;
    this.#failures = 0;
    if (wasOffline) this.dispatchEvent(new Event('online'));
    const arrivals = this.#arrivals !== null && answer.arrivals !== this.#arrivals;
    const now = performance.now();
    const whole = !answer.complete || (wasOffline && first) || now - this.#whole > WHOLE_MS;
    this.#next = answer.next;
    this.#arrivals = answer.arrivals;
    if (whole) this.#whole = now;
    if (!first || wasOffline) {
      const plans = new Map(answer.plans.map((p) => [p.id, p]));
      const news = plans.size > 0 || arrivals || whole;
      this.#quiet = news ? 0 : this.#quiet + 1;
      if (news) {
        for (const tell of [...this.#watchers]) tell({ plans, complete: !whole, arrivals: arrivals || whole });
      }
    }
    const slower = Math.min(SLOWEST, 1 + Math.max(0, this.#quiet - QUIET_AFTER) / QUIET_AFTER);
    return answer.ask_again_s * 1000 * slower;
  }
}

const lives = new Map();

/** The poller of an API. */
export function live(api) {
  if (!lives.has(api)) lives.set(api, new Live(api));
  return lives.get(api);
}

// What a summary in /changes tells; all else of a plan is as it was, unless its state or stage is another one.
const MOVING = ['progress', 'eta_s', 'message', 'updated_at', 'missing_instances', 'attempt', 'queue_position'];

class PlanFeed {
  #api;
  #id;
  #listeners = new Set();
  #controller = new AbortController();
  #stop;
  #reading = false;
  #again = false;
  /** @type {import('../../types/service').PlanAnswer | null} */
  plan = null;
  /** @type {any} */
  error = null;

  constructor(api, id, done) {
    this.#api = api;
    this.#id = id;
    this.done = done;
    this.#stop = live(api).watch((changes) => this.#changed(changes));
    live(api)
      .ready()
      .then(() => this.#read());
  }

  add(listener) {
    this.#listeners.add(listener);
    if (this.plan || this.error) queueMicrotask(() => this.#listeners.has(listener) && listener(this.plan, this.error));
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) {
        this.#controller.abort();
        this.#stop();
        this.done();
      }
    };
  }

  async #read() {
    if (this.#controller.signal.aborted) return;
    if (this.#reading) {
      this.#again = true;
      return;
    }
    this.#reading = true;
    try {
      this.plan = await this.#api.get(`/plans/${encodeURIComponent(this.#id)}`, { signal: this.#controller.signal });
      this.error = null;
    } catch (e) {
      if (e.name === 'AbortError') return;
      this.error = e;
      if (e.code === 'not_found') this.plan = null;
      else if (e.code === 'network') setTimeout(() => this.#read(), 3000);
    } finally {
      this.#reading = false;
    }
    this.#tell();
    if (this.#again) {
      this.#again = false;
      this.#read();
    }
  }

  #changed({ plans, complete }) {
    const summary = plans.get(this.#id);
    if (!summary) {
      if (!complete) this.#read();
      return;
    }
    const { plan } = this;
    const same = plan && !this.error && ['state', 'stage', 'superseded_at', 'superseded_results'].every((k) => plan[k] === summary[k]);
    if (!same || !['running', 'waiting'].includes(summary.state)) {
      this.#read();
      return;
    }
    this.plan = { ...plan, ...Object.fromEntries(MOVING.map((k) => [k, summary[k]])) };
    this.#tell();
  }

  #tell() {
    for (const listener of [...this.#listeners]) listener(this.plan, this.error);
  }
}

const feeds = new Map();

/** Follow a plan: `listener(plan, error)` now and at each change; all who follow it share one copy. Returns how to stop. */
export function followPlan(api, id, listener) {
  const key = `${api.base} ${id}`;
  if (!feeds.has(key)) feeds.set(key, new PlanFeed(api, id, () => feeds.delete(key)));
  return feeds.get(key).add(listener);
}
