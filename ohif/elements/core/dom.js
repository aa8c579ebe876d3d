// preact and htm, from npm, in the one place that knows where they are served.
import { Component, Fragment, createRef, h, render } from '../../vendor/preact.mjs';
import htm from '../../vendor/htm.mjs';

export const html = htm.bind(h);
export { Component, Fragment, createRef, h, render };
