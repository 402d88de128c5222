// Every version in which pictures are trained: crops, mirror images, turns and colour shifts, in a dialog.

import * as api from './api.js';
import { clear, h } from './dom.js';
import { path } from './dataset_state.js';

const KEYS = ['base', 'size_px', 'crops', 'flip', 'turns', 'colour'];
const FEW = 6; // versions shown in the line itself
const WORDS = { crops: value => (value > 1 ? `up to ${value} crops` : ''), flip: value => value && 'mirrored', turns: value => value && 'quarter turns', colour: value => value && `colours up to ±${Math.round(100 * value)} %` };

const ask = wanted => {
  const query = new URLSearchParams(KEYS.filter(key => wanted[key] !== undefined && wanted[key] !== null && wanted[key] !== '').map(key => [key, wanted[key]]));
  return api.get(path(wanted.dataset, `/variants?${query}`));
};

// A folded line that says in how many versions pictures are trained, and shows some when unfolded. `wanted` as below, with {pictures, samples}.
export function variantsLine(wanted) {
  const { pictures, samples } = wanted, body = h('div', { class: 'variants' });
  const line = h('details', { class: 'data' }, h('summary', { class: 'muted', text: samples === pictures ? `${count(pictures, 'picture')}, as they are` : `${count(pictures, 'picture')} in ${count(samples, 'version')}` }), body);
  line.addEventListener('toggle', async () => {
    if (!line.open || body.firstChild) return;
    try {
      const { rows } = await ask(wanted);
      clear(body, rows.length ? strip(rows[0].samples.slice(0, FEW)) : null, h('button', { class: 'btn', type: 'button', text: 'See as trained', onclick: () => openVariants(wanted) }));
    } catch (error) {
      clear(body, h('p', { class: 'problem', text: api.said(error) }));
    }
  });
  return line;
}

const strip = samples => h('div', { class: 'strip' }, samples.map(sample => h('figure', { title: sample.said }, h('img', { src: sample.src, alt: sample.said, loading: 'lazy' }), h('figcaption', { class: 'muted', text: sample.said }))));

// `wanted`: {dataset, base, size_px, crops, flip, turns, colour}; settings that are not there are as suit the dataset.
export async function openVariants(wanted) {
  const body = h('div', { class: 'variants' }, h('p', { class: 'muted', text: 'Looking …' }));
  const dialog = h('dialog', { class: 'studio-dialog dataset-dialog wide', 'aria-label': 'As trained' }, h('h3', { text: 'As trained' }), body,
    h('div', { class: 'row end' }, h('button', { class: 'btn', type: 'button', text: 'Close', onclick: () => dialog.close() })));
  dialog.addEventListener('close', () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  try {
    draw(body, await ask(wanted));
    dialog.dataset.state = 'ready';
  } catch (error) {
    clear(body, h('p', { class: 'problem', role: 'alert', text: api.said(error) }));
    dialog.dataset.state = 'error';
  }
}

function draw(body, { size_px: size, pictures, samples, rows, data, warning }) {
  const how = Object.entries(WORDS).map(([key, say]) => say(data[key])).filter(Boolean).join(', ') || 'as they are';
  clear(body, h('p', { text: `${count(pictures, 'picture')} in ${count(samples, 'version')} of about ${size} px: ${how}. Held-out pictures are measured as they are.` }),
    warning ? h('p', { class: 'chip held-out note', text: warning }) : null,
    rows.map(row => h('section', {}, h('p', { class: 'mono muted', text: `${row.source}: ${count(row.samples.length, 'version')}` }),
      strip(row.samples))));
}

const count = (number, noun) => `${number.toLocaleString('en')} ${noun}${number === 1 ? '' : 's'}`;
