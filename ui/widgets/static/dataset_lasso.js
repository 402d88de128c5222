// Selecting pictures by drawing a rectangle with the mouse, as in a file manager; with Ctrl or Shift, in addition to what is selected.

import { h } from './dom.js';
import { select, selection } from './dataset_state.js';

const START_PX = 6; // less is a click
const NOT_FROM = 'textarea, input, label, select, a, .pager, .tools, .actions, .head';

// `cards` gives the pictures shown, as a map from file to {root}.
export function lasso(area, cards) {
  let from = null, box = null, kept = null;
  const point = event => {
    const place = area.getBoundingClientRect();
    return { x: event.clientX - place.left, y: event.clientY - place.top };
  };
  area.addEventListener('pointerdown', event => {
    if (!event.button && event.pointerType === 'mouse' && !event.target.closest(NOT_FROM)) from = point(event);
  });
  area.addEventListener('pointermove', event => {
    if (!from) return;
    const to = point(event);
    if (!box && Math.hypot(to.x - from.x, to.y - from.y) < START_PX) return;
    if (!box) begin(event);
    const left = Math.min(from.x, to.x), top = Math.min(from.y, to.y), width = Math.abs(to.x - from.x), height = Math.abs(to.y - from.y);
    Object.assign(box.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });
    choose(box.getBoundingClientRect());
  });
  for (const name of ['pointerup', 'pointercancel']) area.addEventListener(name, end);
  area.addEventListener('dragstart', event => event.preventDefault()); // a picture is not dragged away

  function begin(event) {
    kept = new Set(event.ctrlKey || event.metaKey || event.shiftKey ? selection : []);
    box = h('div', { class: 'lasso', 'aria-hidden': 'true' });
    area.append(box);
    area.classList.add('lassoing');
    area.setPointerCapture(event.pointerId);
    getSelection()?.removeAllRanges();
  }

  function choose(drawn) {
    const wanted = new Set(kept);
    for (const [file, { root }] of cards()) {
      const card = root.getBoundingClientRect();
      if (card.left < drawn.right && card.right > drawn.left && card.top < drawn.bottom && card.bottom > drawn.top) wanted.add(file);
    }
    const gone = [...selection].filter(file => !wanted.has(file)), come = [...wanted].filter(file => !selection.has(file));
    if (gone.length) select(gone, false);
    if (come.length) select(come);
  }

  function end() {
    if (box) {
      box.remove();
      area.classList.remove('lassoing');
      const swallow = event => { event.stopPropagation(); event.preventDefault(); };
      area.addEventListener('click', swallow, { capture: true, once: true });
      setTimeout(() => area.removeEventListener('click', swallow, { capture: true }), 50);
    }
    from = box = null;
  }
}
