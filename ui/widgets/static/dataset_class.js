// Class pictures: what a base has drawn for DreamBooth runs on the open dataset; looked at, and put away.

import * as api from './api.js';
import * as lightbox from './lightbox.js';
import { clear, h, toast } from './dom.js';
import { onPlace, openDataset, path } from './dataset_state.js';

const FIRST = 12;

// A panel that is there only where there are class pictures.
export function classPanel(root) {
  const view = { drawn: '', list: h('div', { class: 'classes' }) };
  view.panel = h('section', { class: 'panel', 'aria-label': 'Class pictures', hidden: true }, h('h3', { text: 'Class pictures' }),
    h('p', { class: 'muted', text: 'Drawn by the base for DreamBooth, once: they keep the class as the base knows it, and are no part of the dataset.' }), view.list);
  onPlace(root, () => refresh(view));
  api.poll(() => refresh(view), 4000, root);
  return view.panel;
}

async function refresh(view) {
  const dataset = openDataset();
  let sets = [];
  try {
    if (dataset) sets = [...await api.get(path(dataset, '/class'))];
  } catch { /* the grid says what is wrong with the dataset */ }
  if (dataset !== openDataset()) return;
  const drawn = JSON.stringify([dataset, sets]);
  if (drawn === view.drawn) return;
  view.drawn = drawn;
  view.panel.hidden = !sets.length;
  clear(view.list, sets.map(set => drawSet(view, dataset, set)));
}

function drawSet(view, dataset, set) {
  const name = `${set.count} of “${set.noun}”`;
  return h('div', { class: 'class-set' },
    h('p', {}, h('strong', { text: name }), h('span', { class: 'muted', text: ` · drawn by ${set.source}, prompt “${set.prompt}”` })),
    h('div', { class: 'class-pictures' }, set.pictures.slice(0, FIRST).map((_, i) => h('button', {
      class: 'class-picture', type: 'button', 'aria-label': `Class picture ${i + 1}: ${set.prompt}`, onclick: () => lightbox.open(large(set, i)),
    }, h('img', { src: set.pictures[i], alt: '', loading: 'lazy' })))),
    h('div', { class: 'row end' },
      set.pictures.length > FIRST && h('button', { class: 'btn quiet', type: 'button', text: `Look at all ${set.pictures.length}`, onclick: () => lightbox.open(large(set, 0)) }),
      h('button', { class: 'btn quiet', type: 'button', text: 'Delete', 'aria-label': `Delete ${name}`, onclick: () => remove(view, dataset, set) })));
}

function large(set, i) {
  return {
    src: set.pictures[i], alt: set.prompt, caption: `${i + 1} of ${set.pictures.length} · ${set.prompt}`,
    next: i + 1 < set.pictures.length ? () => large(set, i + 1) : null, previous: i ? () => large(set, i - 1) : null,
  };
}

async function remove(view, dataset, set) {
  try {
    const { token } = await api.del(path(dataset, `/class/${set.key}`));
    toast(`${set.count} class pictures were put into the trash; a run that needs them draws them again.`, {
      kind: 'undo',
      action: async () => {
        try { await api.post(`/studio/trash/${token}/restore`); } catch (error) { toast(api.said(error), { kind: 'error' }); }
        refresh(view);
      },
    });
  } catch (error) {
    toast(api.said(error), { kind: 'error' });
  }
  refresh(view);
}
