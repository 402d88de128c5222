// The split of the open dataset made anew: groups by file name or column, a share, another draw; previewed before it is made.

import * as api from './api.js';
import { clear, h, single, toast } from './dom.js';
import { announce, labelOf, offerUndo, path } from './dataset_state.js';

export const splitDialog = single(async dataset => {
  let now;
  try {
    now = await api.get(path(dataset, '/split'));
  } catch (error) {
    toast(api.said(error), { kind: 'error' });
    return;
  }
  const { rule } = now, view = { dataset };
  const kind = h('select', { class: 'studio-input', 'aria-label': 'Groups by' }, h('option', { value: '', text: now.groups ? 'patients, scenes and look-alikes' : 'look-alikes alone' }), now.groups ? h('option', { value: 'within', text: 'look-alikes alone' }) : null, h('option', { value: 'name', text: 'a pattern in the file name' }),
    now.columns.map(column => h('option', { value: `column:${column}`, text: column === 'folder' ? 'folder' : `column ${column}` })));
  kind.value = rule.within ? 'within' : rule.groups_by ? 'name' : rule.column && now.columns.includes(rule.column) ? `column:${rule.column}` : '';
  const pattern = h('input', { class: 'studio-input mono', maxlength: 200, placeholder: 'patient(\\d+)', 'aria-label': 'Pattern', spellcheck: false, value: rule.groups_by });
  const share = h('input', { class: 'studio-input', type: 'number', min: 1, max: 90, step: 1, placeholder: 'by number', 'aria-label': 'Held out, per cent', value: rule.share ? Math.round(100 * rule.share) : '' });
  const seed = h('input', { class: 'studio-input', type: 'number', min: 0, step: 1, 'aria-label': 'Draw', value: rule.seed });
  const field = (text, input, help) => h('label', { class: 'field' }, h('span', { text }), input, help ? h('small', { class: 'muted', text: help }) : null);
  const named = field('Pattern', pattern, 'Pictures whose names match alike stay together: patient(\\d+) puts patient12-a and patient12-b on one side.');
  view.outcome = h('div', { class: 'outcome', 'aria-live': 'polite' });
  view.make = h('button', { class: 'btn primary', type: 'submit', text: 'Split anew', disabled: true });
  view.read = () => ({ groups_by: kind.value === 'name' ? pattern.value : '', column: kind.value.startsWith('column:') ? kind.value.slice(7) : '', within: kind.value === 'within', share: share.value ? Number(share.value) / 100 : null, seed: Number(seed.value) || 0 });
  view.element = h('dialog', { class: 'studio-dialog dataset-dialog', 'aria-label': 'Split' }, h('h3', { text: `Split ${labelOf(dataset)}` }),
    h('p', { class: 'muted', text: `Now ${now.train} to train on, ${now.held_out} held out. Copies and look-alikes never lie on both sides; runs that exist keep the split they were made with.` }),
    h('form', { class: 'form', onsubmit: event => { event.preventDefault(); make(view); } }, field('Keep together', kind), named,
      h('div', { class: 'pair' }, field('Held out, %', share), field('Draw', seed, 'Another number, other pictures.')), view.outcome,
      h('div', { class: 'row end' }, h('button', { class: 'btn', type: 'button', text: 'Cancel', onclick: () => view.element.close() }), view.make)));
  let timer = 0;
  const changed = () => { view.make.disabled = true; named.hidden = kind.value !== 'name'; clearTimeout(timer); timer = setTimeout(() => preview(view), 250); };
  view.element.addEventListener('input', changed);
  view.element.addEventListener('close', () => view.element.remove());
  document.body.append(view.element);
  view.element.showModal();
  changed();
});

async function preview(view) {
  const rule = view.read(), asked = (view.asked = (view.asked || 0) + 1);
  if (rule.groups_by === '' && rule.column === '' && view.element.querySelector('select').value === 'name') { clear(view.outcome, h('p', { class: 'muted', text: 'Type a pattern.' })); view.make.disabled = true; return; }
  try {
    const told = await api.post(path(view.dataset, '/split'), { rule, preview: true });
    if (asked !== view.asked) return;
    view.make.disabled = false;
    clear(view.outcome, h('p', {}, h('strong', { text: `${told.train} to train on, ${told.held_out} held out` }), ` · ${told.changed} change sides`),
      told.alike_groups ? h('p', { class: 'muted', text: `${told.alike_groups} ${told.alike_groups === 1 ? 'group' : 'groups'} of look-alikes` }) : null,
      told.groups ? h('p', { class: 'muted', text: `${told.groups} named ${told.groups === 1 ? 'group' : 'groups'} (${told.largest.slice(0, 4).map(([name, num]) => `${name}: ${num}`).join(', ')}${told.groups > 4 ? ', …' : ''}), ${told.alone} alone` }) : null,
      told.notes.map(text => h('p', { class: 'chip problem', text })));
  } catch (error) {
    if (asked !== view.asked) return;
    view.make.disabled = true;
    clear(view.outcome, h('p', { class: 'chip problem', role: 'alert', text: api.said(error) }));
  }
}

async function make(view) {
  view.make.disabled = true;
  try {
    const told = await api.post(path(view.dataset, '/split'), { rule: view.read(), preview: false });
    view.element.close();
    offerUndo(view.dataset, told.text, told.undo);
    announce(view.dataset);
  } catch (error) {
    view.make.disabled = false;
    clear(view.outcome, h('p', { class: 'chip problem', role: 'alert', text: api.said(error) }));
  }
}
