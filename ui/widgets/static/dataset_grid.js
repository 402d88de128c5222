// The open dataset: its pictures page by page, captions in place, selection; without one, the way to begin.

import * as api from './api.js';
import * as place from './place.js';
import * as lightbox from './lightbox.js';
import { clear, h, single, toast } from './dom.js';
import { card } from './dataset_card.js';
import { choose } from './dataset_drop.js';
import { home } from './dataset_home.js';
import { openEditor } from './dataset_editor.js';
import { versionsOf } from './dataset_versions.js';
import { lasso } from './dataset_lasso.js';
import { announce, offerUndo, onChange, onPlace, onSelection, openDataset, path, remember, select, selection } from './dataset_state.js';

const PAGE = 60;
const FILTERS = [['all', 'All'], ['held_out', 'Held out'], ['problem', 'To look at'], ['no_caption', 'No caption'], ['edited', 'Edited']];
const OTHER = { train: 'Training part', framed: 'Cropped or turned', masked: 'Masked', no_trigger: 'No trigger word', no_class_noun: 'No class noun' };
const SORTS = [['order', 'As imported'], ['newest', 'Newest first'], ['name', 'By name'], ['caption', 'By caption'], ['size', 'By size']];
const TURNS = [['left', '⟲', 'Turn the selected pictures left'], ['right', '⟳', 'Turn the selected pictures right'], ['mirror', '⇋', 'Mirror the selected pictures']];

export function mount({ root, trigger }) {
  const view = { root, trigger, dataset: '', offset: 0, sort: 'order', text: '', word: '', filter: 'all', cards: new Map(), items: [], answer: null, anchor: null, asked: 0 };
  view.counts = h('p', { class: 'counts', role: 'status' });
  view.filters = h('div', { class: 'seg', role: 'radiogroup', 'aria-label': 'Show' });
  view.chosen = h('span', { class: 'chosen' });
  view.search = h('input', { class: 'studio-input search', type: 'search', placeholder: 'Search captions and names', 'aria-label': 'Search captions and names' });
  view.order = h('select', { class: 'studio-input', 'aria-label': 'Order' }, SORTS.map(([value, text]) => h('option', { value, text })));
  view.grid = h('div', { class: 'cards', role: 'group', 'aria-label': 'Pictures' });
  view.pager = h('nav', { class: 'pager row', 'aria-label': 'Pages' });
  view.bar = h('div', { class: 'actions', role: 'toolbar', 'aria-label': 'Selected pictures', hidden: true });
  view.problem = h('p', { class: 'chip problem trouble', role: 'alert', hidden: true });
  view.home = h('div', { hidden: true });
  view.open = h('div', { class: 'open', hidden: true },
    h('div', { class: 'head row' }, view.counts, h('span', { class: 'spring' }),
      h('button', { class: 'btn', type: 'button', text: 'Add images', onclick: () => choose() }),
      h('button', { class: 'btn', type: 'button', text: 'Add a folder', onclick: () => choose(true) }),
      h('button', { class: 'btn primary', type: 'button', text: 'Train an adapter', onclick: () => place.open('train', { dataset: view.dataset }) })),
    h('div', { class: 'row tools' }, view.filters, view.chosen, h('span', { class: 'spring' }), view.search, view.order),
    view.grid, view.pager, view.bar);
  root.replaceChildren(view.problem, view.home, view.open);
  listen(view);
  follow(view, place.get());
  api.poll(() => refresh(view, true), 3000, root);
}

function listen(view) {
  const { root } = view;
  let timer = 0;
  view.search.addEventListener('input', () => {
    clearTimeout(timer);
    timer = setTimeout(() => { view.text = view.search.value; view.offset = 0; refresh(view); }, 200);
  });
  view.order.addEventListener('change', () => { view.sort = view.order.value; view.offset = 0; refresh(view); });
  view.grid.addEventListener('keydown', event => onKey(view, event));
  root.addEventListener('keydown', event => {
    if (event.key === 'Escape' && selection.size && !event.target.matches('textarea, input:not([type=checkbox])')) select([...selection], false);
  });
  onPlace(root, here => follow(view, here));
  onChange(root, ({ dataset, isList }) => {
    if (isList) view.trigger('listed', { dataset: openDataset() });
    if (dataset === view.dataset || isList) refresh(view);
  });
  onSelection(root, () => drawSelection(view));
  window.addEventListener('studio:back', () => view.trigger('listed', {}));
  lasso(view.open, () => view.cards);
  window.addEventListener('pagehide', () => { for (const each of view.cards.values()) each.flush(); });
}

// The address names another dataset or filter.
function follow(view, here) {
  const dataset = here.dataset || '', filter = here.filter || 'all', word = here.word || '';
  const isOther = dataset !== view.dataset || !view.named;
  if (!isOther && filter === view.filter && word === view.word) return;
  if (isOther) {
    view.named = true;
    view.dataset = dataset;
    view.search.value = view.text = '';
    view.cards.clear();
    clear(view.grid);
    view.answer = view.answered = null;
    select([...selection], false);
    view.trigger('listed', { dataset });
  }
  view.filter = filter;
  view.word = word;
  view.offset = 0;
  refresh(view);
}

