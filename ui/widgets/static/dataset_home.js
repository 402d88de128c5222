// No dataset is open: drop, choose or load a demo; or open one of those that are here.

import * as api from './api.js';
import * as place from './place.js';
import { clear, h, toast } from './dom.js';
import { choose } from './dataset_drop.js';
import { addPath } from './dataset_import.js';
import { announce, importing } from './dataset_state.js';

let demos = null; // they do not change while the studio runs

export async function home(root, list) {
  demos ||= await api.get('/studio/demos');
  const damaged = await api.get('/studio/damaged-datasets');
  const shape = JSON.stringify([list, damaged]);
  if (root.dataset.shape === shape) return;
  root.dataset.shape = shape;
  clear(root, start(), damaged.map(line => h('p', { class: 'chip problem', role: 'alert', text: line })),
    list.length ? h('section', { class: 'mine' }, h('h3', { text: 'Your datasets' }), h('div', { class: 'sets' }, list.map(set))) : null);
}

function start() {
  return h('div', { class: 'empty start' },
    h('p', { class: 'lead', text: 'Drop images anywhere, or try a demo' }),
    h('div', { class: 'demos' }, demos.map(demo => h('button', { class: 'btn demo', type: 'button', title: `${demo.about} Licence: ${demo.licence}.`, dataset: { demo: demo.demo }, onclick: event => loadDemo(demo, event.currentTarget) },
      h('strong', { text: demo.title }), h('span', { class: 'muted', text: demo.about.split(':')[0] })))),
    h('div', { class: 'row' },
      h('button', { class: 'btn', type: 'button', text: 'Choose images', onclick: () => choose() }),
      h('button', { class: 'btn', type: 'button', text: 'Choose a folder', onclick: () => choose(true) })),
    byPath(),
    h('label', { class: 'check muted' }, h('input', { type: 'checkbox', checked: importing.alphaMasks, onchange: event => { importing.alphaMasks = event.target.checked; } }), ' Leave transparent parts out of training (they become masks)'),
    h('p', { class: 'muted', text: 'PNG, JPEG, WebP, BMP, GIF, TIFF and AVIF, also in zip archives; DICOM, NIfTI, GeoTIFF and Parquet with their extras; captions from .txt files, metadata.jsonl or metadata.csv beside them. Nothing leaves this machine.' }));
}

// A folder that is on this machine already is read where it is.
function byPath() {
  const given = h('input', { class: 'studio-input', placeholder: '~/Pictures/my-domain', 'aria-label': 'Path on this machine', spellcheck: false });
  const go = h('button', { class: 'btn', type: 'submit', text: 'Import' });
  return h('form', { class: 'row by-path', onsubmit: async event => {
    event.preventDefault();
    go.disabled = true;
    try {
      await addPath(given.value);
    } catch (error) {
      toast(api.said(error), { kind: 'error' });
    } finally {
      go.disabled = false;
    }
  } }, h('label', { class: 'muted', text: 'or a folder on this machine' }), given, go);
}

function set(each) {
  const pictures = each.thumbs.map(src => h('img', { src, alt: '', loading: 'lazy', width: 64, height: 64 }));
  return h('button', { class: 'set', type: 'button', dataset: { dataset: each.dataset }, onclick: () => place.set({ dataset: each.dataset, filter: null }) },
    h('span', { class: 'four', 'aria-hidden': 'true' }, pictures),
    h('strong', { text: each.name }), h('span', { class: 'muted', text: `${each.images} images · ${each.held_out} held out` }));
}

// Load a demo and open it; `button` shows that it is under way.
export async function loadDemo(demo, button) {
  button.disabled = true;
  button.setAttribute('aria-busy', 'true');
  try {
    const made = await api.post('/studio/datasets/demo', { demo: demo.demo });
    place.set({ dataset: made.dataset, filter: null });
    announce(made.dataset, true);
    return true;
  } catch (error) {
    toast(api.said(error), { kind: 'error' });
    return false;
  } finally {
    button.disabled = false;
    button.removeAttribute('aria-busy');
  }
}

export const listDemos = async () => (demos ||= await api.get('/studio/demos'));
