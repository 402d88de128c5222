// Pictures that lie on their side: as they are and as they would be, side by side; those that are wanted are turned.

import * as api from './api.js';
import { h, toast } from './dom.js';
import { announce, offerUndo, path } from './dataset_state.js';

// Show each picture of the finding beside itself turned; pressing a row leaves it as it is. What is left is not mentioned again.
export function reviewTurns(dataset, told) {
  const left = new Set(), files = told.groups.map(group => group.files[0].file);
  const apply = h('button', { class: 'btn primary', type: 'button', onclick: carryOut });
  const rows = told.groups.map(group => row(group, item => { if (!left.delete(item.file)) left.add(item.file); mark(); }));
  const element = h('dialog', { class: 'studio-dialog dataset-dialog dataset-review', 'aria-label': told.title }, h('h3', { text: told.title }),
    h('p', { class: 'muted', text: told.num_groups > files.length ? `The first ${files.length} of ${told.num_groups}.` : told.text }),
    h('div', { class: 'turn-rows' }, rows.map(each => each.element)),
    h('div', { class: 'row end' }, h('small', { class: 'muted', text: 'Press a row to leave it as it is' }), h('span', { class: 'spring' }),
      h('button', { class: 'btn', type: 'button', text: 'Close', onclick: () => element.close() }), apply));
  element.addEventListener('close', () => { element.remove(); announce(dataset); });
  document.body.append(element);
  element.showModal();
  mark();
  apply.focus();

  function mark() {
    for (const each of rows) {
      const isLeft = left.has(each.file);
      each.element.setAttribute('aria-pressed', String(!isLeft));
      each.element.classList.toggle('out', isLeft);
      each.state.textContent = isLeft ? 'leave' : 'turn';
      each.state.className = isLeft ? 'chip' : 'chip adapted';
    }
    const num = files.length - left.size;
    apply.textContent = num ? `Turn ${num}${left.size ? `, leave ${left.size}` : ''}` : `Leave ${left.size}`;
  }

  async function carryOut() {
    apply.disabled = true;
    const done = [], turned = files.filter(file => !left.has(file));
    try {
      if (left.size) done.push(await api.post(path(dataset, '/doctor/fix'), { check: told.key, mend: 'keep', files: [...left] }));
      if (turned.length) done.push(await api.post(path(dataset, '/doctor/fix'), { check: told.key, mend: 'upright', files: turned }));
    } catch (error) {
      toast(api.said(error), { kind: 'error' });
    }
    if (done.length) offerUndo(dataset, done.map(each => each.text).join('; '), ...done.map(each => each.undo));
    element.close();
  }
}

function row({ files: [item], turns, why }, onPress) {
  const state = h('span', { class: 'chip' }), after = h('img', { src: item.thumb, alt: 'turned', loading: 'lazy' });
  after.style.transform = `rotate(${90 * turns}deg)`;
  const element = h('button', { class: 'turn-row', type: 'button', 'aria-label': `${item.source}: ${why}`, onclick: () => onPress(item) },
    h('span', { class: 'square' }, h('img', { src: item.thumb, alt: item.caption || item.source, loading: 'lazy' })), h('span', { class: 'muted', 'aria-hidden': 'true', text: '→' }), h('span', { class: 'square' }, after),
    h('span', { class: 'words' }, state, h('span', { class: 'mono', text: item.source }), h('span', { class: 'muted', text: why })));
  return { element, state, file: item.file };
}