// Ask for what is to be seen; `isQuiet`: only if it has changed since.
async function refresh(view, isQuiet = false) {
  const turn = (view.asked += 1), { dataset } = view;
  try {
    if (!dataset) {
      if (isQuiet && view.home.contains(document.activeElement)) return;
      const list = await api.get('/studio/datasets');
      if (turn !== view.asked) return;
      remember(list);
      await home(view.home, list);
      reveal(view, 'empty', view.home);
      return;
    }
    const query = new URLSearchParams({ offset: view.offset, limit: PAGE, filter: view.filter, sort: view.sort, text: view.text, word: view.word });
    const question = `${dataset}?${query}`;
    if (isQuiet && view.answered === question) query.set('known', view.answer.version);
    const answer = await api.get(path(dataset, `?${query}`));
    if (turn !== view.asked) return;
    if (answer.same) { if (view.root.dataset.state === 'error') reveal(view, view.answer.total ? 'ready' : 'empty', view.open); return; }
    if (answer.offset && answer.offset >= answer.shown) { view.offset = Math.max(0, Math.ceil(answer.shown / PAGE) - 1) * PAGE; refresh(view); return; }
    remember([answer]);
    view.answered = question;
    draw(view, answer);
    reveal(view, answer.total ? 'ready' : 'empty', view.open);
  } catch (error) {
    if (turn !== view.asked) return;
    view.problem.textContent = api.said(error);
    view.problem.hidden = false;
    view.root.dataset.state = 'error';
    if (dataset && error.status === 400 && !view.answer) begin(view);
  }
}

// The dataset of the address cannot be opened: say why, and offer the others.
async function begin(view) {
  view.open.hidden = true;
  try {
    await home(view.home, await api.get('/studio/datasets'));
    view.home.hidden = false;
  } catch { /* what is wrong is said already */ }
}

function reveal(view, state, part) {
  view.problem.hidden = true;
  for (const each of [view.home, view.open]) each.hidden = each !== part;
  view.root.dataset.state = state;
}

function draw(view, answer) {
  view.answer = answer;
  view.items = answer.items;
  const facts = answer.facts;
  view.counts.textContent = [[facts.images, facts.images === 1 ? 'image' : 'images'], [facts.train, 'train'], [facts.held_out, 'held out'], [facts.captions, 'with caption']].map(([num, what]) => `${num.toLocaleString('en')} ${what}`).join(' · ');
  if (facts.images) view.counts.append(' · ', readiness(facts.doctor));
  const other = OTHER[view.filter] ? [[view.filter, OTHER[view.filter]]] : view.filter.startsWith('check:') ? [[view.filter, `Doctor: ${answer.checked}`]] : [];
  clear(view.filters, [...FILTERS, ...other].map(([key, text]) => h('button', {
    type: 'button', role: 'radio', 'aria-checked': String(key === view.filter), text, onclick: () => place.set({ filter: key === 'all' ? null : key, word: null }),
  })));
  clear(view.chosen, view.word ? h('button', { class: 'chip adapted', type: 'button', text: `“${view.word}” ✕`, 'aria-label': `Show also pictures without ${view.word}`, onclick: () => place.set({ word: null }) }) : null);
  const kept = new Map();
  for (const item of answer.items) {
    const old = view.cards.get(item.file);
    if (old) old.update(item);
    kept.set(item.file, old || card(view.dataset, item, { open: file => openLarge(view, file), pick: (file, event) => pick(view, file, event) }));
  }
  for (const [file, old] of view.cards) if (!kept.has(file)) old.root.remove();
  view.cards = kept;
  let at = view.grid.firstChild;
  for (const each of kept.values()) {
    if (at === each.root) at = at.nextSibling;
    else view.grid.insertBefore(each.root, at);
  }
  view.grid.querySelectorAll(':scope > .empty').forEach(element => element.remove());
  if (!answer.items.length) view.grid.append(nothing(view, answer));
  drawPager(view, answer);
  drawSelection(view);
}

// Leads to the doctor's findings.
function readiness({ score, num_findings: num }) {
  const go = () => { const doctor = document.querySelector('.dataset-tools .doctor'); doctor?.scrollIntoView({ block: 'start' }); doctor?.querySelector('button')?.focus({ preventScroll: true }); };
  return h('button', { class: 'btn quiet ready', type: 'button', text: `readiness ${score}${num ? ` ▸ ${num} ${num === 1 ? 'thing' : 'things'} to look at` : ''}`, onclick: go });
}

function nothing(view, answer) {
  if (!answer.total) return h('div', { class: 'empty' }, h('p', { text: 'No images left here. Drop some anywhere, or undo the removal.' }), h('button', { class: 'btn', type: 'button', text: 'Add images', onclick: () => choose() }));
  const back = () => { view.search.value = view.text = ''; place.set({ filter: null, word: null }); refresh(view); };
  return h('div', { class: 'empty' }, h('p', { text: 'No image fits this filter.' }), h('button', { class: 'btn', type: 'button', text: 'Show all', onclick: back }));
}

