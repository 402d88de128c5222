// One picture of the grid: thumbnail, badges, and its caption, edited in place and saved when left.

import * as api from './api.js';
import { unreadNote } from './captions_read.js';
import { clear, h } from './dom.js';
import { saidOf } from './dataset_said.js';
import { announce, path } from './dataset_state.js';

const LOOK = { 'held out': 'chip held-out', problem: 'chip problem', note: 'chip', edited: 'chip adapted', 'no caption': 'chip', framed: 'chip adapted', masked: 'chip adapted' };
const SIGN = { framed: '✂', masked: '◐' };
const draftKey = (dataset, file) => `studio.draft:${dataset}/${file}`;

// `on` is {open(file), pick(file, event)}; returns {root, file, update(item), picked(isPicked), flush()}.
export function card(dataset, item, on) {
  const file = item.file;
  const box = h('input', { type: 'checkbox', 'aria-label': `Select ${item.source}`, onclick: event => on.pick(file, event) });
  const image = h('img', { loading: 'lazy', decoding: 'async', width: item.width, height: item.height });
  const thumb = h('button', { class: 'thumb', type: 'button', 'aria-label': `Open ${item.source}`, onclick: onThumb, onkeydown: onKey }, image);
  const badges = h('div', { class: 'badges' });
  const text = h('textarea', { class: 'studio-input', rows: 2, 'aria-label': `Caption of ${item.source}`, placeholder: 'No caption yet', spellcheck: true });
  const told = h('div', { class: 'told', role: 'status' }), unread = unreadNote(text);
  const said = saidOf(caption => { text.value = caption; save(); });
  const root = h('article', { class: 'card', dataset: { file } }, thumb, h('label', { class: 'pick' }, box),
    h('div', { class: 'name mono muted', text: item.source, title: item.source }), text, unread.root, said.root, h('div', { class: 'foot' }, badges, told));
  let saved = item.caption, force = false, saving = null;
  const draft = sessionStorage.getItem(draftKey(dataset, file));
  text.value = draft ?? saved;
  if (draft !== null && draft !== saved) tell('unsaved', 'Not saved yet');
  text.addEventListener('input', () => { keep(); tell('unsaved', text.value === saved ? '' : 'Not saved yet'); });
  text.addEventListener('blur', save);
  text.addEventListener('keydown', event => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) { event.preventDefault(); save(); }
    else if (event.key === 'Enter') event.preventDefault(); // a caption is one line
    if (event.key === 'Escape') { text.value = saved; keep(); tell('', ''); text.blur(); }
  });
  image.addEventListener('error', () => { thumb.classList.add('broken'); image.alt = `${item.source} cannot be shown`; });
  update(item);
  return { root, file, update, picked, flush };

  function onThumb(event) {
    if (event.shiftKey || event.ctrlKey || event.metaKey) on.pick(file, event);
    else on.open(file);
  }

  function onKey(event) {
    if (event.key !== ' ') return;
    event.preventDefault();
    on.pick(file, event);
  }

  function keep() {
    if (text.value === saved) sessionStorage.removeItem(draftKey(dataset, file));
    else try { sessionStorage.setItem(draftKey(dataset, file), text.value); } catch { /* the text stays in its box */ }
  }

  function tell(state, words) {
    root.dataset.caption = state;
    clear(told, words || '', state === 'failed' ? h('button', { class: 'btn quiet', type: 'button', text: 'Try again', onclick: save }) : null);
    if (state === 'saved') setTimeout(() => { if (root.dataset.caption === 'saved' && told.textContent === words) tell('', ''); }, 4000);
  }

  async function save() {
    if (saving) return;
    if (text.value === saved) {
      text.value = saved = item.caption;
      if (root.dataset.caption === 'unsaved') tell('', '');
      return;
    }
    const sent = text.value;
    tell('saving', 'Saving …');
    try {
      saving = api.put(path(dataset, '/caption'), { file, caption: sent, ...(force ? {} : { before: saved }) });
      const answer = await saving;
      force = false;
      saved = item.caption = answer.caption;
      if (text.value === sent) text.value = saved;
      keep();
      tell('saved', answer.note ? `Saved; ${answer.note}` : 'Saved');
      announce(dataset);
    } catch (error) {
      force = error.message.includes('save again');
      tell('failed', `Not saved: ${error.message}`);
    }
    saving = null;
    if (text.value !== saved && text.value !== sent && document.activeElement !== text) save();
  }

  // The page goes away: what was typed is sent without waiting for an answer.
  function flush() {
    if (text.value !== saved && !saving) {
      fetch(path(dataset, '/caption'), { method: 'PUT', keepalive: true, headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ file, caption: text.value, before: saved }) });
    }
  }

  function update(next) {
    item = next;
    if (image.getAttribute('src') !== next.thumb) image.src = next.thumb;
    image.classList.toggle('pixelated', Math.max(next.width, next.height) < 192);
    image.alt = next.caption || next.source;
    thumb.title = [`${next.width}×${next.height} px`, next.note].filter(Boolean).join(' · ');
    clear(badges, next.badges.map(name => h('span', { class: LOOK[name] || 'chip', text: SIGN[name] || name, title: name === 'framed' ? next.framed : name === 'masked' ? 'A mask says what is learned' : ['problem', 'note', 'text'].includes(name) ? next.note : null })));
    said.draw(next.said, next.caption);
    if (text.value === saved && !saving && document.activeElement !== text) text.value = saved = next.caption;
    unread.judge();
  }

  function picked(isPicked) {
    box.checked = isPicked;
    root.classList.toggle('picked', isPicked);
  }
}
