// What the parts of the Dataset screen share: which pictures are selected, and the word that something has changed.

import * as api from './api.js';
import * as place from './place.js';
import { toast } from './dom.js';

export const selection = new Set(); // files of the open dataset
const labels = new Map(); // what datasets are called, by folder

export const importing = { alphaMasks: false }; // what the next imports are asked to do
export const path = (dataset, rest = '') => `/studio/datasets/${encodeURIComponent(dataset)}${rest}`;
export const openDataset = () => place.get().dataset || '';
export const labelOf = dataset => labels.get(dataset) || dataset;
export const remember = list => list.forEach(each => labels.set(each.dataset, each.name));

// Say that a dataset, or (with `isList`) the list of them, is not what it was.
export function announce(dataset, isList = false) {
  window.dispatchEvent(new CustomEvent('studio:dataset', { detail: { dataset, isList } }));
}

export function onChange(root, listener) {
  const heard = event => { if (root.isConnected) listener(event.detail); else window.removeEventListener('studio:dataset', heard); };
  window.addEventListener('studio:dataset', heard);
}

export function onPlace(root, listener) {
  const forget = place.on(here => { if (root.isConnected) listener(here); else forget(); });
}

export function select(files, isSelected = true) {
  for (const file of files) if (isSelected) selection.add(file); else selection.delete(file);
  window.dispatchEvent(new CustomEvent('studio:selection'));
}

export function onSelection(root, listener) {
  const heard = () => { if (root.isConnected) listener(); else window.removeEventListener('studio:selection', heard); };
  window.addEventListener('studio:selection', heard);
}

// Tell what was done, with a way back for ten seconds; later it is in the history. Several changes are undone together, the last one first.
export function offerUndo(dataset, text, ...undos) {
  toast(text, {
    kind: 'undo',
    action: async () => {
      try {
        const texts = [];
        for (const undo of undos.reverse()) texts.push((await api.post(path(dataset, '/undo'), { undo })).text);
        toast(texts.join('; '));
      } catch (error) {
        toast(api.said(error), { kind: 'error' });
      }
      announce(dataset);
    },
  });
}
