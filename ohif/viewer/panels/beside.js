// An element of ours beside the images, wherever OHIF puts them; what it shows is its own.
import { session } from '../session.js';

/** Keep a new element of this tag before or after all in the images' column, of which OHIF makes a new one at times; returns how to stop. */
export function keepBesideImages(/** @type {string} */ tag, /** @type {'prepend' | 'append'} */ where) {
  const { cornerstone } = window;
  const element = document.createElement(tag);
  const place = () => {
    // the grid's column: the element takes its room from the images, and hides nothing of them
    const column = document.querySelector('[data-cy="viewport-grid"]')?.closest('.flex-col');
    if (column && element.parentElement !== column) column[where](element);
  };
  const { ELEMENT_ENABLED } = cornerstone.Enums.Events;
  cornerstone.eventTarget.addEventListener(ELEMENT_ENABLED, place);
  session.addEventListener('change', place);
  place();
  return () => {
    cornerstone.eventTarget.removeEventListener(ELEMENT_ENABLED, place);
    session.removeEventListener('change', place);
    element.remove();
  };
}
