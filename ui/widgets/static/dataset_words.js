// The words of the captions, larger the more often they stand there: a click shows the pictures; trigger word and class noun are checked.

import * as api from './api.js';
import * as place from './place.js';
import { clear, h, toast } from './dom.js';
import { announce, offerUndo, onChange, onPlace, openDataset, path } from './dataset_state.js';

const FIRST = 60;
const CHECKS = { trigger: ['trigger word', 'no_trigger'], class_noun: ['class noun', 'no_class_noun'] };

export function wordsPanel(root) {
  const view = { root, kind: '', all: false, version: '', told: null };
  view.kinds = h('div', { class: 'seg', role: 'radiogroup', 'aria-label': 'What is counted' });
  view.checks = h('ul', { class: 'checks' });
  view.cloud = h('div', { class: 'cloud', role: 'group', 'aria-label': 'Words of the captions' });
  view.noun = h('input', { class: 'studio-input', maxlength: 60, placeholder: 'brain scan', 'aria-label': 'Class noun', spellcheck: false, onchange: () => saveNoun(view) });
  view.said = h('small', { class: 'muted', role: 'status' });
  view.panel = h('section', { class: 'panel words', 'aria-label': 'Words' }, h('div', { class: 'row' }, h('h3', { text: 'Words' }), h('span', { class: 'spring' }), view.kinds),
    h('label', { class: 'field' }, h('span', { text: 'Class noun' }), view.noun, h('small', { class: 'muted', text: 'What the pictures show, in plain words: the class of a subject.' })), view.said, view.checks, view.cloud);
  onPlace(root, () => refresh(view));
  onChange(root, () => refresh(view));
  api.poll(() => refresh(view), 6000, root);
  return view.panel;
}

async function refresh(view) {
  const dataset = openDataset(), { kind } = view;
  if (!dataset) return;
  try {
    const told = await api.get(path(dataset, `/words?kind=${kind}`));
    if (dataset !== openDataset() || kind !== view.kind) return;
    const drawn = JSON.stringify([dataset, told.version, kind, view.all, place.get().word]);
    if (drawn === view.drawn) return;
    Object.assign(view, { drawn, told });
    draw(view);
  } catch { /* the grid says what is wrong */ }
}

function draw(view) {
  const { told } = view;
  clear(view.kinds, ['words', 'tags'].map(kind => h('button', { type: 'button', role: 'radio', 'aria-checked': String(kind === told.kind), text: kind, onclick: () => { view.kind = kind; refresh(view); } })));
  if (document.activeElement !== view.noun) view.noun.value = told.checks.class_noun.word;
  clear(view.checks, Object.entries(CHECKS).map(([key, names]) => check(view, key, names)));
  const most = told.entries[0]?.count || 1, now = (place.get().word || '').toLowerCase(), shown = view.all ? told.entries : told.entries.slice(0, FIRST);
  clear(view.cloud, shown.map(each => entry(each, most, now)),
    told.entries.length > shown.length ? h('button', { class: 'btn quiet', type: 'button', text: `${told.num - shown.length} more`, onclick: () => { view.all = true; view.drawn = ''; draw(view); } }) : null,
    view.all && told.num > told.entries.length ? h('p', { class: 'muted', text: `The ${told.entries.length} most frequent of ${told.num}. Search captions above the pictures for others.` }) : null,
    told.entries.length ? null : h('p', { class: 'muted', text: 'No captions yet. Caption all, above, writes them.' }));
}

function entry({ text, count, is }, most, now) {
  const title = is === 'trigger' ? 'the trigger word' : is === 'class' ? 'the class noun' : '';
  return h('button', {
    class: `word ${is}`, type: 'button', 'aria-pressed': String(text === now), 'aria-label': `${text}, in ${count} ${count === 1 ? 'caption' : 'captions'}`, title,
    style: { fontSize: `${(12 + 8 * Math.sqrt(count / most)).toFixed(1)}px` }, onclick: () => place.set({ word: text === now ? null : text }),
  }, h('span', { text }), h('span', { class: 'mono muted', text: String(count) }));
}

function check(view, key, [name, filter]) {
  const { word, has, lacks } = view.told.checks[key];
  if (!word) return null;
  if (!lacks) return h('li', {}, h('span', { text: has ? `The ${name} ${word} is in all ${has} captions.` : `No caption can have the ${name} ${word} yet.` }));
  return h('li', {}, h('span', { text: `${lacks} of ${lacks + has} captions lack the ${name} ${word}.` }), h('span', { class: 'row' },
    h('button', { class: 'btn quiet', type: 'button', text: 'Show', 'aria-label': `Show captions without ${word}`, onclick: () => place.set({ filter, word: null }) }),
    h('button', { class: 'btn', type: 'button', text: 'Add', 'aria-label': `Add ${word} to captions without it`, onclick: () => mend(key) })));
}

async function mend(operation) {
  const dataset = openDataset();
  try {
    const answer = await api.post(path(dataset, '/bulk'), { operation, preview: false });
    if (answer.undo) offerUndo(dataset, answer.text, answer.undo); else toast(answer.text);
  } catch (error) {
    toast(api.said(error), { kind: 'error' });
  }
  announce(dataset);
}

async function saveNoun(view) {
  const dataset = openDataset(), sent = view.noun.value;
  try {
    const answer = await api.put(path(dataset, '/class-noun'), { class_noun: sent });
    if (dataset !== openDataset() || sent !== view.noun.value) return; // another one is open, or more was typed
    view.noun.value = answer.class_noun;
    view.said.className = 'muted';
    view.said.textContent = answer.class_noun ? 'Saved' : '';
    announce(dataset);
  } catch (error) {
    view.said.className = 'chip problem';
    view.said.textContent = `Not saved: ${api.said(error)}`;
  }
}
