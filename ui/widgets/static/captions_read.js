// Captions as a base reads them: how many are longer than it reads, each with the part that is not read struck through.

import * as api from './api.js';
import * as place from './place.js';
import { clear, h } from './dom.js';
import { base, shapeMenu } from './dataset_shapes.js';
import { onChange, openDataset, path } from './dataset_state.js';

const WAIT_MS = 500, TYPED_MS = 400, AT_ONCE = 100;
const known = new Map(); // what was told, by key

// What the captions behind `key` are to their base, filled in when it is known; `isOpen` keeps the list open over redraws.
export function readingLine(key, isOpen = false) {
  const root = h('div', { class: 'reading' });
  follow(root, key, told => draw(root, told, isOpen));
  return root;
}

async function follow(root, key, show, first = known.get(key)) {
  try {
    let told = first || await api.get(`/studio/readings/${key}`);
    show(told);
    while (told.state === 'reading') {
      await new Promise(done => setTimeout(done, WAIT_MS));
      if (!root.isConnected) return;
      told = await api.get(`/studio/readings/${key}`);
      show(told);
    }
    known.set(key, told);
    if (known.size > 30) known.delete(known.keys().next().value);
  } catch (error) {
    show({ state: 'failed', error: api.said(error) });
  }
}

function draw(root, told, isOpen) {
  root.dataset.state = told.state;
  if (told.state === 'reading') return clear(root, h('p', { class: 'muted', text: `Reading the captions as this base does … ${told.done} of ${told.total}` }));
  if (told.state === 'failed') return clear(root, h('p', { class: 'muted', text: `What this base reads of captions cannot be told: ${told.error}` }));
  if (!told.reads) return clear(root, h('p', { class: 'muted', text: `${told.family} reads no captions.` }));
  const limit = `${told.base} reads ${told.limit} tokens`;
  if (told.total && told.num_empty === told.total) return clear(root, wordless('No picture has a caption yet: what is learned is tied to no words.'));
  const some = told.num_empty ? wordless(`${told.num_empty} of ${told.total} pictures ${told.num_empty === 1 ? 'has' : 'have'} no caption.`) : null;
  if (!told.num_long) return clear(root, some, h('p', { class: 'muted', text: `All captions are read to their end (${limit}).` }));
  const wasOpen = root.querySelector('details')?.open ?? isOpen, are = told.num_long === 1 ? 'is' : 'are';
  return clear(root, some, h('details', { class: 'cut-captions', open: wasOpen }, h('summary', { text: `${told.num_long} of ${told.total} captions ${are} longer than ${told.base} reads (${told.limit} tokens). See what is cut` }),
    h('ul', {}, told.long.map(each => h('li', {}, h('span', { class: 'mono muted', text: each.file }), h('p', {}, struck(each.read, each.rest))))),
    told.num_long > told.long.length ? h('p', { class: 'muted', text: `and ${told.num_long - told.long.length} more` }) : null));
}

// What pictures without a caption mean, and the way to where captions are written; on the screen that writes them, no way is needed.
const wordless = text => h('p', { class: 'wordless', text: `${text} ` }, place.get().tab === 'train'
  ? h('button', { class: 'btn quiet', type: 'button', text: 'Write captions', onclick: () => place.open('dataset', { dataset: window.studio.chosen.dataset }) }) : null);

// What is read, and what is not: struck through, and said aloud by screen readers.
const struck = (read, rest) => [`${read} `, h('s', { class: 'unread', title: 'Not read', 'aria-label': `not read: ${rest}`, text: rest })];

// The panel of the Dataset screen: all captions, for the base that is chosen there.
export function readingPanel(root) {
  const found = h('div', { class: 'reading' });
  const panel = h('details', { class: 'panel' }, h('summary', { text: 'What is read of the captions' }),
    h('label', { class: 'field' }, h('span', { text: 'For the base' }), shapeMenu(refresh)), found);
  let asked = 0;
  panel.addEventListener('toggle', refresh);
  onChange(root, refresh);
  return { root: panel, refresh };

  async function refresh() {
    const dataset = openDataset(), turn = (asked += 1);
    if (!panel.open || !dataset) return;
    try {
      const told = await api.get(path(dataset, `/reading?base=${encodeURIComponent(base())}`));
      if (turn === asked) await follow(found, told.key, answer => { if (turn === asked) draw(found, answer, false); }, told);
    } catch (error) {
      if (turn === asked) draw(found, { state: 'failed', error: api.said(error) });
    }
  }
}

// Below a caption that is being written: the part that the chosen base does not read. Nothing where it reads the whole.
export function unreadNote(text) {
  const root = h('p', { class: 'unread-note', hidden: true });
  let soon = 0, asked = 0;
  const heard = () => { if (root.isConnected) judge(); else window.removeEventListener('studio:shape', heard); };
  window.addEventListener('studio:shape', heard);
  text.addEventListener('input', () => { clearTimeout(soon); soon = setTimeout(judge, TYPED_MS); });
  return { root, judge };

  async function judge() {
    const value = text.value, turn = (asked += 1);
    const end = value.length < 30 ? null : await ask(value);
    if (turn !== asked || value !== text.value) return;
    root.hidden = end === null;
    if (end !== null) clear(root, h('span', { text: `Not read by ${base()}: ` }), h('s', { class: 'unread', text: [...value].slice(end).join('').trim() }));
  }
}

// Questions of a moment go out as one: where the chosen base stops reading a text, null where it reads the whole or cannot be asked.
let waiting = [], timer = 0;

function ask(text) {
  return new Promise(answer => {
    waiting.push({ text, answer });
    clearTimeout(timer);
    timer = setTimeout(send, 50);
  });
}

async function send() {
  const all = waiting;
  waiting = [];
  for (let start = 0; start < all.length; start += AT_ONCE) {
    const some = all.slice(start, start + AT_ONCE);
    let ends = [];
    try {
      ({ ends } = await api.post('/studio/readings', { base: base(), texts: some.map(each => each.text) }));
    } catch { /* the panel says why */ }
    some.forEach((each, i) => each.answer(ends[i] ?? null));
  }
}
