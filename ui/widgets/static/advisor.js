// "Not sure?": a goal and some memory become a recipe and settings, each with its reason; a button fills the form with them.

import * as api from './api.js';
import { h, clear } from './dom.js';

const GOALS = {
  style: ['A style', 'how things are drawn: a painter, a brand, an icon set'],
  subject: ['A subject', 'one thing, animal or person, in any surroundings'],
  modality: ['A modality', 'a kind of picture: MRI, satellite, X-ray, a microscope'],
};

// `chosen` = {dataset, base} of the form; `use(advice)` fills the form.
export function openAdvisor(chosen, use) {
  const result = h('div', { class: 'result', role: 'status', 'aria-live': 'polite' });
  const memory = h('input', { class: 'studio-input', type: 'number', name: 'memory', min: 0, max: 4096, step: 'any', placeholder: "this machine's" });
  const goals = h('fieldset', {}, h('legend', { text: 'What do the pictures have in common?' }), Object.entries(GOALS).map(([value, [name, text]]) => h('label', { class: 'goal' },
    h('input', { type: 'radio', name: 'goal', value, required: true }), h('span', {}, h('strong', { text: name }), h('span', { class: 'muted', text: `: ${text}` })))));
  const dialog = h('dialog', { class: 'studio-dialog advisor', 'aria-label': 'Advice' }, h('form', { onsubmit: ask }, h('h3', { text: 'Not sure? Tell us' }),
    h('p', { class: 'muted', text: chosen.dataset ? `For ${chosen.dataset} on ${chosen.base}.` : 'Choose a dataset first: import pictures or load a demo on the Dataset screen.' }), goals,
    h('label', { class: 'field' }, h('span', { text: 'Memory it may use, in GiB' }), memory),
    h('div', { class: 'row end' }, h('button', { class: 'btn', type: 'button', text: 'Close', onclick: () => dialog.close() }), h('button', { class: 'btn primary', type: 'submit', text: 'Advise', disabled: !chosen.dataset }))), result);
  let asked = 0;
  dialog.addEventListener('close', () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();

  async function ask(event) {
    event.preventDefault();
    const query = new URLSearchParams({ ...chosen, goal: dialog.querySelector('input[name=goal]:checked').value });
    if (memory.value) query.set('memory', memory.value);
    const turn = (asked += 1);
    try {
      const advice = await api.get(`/studio/advice?${query}`);
      if (turn === asked) show(advice);
    } catch (error) {
      if (turn === asked) clear(result, h('p', { class: 'problem', role: 'alert', text: api.said(error) }));
    }
  }

  function show(advice) {
    const said = reason => h('li', {}, reason.text, ' ', h('span', { class: 'muted source', text: reason.source }));
    clear(result, h('h3', { text: `${advice.title}, preset ${advice.preset}` }),
      h('p', { class: 'muted', text: `${advice.num_images} pictures; about ${advice.needs_gib} of ${advice.memory_gib} GiB${advice.settings.length ? `; ${advice.settings.join(', ')}` : ''}` }),
      advice.warnings.map(text => h('p', { class: 'chip held-out note', text })), h('ul', {}, advice.reasons.map(said)),
      advice.instead.length ? h('details', {}, h('summary', { text: 'What else would do' }), h('ul', {}, advice.instead.map(i => h('li', {}, h('strong', { text: `${i.title}: ` }), i.text, ' ', h('span', { class: 'muted source', text: i.source }))))) : null,
      h('div', { class: 'row end' }, h('button', { class: 'btn primary', type: 'button', text: 'Use this', onclick: () => { dialog.close(); use(advice); } })));
    result.querySelector('.btn').focus();
  }
}
