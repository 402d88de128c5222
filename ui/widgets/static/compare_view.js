// Compare: follows a drawing until it is done, then shows it in one of six ways; history, download, and settings out of dropped files.

import * as api from './api.js';
import * as place from './place.js';
import { h, clear } from './dom.js';
import { createHistory } from './compare_history.js';
import { preload, tabulate } from './compare_pictures.js';
import { STRIPS, VIEWS, draw, step } from './compare_screens.js';
import { createStage } from './compare_stage.js';

const POLL_MS = 400;
const DROPPABLE = /\.(png|safetensors)$/i;
const NOTES = {
  'beside the run': 'beside the run', 'run parked': 'the run holds meanwhile', 'waiting for the run': 'until the run reaches a step where it can hold, or ends',
};
const BUSY = new Set(['waiting', 'loading', 'drawing']);

// The runs that are to be compared where the Runs screen has sent several; else the one that the address names.
const several = here => (here.runs.length > 1 && here.runs[0] === here.run ? here.runs : []);
const named = here => several(here).join('+') || here.run || '';

export function mount({ root, props, trigger, watch }) {
  const stage = createStage({ onWipe: share => { root.dataset.wipe = share.toFixed(2); } });
  const line = h('p', { class: 'line', role: 'status', 'aria-live': 'polite', hidden: true });
  const progress = h('div', { class: 'progress', hidden: true });
  const views = h('div', { class: 'seg', role: 'radiogroup', 'aria-label': 'View' });
  const tools = h('div', { class: 'tools' }), strip = h('div', { class: 'below' }), rail = h('div', { class: 'rail' }), foot = h('div', { class: 'foot' });
  const offer = h('div', { class: 'offer', hidden: true });
  const history = createHistory({ onRestore: id => { say(''); trigger('restore', { id }); }, onGone });
  const state = { shown: null, table: null, view: 'wipe', row: 0, column: 0, following: '', run: null, loading: 0 };
  const scene = () => ({ table: state.table, row: state.row, column: state.column, stage, strip, rail, tools, go });

  root.replaceChildren(line, h('div', { class: 'top' }, views, tools, progress), h('div', { class: 'stand' }, h('div', { class: 'box' }, stage.host, offer), rail), strip, foot, history.host);
  buildViews();
  buildFoot();
  root.dataset.wipe = '0.50';
  root.addEventListener('keydown', onKey);
  window.addEventListener('studio:files', onFiles);
  place.on(onPlace);
  watch('value', () => receive(props.value));
  setState('loading');
  arrive();
  history.refresh();

  function setState(name) {
    root.dataset.state = name;
  }

  function say(text, kind = '') {
    line.textContent = text || '';
    line.className = `line ${kind}`;
    line.hidden = !text;
  }

  function arrive() {
    const here = place.get(), [drawing, seen] = (here.drawing || '').split('@');
    state.run = named(here);
    const fits = !state.shown && (seen === undefined || seen === state.run);  // not a leftover from before another run was chosen
    trigger('arrive', { run: here.run || '', runs: several(here), drawing: fits ? drawing : '' });
  }

  // Another screen has named another run, or this screen was opened again.
  function onPlace(here) {
    if (!root.isConnected || here.tab !== 'compare' || state.following) return;
    if (named(here) !== state.run) arrive();
    else if (root.dataset.state === 'empty') arrive();
    else history.refresh();
    stage.layout();
  }

  // What Python says: an error, a drawing to follow, previews to begin with, or that there is nothing yet.
  function receive(value) {
    if (!value?.nonce) return;
    if (value.error) { say(value.error, 'problem'); if (state.shown) render(); if (root.dataset.state === 'loading') setState('error'); return; }
    say(value.note || (value.restored === 'picture' ? 'The settings of that picture are restored: press Sample to draw it again.' : value.restored ? 'The adapter is chosen: press Sample to try it.' : ''));
    if (value.drawing) follow(value.drawing);
    else if (value.preview) present(value.preview);
    else if (value.empty) empty();
    else if (value.ready && !state.shown) empty('Ready: press Sample to draw base and adapted side by side.', false);
  }

  function empty(text = 'Nothing to compare yet: train an adapter first.', withButton = true) {
    setState(withButton ? 'empty' : 'ready');
    stage.show([]);
    stage.host.replaceChildren(h('div', { class: 'empty' }, h('p', { text }),
      withButton ? h('button', { class: 'btn', type: 'button', text: 'Go to Train', onclick: () => place.open('train') }) : null));
  }

  function follow(id) {
    state.following = id;
    place.set({ drawing: state.run ? `${id}@${state.run}` : id });
    setState('busy');
    const watching = api.poll(async () => {
      if (state.following !== id) return watching?.stop();
      let told;
      try {
        told = await api.get(`/studio/drawings/${encodeURIComponent(id)}`);
      } catch (error) {
        if (error.status) { watching?.stop(); state.following = ''; }
        fail(error.message);
        return;
      }
      if (state.following !== id) return;
      if (BUSY.has(told.state)) return showProgress(told);
      watching?.stop();
      state.following = '';
      history.refresh();
      if (told.state === 'finished') await present(told);
      else fail(told.error || (told.state === 'cancelled' ? 'Cancelled.' : 'These pictures were not drawn.'), told.state === 'cancelled' ? '' : 'problem');
    }, POLL_MS, root);
    history.refresh();
  }

  function fail(text, kind = 'problem') {
    progress.hidden = true;
    say(text, kind);
    setState(kind ? 'error' : 'ready');
    if (state.shown) render();
    if (!state.shown) clear(stage.host, h('div', { class: 'empty' }, h('p', { text: 'No pictures: change the settings and press Sample.' })));
  }

  function showProgress(told) {
    setState('busy');
    const share = 100 * Math.min(1, told.progress ?? (told.total ? (told.done || 0) / told.total : 0));
    const words = { waiting: 'Waiting', loading: 'Loading the model', drawing: 'Drawing' }[told.state];
    if (progress.hidden || progress.dataset.id !== told.id) {
      progress.dataset.id = told.id;
      clear(progress, h('span', { class: 'words' }), h('span', { class: 'bar', role: 'progressbar', 'aria-label': 'Drawing' }, h('span', { class: 'fill' })), h('span', { class: 'mono count' }),
        h('button', { class: 'btn quiet', type: 'button', text: 'Cancel', onclick: event => cancel(told.id, event.currentTarget) }));
      progress.hidden = false;
    }
    progress.querySelector('.words').textContent = [words, NOTES[told.note] || told.note].filter(Boolean).join(', ');
    progress.querySelector('.fill').style.width = `${share}%`;
    progress.querySelector('.bar').setAttribute('aria-valuenow', String(Math.round(share)));
    progress.querySelector('.count').textContent = told.state === 'drawing' && told.total ? `${Math.floor(told.done || 0)}/${told.total}` : '';
    if (!state.shown && !stage.host.querySelector('.empty, .pane')) clear(stage.host, h('div', { class: 'empty' }, h('p', { text: 'The pictures appear here.' })));
  }

  async function cancel(id, button) {
    button.disabled = true;
    button.textContent = 'Cancelling';
    try { await api.del(`/studio/drawings/${encodeURIComponent(id)}`); } catch (error) { say(error.message, 'problem'); }
  }

  // Swap the pictures in place, once all of them are here.
  async function present(drawing) {
    const mine = state.loading += 1;
    try {
      await preload(drawing.pictures);
    } catch {
      if (mine === state.loading) fail('These pictures cannot be read (any more): sample again.');
      return;
    }
    if (mine !== state.loading) return;
    const before = state.table, table = tabulate(drawing), wanted = drawing.request.strip;
    state.shown = drawing;
    state.table = table;
    state.row = before ? Math.min(state.row, table.rows.length - 1) : 0;
    state.column = before?.columns.length === table.columns.length ? state.column : table.columns.length - 1;
    if (STRIPS.has(wanted)) {
      state.view = wanted;
      state.column = wanted === 'strength' ? nearest(table, 1) : table.columns.length - 1;
    } else if (STRIPS.has(state.view)) state.view = 'wipe';
    state.column = Math.max(Math.min(1, table.columns.length - 1), state.column);
    progress.hidden = true;
    history.mark(drawing.id);
    render();
    root.dataset.drawing = drawing.id;
    setState('ready');
  }

  function nearest(table, strength) {
    const far = i => Math.abs((table.columns[i].strength ?? 0) - strength);
    return table.columns.map((_, i) => i).reduce((best, i) => far(i) < far(best) ? i : best, 0);
  }

  function go(change) {
    Object.assign(state, change);
    const focused = document.activeElement, selector = focused?.matches?.('.scrub') ? '.scrub' : focused?.closest?.('.film') ? '.film [aria-pressed=true]' : null;
    render();
    if (selector) root.querySelector(selector)?.focus();
  }

  function render() {
    root.dataset.view = state.view;
    for (const button of views.children) {
      button.setAttribute('aria-checked', String(button.dataset.view === state.view));
      button.tabIndex = button.dataset.view === state.view ? 0 : -1;
    }
    if (!state.shown) return;
    const missing = STRIPS.has(state.view) && state.shown.request.strip !== state.view;
    offer.hidden = !missing || Boolean(state.following);
    if (missing) offerStrip();
    delete stage.host.dataset.mean;
    draw(missing ? 'wipe' : state.view, scene());
    describe();
    stage.layout();
  }

  function offerStrip() {
    const wanted = state.view, isStrength = wanted === 'strength', none = !state.shown.request.adapters.length;
    const text = none ? 'The base alone has no strengths and no checkpoints: choose an adapter.' : isStrength ? 'These pictures at a row of strengths?' : "These pictures with each of the run's checkpoints?";
    clear(offer, h('span', { text }), none ? null : h('button', {
      class: 'btn', type: 'button', text: 'Draw the strip', onclick: () => { say(''); offer.hidden = true; trigger('draw_strip', { strip: wanted, id: state.shown.id }); },
    }));
  }

  function describe() {
    const { request, preview, text } = state.shown, row = state.table.rows[state.row], at = STRIPS.has(state.view) || state.column ? state.column : 0;
    const cell = row.cells[at] || row.cells[0], size = cell.width ? `${cell.width} × ${cell.height}` : '';
    const facts = [`seed ${row.seed}`, size, `${request.steps} steps`, text ? `guidance ${request.guidance}` : '', request.sampler, preview ? 'training preview' : ''].filter(Boolean).join(' · ');
    clear(foot.querySelector('.about'), text ? h('span', { class: 'prompt', text: row.prompt || 'no prompt', title: row.prompt }) : null, h('span', { class: 'mono muted', text: facts }),
      (state.shown.notes || []).map(note => h('span', { class: note.includes('not on this base') ? 'note' : 'muted', text: note })));
    clear(foot.querySelector('.downloads'), [at, at ? 0 : null].filter(i => i !== null && row.cells[i]).map(i => {
      const kind = state.table.columns[i].kind, url = row.cells[i].url;
      return h('a', { class: 'btn', href: preview ? url : `${url}?download=1`, download: preview ? `${kind}-seed${row.seed}.png` : '', title: 'A PNG with its settings inside', text: `⤓ ${kind}` });
    }));
    const run = request.adapters[0]?.run, button = foot.querySelector('.export');
    button.hidden = !run;
    button.onclick = () => place.open('export', { run }, 'start');
  }

  function buildViews() {
    views.append(...VIEWS.map(([key, label]) => h('button', { type: 'button', role: 'radio', 'aria-checked': String(key === state.view), tabIndex: key === state.view ? 0 : -1, dataset: { view: key }, text: label, onclick: () => go({ view: key }) })));
    views.addEventListener('keydown', event => {
      const way = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!way) return;
      event.preventDefault();
      event.stopPropagation();
      const at = VIEWS.findIndex(([key]) => key === state.view), next = VIEWS[(at + way + VIEWS.length) % VIEWS.length][0];
      go({ view: next });
      views.querySelector(`[data-view="${next}"]`).focus();
    });
    root.dataset.view = state.view;
  }

  function buildFoot() {
    const file = h('input', { type: 'file', accept: '.png,.safetensors', class: 'visually-hidden', tabindex: -1, 'aria-hidden': 'true', onchange: () => { if (file.files.length) restoreFile(file.files[0]); file.value = ''; } });
    foot.append(h('div', { class: 'about' }), h('span', { class: 'downloads' }),
      h('button', { class: 'btn export', type: 'button', text: 'Export adapter', title: 'Write its file for other programs, verified', hidden: true }),
      h('button', { class: 'btn quiet', type: 'button', text: 'Open a picture or adapter…', title: 'Its settings are restored; dropping it anywhere here does the same', onclick: () => file.click() }), file);
  }

  function onKey(event) {
    const way = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!way || !state.table || event.target.closest('input, textarea, .history, .seg') || !root.contains(event.target)) return;
    const change = state.view === 'grid' ? null : step(state.shown.request.strip === state.view || !STRIPS.has(state.view) ? state.view : 'wipe', scene(), way);
    if (!change) return;
    event.preventDefault();
    go(change);
    root.querySelector('.film [aria-pressed=true]')?.scrollIntoView({ block: 'nearest', inline: 'nearest' });
  }

  function onFiles(event) {
    const files = [...(event.detail?.files || [])];
    if (!root.isConnected || event.defaultPrevented || (place.get().tab || 'dataset') !== 'compare' || files.length !== 1 || !DROPPABLE.test(files[0].name)) return;
    event.preventDefault();
    restoreFile(files[0]);
  }

  async function restoreFile(file) {
    say(`Reading ${file.name} …`);
    try {
      const response = await fetch(`/studio/drawings/restore?name=${encodeURIComponent(file.name)}`, { method: 'POST', body: file, headers: { 'Content-Type': 'application/octet-stream' } });
      const told = await response.json().catch(() => ({}));
      if (!response.ok) throw new Error(told.error || `The studio refused this file (${response.status}).`);
      trigger('restore_file', { request: told.request, file_kind: told.kind, notes: told.notes });
    } catch (error) {
      say(error instanceof TypeError ? 'The file could not be sent: is it still there, and the studio still running?' : error.message, 'problem');
    }
  }

  function onGone(id) {
    if (state.shown?.id === id) place.set({ drawing: null });
  }
}
