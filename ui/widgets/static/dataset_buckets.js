// How the pictures are trained: what they show, so which changes suit them; their shapes, what is cut away, and those that lose most.

import * as api from './api.js';
import { clear, h } from './dom.js';
import { base, shapeMenu } from './dataset_shapes.js';
import { announce, onChange, openDataset, path } from './dataset_state.js';
import { openVariants } from './framing_variants.js';

// `open(file)` opens a picture's editor.
export function bucketsPanel(root, open) {
  const kind = h('select', { class: 'studio-input', 'aria-label': 'What the pictures show', onchange: setKind }), why = h('small', { class: 'muted' });
  const list = h('ul', { class: 'shapes' }), note = h('p', { class: 'muted' });
  const panel = h('details', { class: 'panel buckets' }, h('summary', { text: 'Shapes and versions that are trained' }),
    h('label', { class: 'field' }, h('span', { text: 'What they show' }), kind, why),
    h('label', { class: 'field' }, h('span', { text: 'For the base' }), shapeMenu(refresh)), note, list,
    h('div', { class: 'row end' }, h('button', { class: 'btn', type: 'button', text: 'See as trained', onclick: () => openVariants({ dataset: openDataset(), base: base() }) })));
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
      if (turn === asked) { clear(list); note.textContent = api.said(error); }
    }
  }

  async function setKind() {
    const dataset = openDataset();
    try {
      await api.put(path(dataset, '/domain'), { domain: kind.value });
      announce(dataset);
    } catch (error) {
      why.textContent = api.said(error);
    }
    refresh();
  }

  function draw({ size_px: size, buckets, domain, domains }) {
    if (document.activeElement !== kind || kind.value !== domain) {
      clear(kind, h('option', { value: '', text: 'Nothing in particular' }), domains.map(each => h('option', { value: each.domain, text: each.title })));
      kind.value = domain;
    }
    const found = domains.find(each => each.domain === domain)?.why || 'nothing is changed: say what they show, and they are mirrored or turned where that suits them';
    why.textContent = `${found[0].toUpperCase()}${found.slice(1)}. Train can change it.`;
    const many = buckets.length > 1 ? `${buckets.length} shapes of about ${size} × ${size} px` : `One shape of about ${size} × ${size} px`;
    note.textContent = buckets.length ? `${many}, chosen from your pictures. A picture fills its shape; what does not fit is cut away.` : 'No pictures yet.';
    clear(list, buckets.map(bucket => h('li', {},
      h('p', {}, h('strong', { class: 'mono', text: `${bucket.width} × ${bucket.height}` }), ` ${bucket.images} ${bucket.images === 1 ? 'picture' : 'pictures'}, ${share(bucket.cut_percent)} cut away`,
        bucket.most_cut_percent - bucket.cut_percent > 5 ? `, at most ${share(bucket.most_cut_percent)}` : '',
        bucket.enlarged ? `; ${bucket.enlarged === bucket.images ? 'all' : bucket.enlarged} enlarged, up to ${bucket.most_enlarged.toFixed(1)} times` : ''),
      h('div', { class: 'examples-row' }, bucket.examples.map(each => h('button', { class: 'sample', type: 'button', title: `${each.file}: ${share(each.cut_percent)} cut away`, 'aria-label': `Frame ${each.file}`, onclick: () => open(each.file) },
        h('img', { src: each.src, alt: '', width: bucket.width, height: bucket.height })))))));
  }
}

export const share = percent => (percent === 0 ? 'nothing' : percent < 1 ? 'under 1 %' : `${Math.round(percent)} %`);