function drawPager(view, answer) {
  const go = offset => { view.offset = offset; refresh(view).then(() => view.root.scrollIntoView({ block: 'start' })); };
  const last = Math.min(answer.offset + PAGE, answer.shown);
  view.pager.hidden = answer.shown <= PAGE;
  clear(view.pager,
    h('button', { class: 'btn', type: 'button', text: 'Previous', disabled: !answer.offset, onclick: () => go(Math.max(0, answer.offset - PAGE)) }),
    h('span', { class: 'mono', text: `${answer.offset + 1}–${last} of ${answer.shown.toLocaleString('en')}` }),
    h('button', { class: 'btn', type: 'button', text: 'Next', disabled: last >= answer.shown, onclick: () => go(answer.offset + PAGE) }));
}

function drawSelection(view) {
  for (const [file, each] of view.cards) each.picked(selection.has(file));
  const num = selection.size, shown = view.answer?.shown || 0, here = [...view.cards.keys()].filter(file => selection.has(file)).length;
  const away = num > here ? `, ${(num - here).toLocaleString('en')} of them not in view` : '';
  view.bar.hidden = !num;
  if (!num) { clear(view.bar); return; }
  clear(view.bar, h('strong', { text: `${num.toLocaleString('en')} selected${away}` }),
    h('button', { class: 'btn danger', type: 'button', text: 'Remove', onclick: () => remove(view) }),
    TURNS.map(([action, text, label]) => h('button', { class: 'btn', type: 'button', text, title: label, 'aria-label': label, onclick: () => turn(view, action) })),
    num < shown || here < view.cards.size ? h('button', { class: 'btn', type: 'button', text: `Select all ${shown.toLocaleString('en')}`, onclick: () => selectAll(view) }) : null,
    h('button', { class: 'btn quiet', type: 'button', text: 'Select none', onclick: () => select([...selection], false) }));
}

function pick(view, file, event) {
  const files = view.items.map(item => item.file), from = files.indexOf(view.anchor), to = files.indexOf(file);
  if (event.shiftKey && from >= 0 && to >= 0) select(files.slice(Math.min(from, to), Math.max(from, to) + 1));
  else select([file], !selection.has(file));
  view.anchor = file;
}

async function selectAll(view) {
  const found = [], { dataset, filter, text, word } = view;
  try {
    for (let offset = 0; ; offset += 200) {
      const query = new URLSearchParams({ offset, limit: 200, filter, text, word });
      const answer = await api.get(path(dataset, `?${query}`));
      if (dataset !== view.dataset || filter !== view.filter || text !== view.text || word !== view.word) return; // of what is not shown any more
      found.push(...answer.items.map(item => item.file));
      if (offset + 200 >= answer.shown) break;
    }
    select(found);
  } catch (error) {
    toast(api.said(error), { kind: 'error' });
  }
}

const turn = (view, action) => change(view, '/turn', { action });
const remove = single(view => change(view, '/remove', {}, true));

// One change of all selected pictures, with a way back.
async function change(view, act, more, isGone = false) {
  const { dataset } = view, files = [...selection];
  try {
    const answer = await api.post(path(dataset, act), { files, ...more });
    if (isGone) select(files, false);
    offerUndo(dataset, answer.text, answer.undo);
  } catch (error) {
    toast(api.said(error), { kind: 'error' });
  }
  announce(dataset);
}

// Arrows go from picture to picture, Delete removes what is selected, Ctrl+A selects the page.
function onKey(view, event) {
  if (event.target.matches('textarea')) return;
  const files = view.items.map(item => item.file), at = files.indexOf(event.target.closest('.card')?.dataset.file);
  const columns = getComputedStyle(view.grid).gridTemplateColumns.split(' ').length;
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
  if (step && at >= 0) {
    event.preventDefault();
    view.cards.get(files[at + step])?.root.querySelector('.thumb').focus();
  } else if (event.key === 'a' && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    select(files);
  } else if (event.key === 'Delete' && selection.size) {
    remove(view);
  }
}

function openLarge(view, file) {
  const dialog = lightbox.open(picture(view.items.findIndex(item => item.file === file)));

  function picture(at) {
    const item = view.items[at];
    if (!item) return null;
    const facts = [`${item.width}×${item.height} px`, item.split === 'held_out' ? 'held out' : 'train', item.source, item.note].filter(Boolean).join(' · ');
    const words = h('p', { text: item.caption || 'No caption yet' });
    return {
      src: item.view,
      alt: item.caption || item.source,
      caption: h('div', {}, h('div', { class: 'row edit' }, [['Crop and turn', 'crop'], ['Mask', 'mask']].map(([text, mode]) => h('button', { class: 'btn', type: 'button', text, onclick: () => { dialog.close(); openEditor(view.dataset, view.items, at, mode); } }))),
        words, h('p', { class: 'mono muted', text: `${at + 1} of ${view.items.length} · ${facts}` }),
        item.versions > 1 || (item.versions && !item.caption) ? versionsOf(view.dataset, item, caption => { words.textContent = caption; }) : null),
      previous: at > 0 ? () => picture(at - 1) : null,
      next: at < view.items.length - 1 ? () => picture(at + 1) : null,
    };
  }
}
