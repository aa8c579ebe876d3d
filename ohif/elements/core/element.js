// The base of all elements: what is shown follows from the attributes, and nothing of former attributes stays.
import { api } from './api.js';
import { html, render } from './dom.js';
import { followPlan, live } from './live.js';
import { sheets } from './styles.js';

/** The time during which one set of attributes is shown. */
class Scope {
  #controller = new AbortController();
  /** @type {Array<() => void>} */
  #last = [];

  get alive() {
    return !this.#controller.signal.aborted;
  }

  get signal() {
    return this.#controller.signal;
  }

  onEnd(callback) {
    if (this.alive) this.#last.push(callback);
    else callback();
  }

  end() {
    this.#controller.abort();
    for (const callback of this.#last.splice(0)) callback();
  }
}

export class RadiarchElement extends HTMLElement {
  /** Attributes that say what is shown: when one changes everything starts anew. @type {string[]} */
  static subjects = [];
  /** Attributes that say how: they are only painted anew. @type {string[]} */
  static looks = [];

  static get observedAttributes() {
    return ['api', 'theme', ...this.subjects, ...this.looks];
  }

  /** Styles of its own, beside the base. */
  static css = '';

  #painting = false;
  #regions = new ResizeObserver((entries) => entries.forEach(({ target }) => scrolled(target)));
  /** @type {Record<string, any>} */
  state = {};
  /** @type {Scope | null} */
  scope = null;

  constructor() {
    super();
    this.attachShadow({ mode: 'open' }).adoptedStyleSheets = sheets(this.#class.css);
  }

  /** @returns {typeof RadiarchElement} */
  get #class() {
    return /** @type {any} */ (this.constructor);
  }

  /** What it is drawn into. @returns {ShadowRoot} */
  get place() {
    return /** @type {ShadowRoot} */ (this.shadowRoot);
  }

  get api() {
    return api(this.getAttribute('api'));
  }

  /** What is on the screen. */
  get data() {
    return this.state;
  }

  connectedCallback() {
    this.restart();
  }

  disconnectedCallback() {
    this.scope?.end();
    this.scope = null;
    this.state = {};
    this.ended();
    render(null, this.place);
  }

  attributeChangedCallback(name, before, after) {
    if (before === after || !this.isConnected) return;
    if (name === 'theme' || this.#class.looks.includes(name)) this.looked(name);
    else this.restart();
  }

  restart() {
    this.scope?.end();
    this.ended();
    const scope = (this.scope = new Scope());
    this.state = this.initial();
    this.paint(); // at once: what was there is gone before anybody sees another name beside it
    queueMicrotask(async () => {
      if (!scope.alive) return;
      try {
        await this.start(scope);
      } catch (e) {
        if (e.name !== 'AbortError') this.set(scope, { error: e });
      }
    });
  }

  /** Change the state; what comes after its scope has ended is dropped. */
  set(scope, patch) {
    if (!scope?.alive) return false;
    this.state = { ...this.state, ...patch };
    this.repaint();
    return true;
  }

  repaint() {
    if (this.#painting) return;
    this.#painting = true;
    queueMicrotask(() => {
      this.#painting = false;
      if (this.isConnected) this.paint();
    });
  }

  paint() {
    render(html`<div class="root" part="root">${this.view()}</div>`, this.place);
    for (const region of this.place.querySelectorAll('.scroll')) scrolled(region, this.#regions);
    this.painted();
  }

  /** Tell the page; false where it wants nothing more to happen. */
  tell(type, detail) {
    return this.dispatchEvent(new CustomEvent(type, { detail, bubbles: true, composed: true, cancelable: true }));
  }

  /**
   * Follow the plan of an attribute; `next(plan)` as long as the scope lives.
   *
   * @param {Scope} scope
   * @param {string} id
   * @param {(plan: import('../../types/service').PlanAnswer) => void} [next]
   */
  follow(scope, id, next) {
    scope.onEnd(
      followPlan(this.api, id, (plan, error) => {
        if (!scope.alive) return;
        this.set(scope, { plan, error: plan ? null : error });
        if (plan) next?.(plan);
      }),
    );
  }

  watch(scope, callback) {
    const poller = live(this.api);
    scope.onEnd(poller.watch((changes) => scope.alive && callback(changes)));
    return poller.ready();
  }

  // what each element says for itself
  initial() {
    return {};
  }
  /** @param {Scope} scope */
  async start(scope) {
    void scope;
  }
  /** @returns {any} */
  view() {
    return null;
  }
  painted() {}
  ended() {}
  /** @param {string} name of the attribute */
  looked(name) {
    void name;
    this.repaint();
  }
}

/**
 * What can be scrolled has to be reached from the keyboard, and what cannot must be no stop on the way.
 *
 * @param {any} region
 * @param {ResizeObserver | null} [observer]
 */
function scrolled(region, observer = null) {
  observer?.observe(region);
  if (region.scrollWidth > region.clientWidth) region.tabIndex = 0;
  else region.removeAttribute('tabindex');
}

export function define(name, constructor) {
  if (!customElements.get(name)) customElements.define(name, constructor);
}
