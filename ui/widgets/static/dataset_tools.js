// Captions of many pictures at once, each change previewed before it is made; the doctor; what can be undone.

import * as api from './api.js';
import { clear, fmt, h, single, toast } from './dom.js';
import { readingPanel } from './captions_read.js';
import { captionerForm, examples } from './dataset_captioner.js';
import { bucketsPanel } from './dataset_buckets.js';
import { sourcesForm } from './dataset_versions.js';
import { wordsPanel } from './dataset_words.js';
import { classPanel } from './dataset_class.js';
import { doctorPanel } from './dataset_doctor.js';
import { openEditor } from './dataset_editor.js';
import { announce, offerUndo, onChange, onPlace, onSelection, openDataset, path, selection } from './dataset_state.js';

export function mount({ root }) {
  const view = { root, dataset: '', version: '', asked: 0 };
  view.trigger = h('input', { class: 'studio-input', maxlength: 60, placeholder: 'brainmri', 'aria-label': 'Trigger word', spellcheck: false });
  view.captioner = captionerForm(root);
  view.scope = h('p', { class: 'muted scope' });
  view.history = h('ul', { class: 'history' });
  view.past = h('details', { class: 'panel past', hidden: true }, h('summary', { text: 'Changes that can be undone' }), view.history);
  view.buckets = bucketsPanel(root, file => editOne(view.dataset, file));
  view.reading = readingPanel(root);
  root.replaceChildren(
    h('section', { class: 'panel' }, h('h3', { text: 'Captions' }), view.scope, view.captioner.element, sourcesForm(root), triggerForm(view), replaceForm(), aroundForm()),
    doctorPanel(root), wordsPanel(root), view.reading.root, view.buckets.root, classPanel(root), view.past);
  view.past.addEventListener('toggle', () => { if (view.past.open) drawHistory(view); });
  onPlace(root, () => refresh(view));
  onChange(root, () => refresh(view));
  onSelection(root, () => drawScope(view));
  api.poll(() => refresh(view), 4000, root);
}

async function refresh(view) {
  const dataset = openDataset(), turn = (view.asked += 1);
  if (!dataset) { view.dataset = ''; view.root.dataset.state = 'empty'; return; }
  try {
    const known = dataset === view.dataset && view.version ? `&known=${view.version}` : '';
    const answer = await api.get(path(dataset, `?limit=0${known}`));
    if (turn !== view.asked) return;
    if (!answer.same) draw(view, dataset, answer);
    view.root.dataset.state = 'ready';
  } catch (error) {
    view.root.dataset.state = view.version && dataset === view.dataset ? 'error' : 'empty'; // the grid says why
  }
}

const editOne = single(async (dataset, file) => {
  try {
    openEditor(dataset, [await api.get(path(dataset, `/picture?file=${encodeURIComponent(file)}`))], 0);
  } catch (error) {
    toast(api.said(error), { kind: 'error' });
  }
});

function draw(view, dataset, answer) {
  view.buckets.refresh();
  view.reading.refresh();
  if (dataset !== view.dataset) {
    view.root.querySelectorAll('.outcome[data-turn]').forEach(forget);
    if (view.dataset) delete view.trigger.dataset.unsaved; // typed for the one that was open
    document.getElementById('dataset-side')?.scrollTo({ top: 0 });
  }
  Object.assign(view, { dataset, version: answer.version });
  if (document.activeElement !== view.trigger && !view.trigger.dataset.unsaved) view.trigger.value = answer.trigger;
  view.captioner.know(answer.fields);
  view.past.hidden = false;
  if (view.past.open) drawHistory(view);
  drawScope(view);
}

function drawScope(view) {
  view.scope.textContent = selection.size ? `For the ${selection.size} selected` : 'For all images; select some to change only those';
}

async function drawHistory(view) {
  const { dataset } = view;
  try {
    const list = await api.get(path(dataset, '/history'));
    if (dataset !== view.dataset) return;
    clear(view.history, list.length ? list.slice(0, 30).map(each => h('li', {}, h('span', { text: each.text }), h('span', { class: 'muted', text: fmt.time(each.time) }),
      h('button', { class: 'btn quiet', type: 'button', text: 'Undo', 'aria-label': `Undo: ${each.text}`, onclick: event => { event.target.disabled = true; undo(view, each); } }))) : h('li', { class: 'muted', text: 'No changes yet.' }));
  } catch (error) {
    clear(view.history, h('li', { class: 'problem', text: api.said(error) }));
  }
}

