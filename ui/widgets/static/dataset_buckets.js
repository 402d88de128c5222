// The shapes that are trained: how many pictures each takes, what is cut away, and the pictures that lose most.

import * as api from './api.js';
import { clear, h } from './dom.js';
import { base, shapeMenu } from './dataset_shapes.js';
import { onChange, openDataset, path } from './dataset_state.js';

// `open(file)` opens a picture's editor.
export function bucketsPanel(root, open) {
  const list = h('ul', { class: 'shapes' }), note = h('p', { class: 'muted' });
  const panel = h('details', { class: 'panel buckets' }, h('summary', { text: 'Shapes that are trained' }),
    h('label', { class: 'field' }, h('span', { text: 'For the base' }), shapeMenu(refresh)), note, list);
  let asked = 0;
  panel.addEventListener('toggle', refresh);
  onChange(root, refresh);
  return { root: panel, refresh };

  async function refresh() {
    const dataset = openDataset(), turn = (asked += 1);
    if (!panel.open || !dataset) return;
    try {
      const answer = await api.get(path(dataset, `/buckets?base=${encodeURIComponent(base())}`));
      if (turn === asked) draw(answer);
    } catch (error) {
      if (turn === asked) { clear(list); note.textContent = error.message; }
    }
  }

  function draw({ size_px: size, buckets }) {
    const many = buckets.length > 1 ? `${buckets.length} shapes of about ${size} × ${size} px` : `One shape of about ${size} × ${size} px`;
    note.textContent = buckets.length ? `${many}, chosen from your pictures. A picture fills its shape; what does not fit is cut away.` : 'No pictures yet.';
    clear(list, buckets.map(bucket => h('li', {},
      h('p', {}, h('strong', { class: 'mono', text: `${bucket.width} × ${bucket.height}` }), ` ${bucket.images} ${bucket.images === 1 ? 'picture' : 'pictures'}, ${share(bucket.cut_percent)} cut away`,
        bucket.most_cut_percent - bucket.cut_percent > 5 ? `, at most ${share(bucket.most_cut_percent)}` : ''),
      h('div', { class: 'examples-row' }, bucket.examples.map(each => h('button', { class: 'sample', type: 'button', title: `${each.file}: ${share(each.cut_percent)} cut away`, 'aria-label': `Frame ${each.file}`, onclick: () => open(each.file) },
        h('img', { src: each.src, alt: '', loading: 'lazy', width: bucket.width, height: bucket.height })))))));
  }
}

export const share = percent => (percent === 0 ? 'nothing' : percent < 1 ? 'under 1 %' : `${Math.round(percent)} %`);
