// Keys that work on every screen, and the list of them.

import { h } from './dom.js';
import * as place from './place.js';

const TABS = ['dataset', 'train', 'compare', 'runs', 'export', 'models'];
const KEYS = [
  ['?', 'this list'],
  ['1 … 6', 'Dataset, Train, Compare, Runs, Export, Models'],
  ['← →', 'move the wipe; step through pictures and points of a curve'],
  ['Enter', 'in the prompt: draw; in a list: open'],
  ['Ctrl Enter', 'save the caption being edited'],
  ['Space', 'select the picture or run in focus'],
  ['L R F', 'when cropping: turn left, turn right, mirror; arrows move the focal point'],
  ['X I [ ]', 'when masking: other tool, invert, brush size; arrows and Space paint'],
  ['Page ↑ ↓', 'when cropping or masking: previous and next picture'],
  ['+ − 0', 'zoom in, out and back in Compare'],
  ['Esc', 'close, or leave the selection'],
];

let installed = false;

export function install() {
  if (installed) return;
  installed = true;
  document.addEventListener('keydown', event => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.('input, textarea, select, [contenteditable], dialog')) return;
    if (event.key === '?') { event.preventDefault(); show(); }
    const tab = TABS[Number(event.key) - 1];
    if (tab) place.open(tab);
  });
}

export function show() {
  const dialog = h('dialog', { class: 'studio-dialog', 'aria-label': 'Keyboard shortcuts' },
    h('h3', { text: 'Keyboard' }),
    h('dl', { class: 'keys' }, KEYS.flatMap(([key, what]) => [h('dt', {}, h('kbd', { text: key })), h('dd', { text: what })])),
    h('div', { class: 'row end' }, h('button', { class: 'btn', type: 'button', text: 'Close', onclick: () => dialog.close() })));
  dialog.addEventListener('close', () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