async function undo(view, record) {
  try {
    toast((await api.post(path(view.dataset, '/undo'), { undo: record.undo })).text);
  } catch (error) {
    toast(api.said(error), { kind: 'error' });
  }
  announce(view.dataset);
  drawHistory(view);
}

// A form whose button previews a change and offers to make it; `read` gives the change.
function form(title, fields, read, verb = 'Preview') { // title is the button's whole name
  const outcome = h('div', { class: 'outcome', 'aria-live': 'polite', dataset: { turn: 0 } });
  const element = h('form', { class: 'form', onsubmit: event => { event.preventDefault(); preview(outcome, read); } }, fields,
    h('div', { class: 'row end' }, h('button', { class: 'btn', type: 'submit', text: verb, 'aria-label': title })), outcome);
  element.addEventListener('input', () => forget(outcome));
  return element;
}

// What was previewed, or is about to be, is of other words, or of another dataset.
function forget(outcome) {
  outcome.dataset.turn = Number(outcome.dataset.turn) + 1;
  clear(outcome);
}

async function preview(outcome, read) {
  const dataset = openDataset();
  forget(outcome);
  const { turn } = outcome.dataset;
  try {
    const change = { ...(await read()), files: selection.size ? [...selection] : null };
    const told = await api.post(path(dataset, '/bulk'), { ...change, preview: true });
    if (turn !== outcome.dataset.turn) return;
    clear(outcome, ...examples(told),
      told.count ? h('div', { class: 'row end' }, h('button', { class: 'btn primary', type: 'button', text: `Change ${told.count}`, onclick: event => apply(dataset, outcome, change, event.target) })) : null);
  } catch (error) {
    if (turn === outcome.dataset.turn) clear(outcome, h('p', { class: 'chip problem', role: 'alert', text: api.said(error) }));
  }
}

async function apply(dataset, outcome, change, button) {
  const { turn } = outcome.dataset;
  button.disabled = true;
  button.textContent = 'Changing …';
  try {
    const answer = await api.post(path(dataset, '/bulk'), { ...change, preview: false });
    if (turn === outcome.dataset.turn) clear(outcome);
    if (answer.undo) offerUndo(dataset, answer.text, answer.undo);
    else toast(answer.text);
  } catch (error) {
    clear(outcome, h('p', { class: 'chip problem', role: 'alert', text: api.said(error) }));
  }
  announce(dataset);
}

const field = (text, input, help) => h('label', { class: 'field' }, h('span', { text }), input, help ? h('small', { class: 'muted', text: help }) : null);
const input = (label, attributes = {}) => h('input', { class: 'studio-input', maxlength: 2000, 'aria-label': label, spellcheck: false, ...attributes });

function triggerForm(view) {
  const told = h('small', { class: 'muted', role: 'status' });
  view.trigger.addEventListener('input', () => { view.trigger.dataset.unsaved = 'yes'; });
  view.trigger.addEventListener('change', () => save().catch(() => null));
  async function save() {
    const dataset = openDataset(), sent = view.trigger.value;
    try {
      const answer = await api.put(path(dataset, '/trigger'), { trigger: sent });
      if (dataset !== openDataset() || sent !== view.trigger.value) return; // another one is open, or more was typed
      view.trigger.value = answer.trigger;
      delete view.trigger.dataset.unsaved;
      told.className = 'muted';
      told.textContent = answer.trigger ? 'Saved' : '';
      announce(dataset);
    } catch (error) {
      told.className = 'chip problem';
      told.textContent = `Not saved: ${api.said(error)}`;
      throw error;
    }
  }
  const read = async () => { if (view.trigger.dataset.unsaved) await save(); return { operation: 'trigger' }; };
  return form('Add to captions that lack it', [field('Trigger word', view.trigger, 'A rare word that stands for this domain in prompts.'), told], read, 'Add to captions that lack it');
}

function replaceForm() {
  const find = input('Find'), replace = input('Replace with'), exact = h('input', { type: 'checkbox' });
  return form('Preview find and replace', [h('div', { class: 'pair' }, field('Find', find), field('Replace with', replace)), h('label', { class: 'check' }, exact, ' Match capitals')],
    () => ({ operation: 'replace', find: find.value, replace: replace.value, match_case: exact.checked }));
}

function aroundForm() {
  const text = input('Text to put before or after'), where = h('select', { class: 'studio-input', 'aria-label': 'Where' }, h('option', { value: 'prefix', text: 'before' }), h('option', { value: 'suffix', text: 'after' }));
  return form('Preview before or after', [h('div', { class: 'pair' }, field('Put text', text), field('Where', where))], () => ({ operation: where.value, text: text.value }));
}
