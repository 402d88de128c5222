// What a run will cost, what stands in its way, and where it continues from; beside the button that starts it.

import { h, clear } from './dom.js';
import { readingLine } from './captions_read.js';
import { variantsLine } from './framing_variants.js';

export function mount({ root, props, trigger, watch }) {
  let soon = 0;
  (window.studio ||= {}).askAgain = () => { clearTimeout(soon); soon = setTimeout(() => trigger('again', {}), 200); };
  window.addEventListener('studio:back', () => window.studio.askAgain());
  const show = () => draw(root, props.value || {}, trigger);
  watch('value', show);
  show();
}

function draw(root, note, trigger) {
  if (note.chosen) (window.studio ||= {}).chosen = note.chosen; // what the form holds, for who advises
  const lines = [];
  if (note.start_from) {
    lines.push(h('p', { class: 'from' }, h('span', {}, 'Continues from run ', h('strong', { text: note.start_from })),
      h('button', { class: 'btn quiet', type: 'button', 'aria-label': 'Start from the base instead', title: 'Start from the base instead', text: '✕', onclick: () => trigger('forget', {}) })));
  }
  if (note.hint) lines.push(h('p', { class: 'muted', text: note.hint }));
  if (note.error) lines.push(h('p', { class: 'error', role: 'alert', text: note.error }));
  if (note.text) lines.push(h('p', { class: 'cost' }, h('span', { text: note.text }), h('span', { class: 'muted', text: ` (${/^your/.test(note.source) ? 'from ' : ''}${note.source})` })));
  if (note.plan) lines.push(h('details', { class: 'plan' }, h('summary', { class: 'muted', text: `Memory plan: ${note.plan}` }), h('p', { class: 'muted', text: note.plan_details })));
  if (note.reading) lines.push(readingLine(note.reading, root.querySelector('.cut-captions')?.open));
  if (note.data) lines.push(variantsLine(note.data));
  if (note.problem) lines.push(h('p', { class: 'problem', text: `This ${note.problem}.` }));
  const wasOpen = root.querySelector('details.data')?.open;
  clear(root, lines);
  if (wasOpen) root.querySelector('details.data')?.setAttribute('open', '');
  if (note.error && document.activeElement?.id === 'train-button') root.scrollIntoView({ block: 'nearest' }); // the button stays in sight, why it does nothing may not
  root.dataset.state = note.error ? 'error' : note.text ? 'ready' : 'empty';
}
