// Every caption that a picture has had or was offered, side by side with what differs marked; one is taken by a click, or a source for all.

import * as api from './api.js';
import { clear, fmt, h, toast } from './dom.js';
import { announce, offerUndo, onChange, onPlace, onSelection, openDataset, path, selection } from './dataset_state.js';

const MAX_COMPARED = 400; // words; longer captions are shown without marks

// The versions of one picture for its large view; `taken(caption)` is called when another one is used.
export function versionsOf(dataset, item, taken = () => {}) {
  const root = h('div', { class: 'versions' });
  load();
  return root;

  async function load() {
    try {
      const list = await api.get(path(dataset, `/versions?file=${encodeURIComponent(item.file)}`));
      const now = list.find(each => each.is_used)?.caption || '';
      clear(root, list.length ? h('ul', { 'aria-label': 'Versions of the caption' }, list.map(each => line(each, now))) : null);
    } catch (error) {
      clear(root, h('p', { class: 'problem', text: api.said(error) }));
    }
  }

  function line(each, now) {
    return h('li', { class: each.is_used ? 'used' : '' }, h('div', { class: 'by' }, h('strong', { text: each.source }), h('span', { class: 'muted', text: each.time ? fmt.time(each.time) : '' })),
      h('p', {}, marked(each.caption, now)),
      each.is_used ? h('span', { class: 'chip adapted', text: 'used' }) : h('button', { class: 'btn', type: 'button', text: 'Use', 'aria-label': `Use: ${each.source}, ${each.caption}`, onclick: () => use(each) }));
  }

  async function use(each) {
    try {
      const answer = await api.put(path(dataset, '/caption'), { file: item.file, caption: each.caption });
      item.caption = answer.caption;
      taken(answer.caption);
      announce(dataset);
    } catch (error) {
      toast(api.said(error), { kind: 'error' });
    }
    load();
  }
}

// The words of `text`, those marked that `other` does not have in this order (longest common subsequence).
export function marked(text, other) {
  const a = text.split(/\s+/).filter(Boolean), b = other.split(/\s+/).filter(Boolean);
  if (a.length > MAX_COMPARED || b.length > MAX_COMPARED) return [text];
  const long = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i -= 1) for (let j = b.length - 1; j >= 0; j -= 1) long[i][j] = a[i] === b[j] ? long[i + 1][j + 1] + 1 : Math.max(long[i + 1][j], long[i][j + 1]);
  const parts = [];
  let i = 0, j = 0;
  while (i < a.length) {
    if (j < b.length && a[i] === b[j]) { parts.push(`${a[i]} `); i += 1; j += 1; } else if (j < b.length && long[i][j + 1] >= long[i + 1][j]) j += 1;
    else { parts.push(h('mark', { text: a[i] }), ' '); i += 1; }
  }
  return parts;
}

// One source for all pictures, or the selected ones; there where captions of several sources are.
export function sourcesForm(root) {
  const view = { drawn: '', select: h('select', { class: 'studio-input', 'aria-label': 'Versions by' }), told: h('p', { class: 'chip problem', role: 'alert', hidden: true }) };
  view.go = h('button', { class: 'btn', type: 'submit', text: 'Use' });
  view.form = h('form', { class: 'form', hidden: true, 'aria-label': 'Versions', onsubmit: event => { event.preventDefault(); pick(); } },
    h('label', { class: 'field' }, h('span', { text: 'Versions' }), h('div', { class: 'ask' }, view.select, view.go), h('small', { class: 'muted', text: 'Captions of one source for all that have one; compare them in the large view.' })), view.told);
  onPlace(root, refresh);
  onChange(root, refresh);
  onSelection(root, scope);
  refresh();
  return view.form;

  function scope() { view.go.textContent = selection.size ? `Use for ${selection.size} selected` : 'Use for all'; }

  async function refresh() {
    const dataset = openDataset();
    let list = [];
    try { if (dataset) list = [...await api.get(path(dataset, '/sources'))]; } catch { return; } // the grid says what is wrong
    const drawn = JSON.stringify([dataset, list]);
    if (dataset !== openDataset() || drawn === view.drawn) return;
    const was = view.select.value;
    view.drawn = drawn;
    view.form.hidden = list.length < 2;
    clear(view.select, list.map(each => h('option', { value: each.source, text: `${each.source}: ${each.count}, ${each.used} used` })));
    if (list.some(each => each.source === was)) view.select.value = was;
    scope();
  }

  async function pick() {
    const dataset = openDataset();
    view.told.hidden = true;
    try {
      const answer = await api.post(path(dataset, '/pick'), { source: view.select.value, files: selection.size ? [...selection] : null });
      if (answer.undo) offerUndo(dataset, answer.text, answer.undo); else toast(answer.text);
    } catch (error) {
      clear(view.told, api.said(error));
      view.told.hidden = false;
    }
    announce(dataset);
  }
}
