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

export function mount(given) { new CompareView(given); }

class CompareView {
  constructor({ root, props, trigger, watch }) {
    Object.assign(this, { root, trigger });
    this.stage = createStage({ onWipe: share => { this.root.dataset.wipe = share.toFixed(2); } });
    this.line = h('p', { class: 'line', role: 'status', 'aria-live': 'polite', hidden: true });
    this.progress = h('div', { class: 'progress', hidden: true });
    this.views = h('div', { class: 'seg', role: 'radiogroup', 'aria-label': 'View' });
    const tools = h('div', { class: 'tools' }), strip = h('div', { class: 'below' }), rail = h('div', { class: 'rail' });
    this.foot = h('div', { class: 'foot' });
    this.offer = h('div', { class: 'offer', hidden: true });
    this.history = createHistory({ onRestore: id => { this.say(''); this.want('restore', { id }); }, onGone: id => this.onGone(id) });
    this.state = { shown: null, table: null, view: 'wipe', row: 0, column: 0, following: '', run: null, loading: 0 };
    Object.assign(this, { turn: 0, heard: 0 }); // of what is asked, and of the answer that was heard last: an earlier one is not heard any more
    (window.studio ||= {}).compare = { turn: () => (this.turn += 1), isLate: turn => Boolean(turn) && turn < this.heard };
    this.scene = () => ({ table: this.state.table, row: this.state.row, column: this.state.column, stage: this.stage, strip, rail, tools, go: change => this.go(change) });
    this.root.replaceChildren(this.line, h('div', { class: 'top' }, this.views, tools, this.progress), h('div', { class: 'stand' }, h('div', { class: 'box' }, this.stage.host, this.offer), rail), strip, this.foot, this.history.host);
    this.buildViews();
    this.buildFoot();
    this.root.dataset.wipe = '0.50';
    this.root.addEventListener('keydown', event => this.onKey(event));
    window.addEventListener('studio:files', event => this.onFiles(event));
    place.on(here => this.onPlace(here));
    window.addEventListener('studio:lost', event => this.onLost(event.detail));
    window.addEventListener('studio:back', () => { if (this.root.isConnected && !this.state.shown && !this.state.following) this.arrive(); });
    watch('value', () => this.receive(props.value));
    this.setState('loading');
    this.arrive();
    this.history.refresh();
  }

  setState(name) {
    this.root.dataset.state = name;
  }

  say(text, kind = '') {
    this.line.textContent = text || '';
    this.line.className = `line ${kind}`;
    this.line.hidden = !text;
  }

  want(what, about) {
    this.turn += 1;
    this.trigger(what, { ...about, turn: this.turn });
  }

  // What was asked of the studio last has no answer.
  onLost(text) {
    if (this.root.dataset.state !== 'loading') return;
    this.say(text, 'problem');
    this.setState('error');
    clear(this.stage.host, h('div', { class: 'empty' }, h('button', { class: 'btn', type: 'button', text: 'Try again', onclick: () => { this.say(''); this.setState('loading'); this.arrive(); this.history.refresh(); } })));
  }

  arrive() {
    const here = place.get(), [drawing, seen] = (here.drawing || '').split('@');
    this.state.run = named(here);
    const fits = !this.state.shown && (seen === undefined || seen === this.state.run);  // not a leftover from before another run was chosen
    this.want('arrive', { run: here.run || '', runs: several(here), drawing: fits ? drawing : '' });
  }

  // Another screen has named another run, or this screen was opened again.
  onPlace(here) {
    if (!this.root.isConnected || here.tab !== 'compare' || this.state.following) return;
    if (named(here) !== this.state.run) this.arrive();
    else if (this.root.dataset.state === 'empty') this.arrive();
    else this.history.refresh();
    this.stage.layout();
  }

  // What Python says: an error, a drawing to follow, previews to begin with, or that there is nothing yet.
  receive(value) {
    if (!value?.nonce || (value.turn && value.turn < this.heard)) return;
    this.heard = value.turn || this.heard;
    if (value.error) { this.say(value.error, 'problem'); if (this.state.shown) this.render(); if (this.root.dataset.state === 'loading') this.setState('error'); return; }
    this.say(value.note || (value.restored === 'picture' ? 'The settings of that picture are restored: press Sample to draw it again.' : value.restored ? 'The adapter is chosen: press Sample to try it.' : ''));
    if (value.drawing) this.follow(value.drawing);
    else if (value.preview) this.present(value.preview);
    else if (value.empty) this.empty();
    else if (value.ready && !this.state.shown) this.empty('Ready: press Sample to draw base and adapted side by side.', false);
  }

  empty(text = 'Nothing to compare yet: train an adapter first.', withButton = true) {
    this.setState(withButton ? 'empty' : 'ready');
    this.stage.show([]);
    this.stage.host.replaceChildren(h('div', { class: 'empty' }, h('p', { text }),
      withButton ? h('button', { class: 'btn', type: 'button', text: 'Go to Train', onclick: () => place.open('train') }) : null));
  }

  follow(id) {
    this.state.following = id;
    place.set({ drawing: this.state.run ? `${id}@${this.state.run}` : id });
    this.setState('busy');
    const watching = api.poll(async () => {
      if (this.state.following !== id) return watching?.stop();
      let told;
      try {
        told = await api.get(`/studio/drawings/${encodeURIComponent(id)}`);
      } catch (error) {
        if (error.status) { watching?.stop(); this.state.following = ''; }
        this.fail(api.said(error));
        return;
      }
      if (this.state.following !== id) return;
      if (BUSY.has(told.state)) return this.showProgress(told);
      watching?.stop();
      this.state.following = '';
      this.history.refresh();
      if (told.state === 'finished') await this.present(told);
      else this.fail(told.error || (told.state === 'cancelled' ? 'Cancelled.' : 'These pictures were not drawn.'), told.state === 'cancelled' ? '' : 'problem');
    }, POLL_MS, this.root);
    this.history.refresh();
  }

  fail(text, kind = 'problem') {
    this.progress.hidden = true;
    this.say(text, kind);
    this.setState(kind ? 'error' : 'ready');
    if (this.state.shown) this.render();
    if (!this.state.shown) clear(this.stage.host, h('div', { class: 'empty' }, h('p', { text: 'No pictures: change the settings and press Sample.' })));
  }

  showProgress(told) {
    this.setState('busy');
    const share = 100 * Math.min(1, told.progress ?? (told.total ? (told.done || 0) / told.total : 0));
    const words = { waiting: 'Waiting', loading: 'Loading the model', drawing: 'Drawing' }[told.state];
    if (this.progress.hidden || this.progress.dataset.id !== told.id) {
      this.progress.dataset.id = told.id;
      clear(this.progress, h('span', { class: 'words' }), h('span', { class: 'bar', role: 'progressbar', 'aria-label': 'Drawing' }, h('span', { class: 'fill' })), h('span', { class: 'mono count' }),
        h('button', { class: 'btn quiet', type: 'button', text: 'Cancel', onclick: event => this.cancel(told.id, event.currentTarget) }));
      this.progress.hidden = false;
    }
    this.progress.querySelector('.words').textContent = [words, NOTES[told.note] || told.note].filter(Boolean).join(', ');
    this.progress.querySelector('.fill').style.width = `${share}%`;
    this.progress.querySelector('.bar').setAttribute('aria-valuenow', String(Math.round(share)));
    this.progress.querySelector('.count').textContent = told.state === 'drawing' && told.total ? `${Math.floor(told.done || 0)}/${told.total}` : '';
    if (!this.state.shown && !this.stage.host.querySelector('.empty, .pane')) clear(this.stage.host, h('div', { class: 'empty' }, h('p', { text: 'The pictures appear here.' })));
  }

  async cancel(id, button) {
    button.disabled = true;
    button.textContent = 'Cancelling';
    try { await api.del(`/studio/drawings/${encodeURIComponent(id)}`); } catch (error) { this.say(api.said(error), 'problem'); }
  }

  // Swap the pictures in place, once all of them are here.
  async present(drawing) {
    const mine = this.state.loading += 1;
    try {
      await preload(drawing.pictures);
    } catch {
      if (mine === this.state.loading) this.fail('These pictures cannot be read (any more): sample again.');
      return;
    }
    if (mine !== this.state.loading) return;
    const before = this.state.table, table = tabulate(drawing), wanted = drawing.request.strip;
    this.state.shown = drawing;
    this.state.table = table;
    this.state.row = before ? Math.min(this.state.row, table.rows.length - 1) : 0;
    this.state.column = before?.columns.length === table.columns.length ? this.state.column : table.columns.length - 1;
    if (STRIPS.has(wanted)) {
      this.state.view = wanted;
      this.state.column = wanted === 'strength' ? this.nearest(table, 1) : table.columns.length - 1;
    } else if (STRIPS.has(this.state.view)) this.state.view = 'wipe';
    this.state.column = Math.max(Math.min(1, table.columns.length - 1), this.state.column);
    this.progress.hidden = true;
    this.history.mark(drawing.id);
    this.render();
    this.root.dataset.drawing = drawing.id;
    this.setState('ready');
  }

  nearest(table, strength) {
    const far = i => Math.abs((table.columns[i].strength ?? 0) - strength);
    return table.columns.map((_, i) => i).reduce((best, i) => far(i) < far(best) ? i : best, 0);
  }

  go(change) {
    Object.assign(this.state, change);
    const focused = document.activeElement, selector = focused?.matches?.('.scrub') ? '.scrub' : focused?.closest?.('.film') ? '.film [aria-pressed=true]' : null;
    this.render();
    if (selector) this.root.querySelector(selector)?.focus();
  }

  render() {
    this.root.dataset.view = this.state.view;
    for (const button of this.views.children) {
      button.setAttribute('aria-checked', String(button.dataset.view === this.state.view));
      button.tabIndex = button.dataset.view === this.state.view ? 0 : -1;
    }
    if (!this.state.shown) return;
    const missing = STRIPS.has(this.state.view) && this.state.shown.request.strip !== this.state.view;
    this.offer.hidden = !missing || Boolean(this.state.following);
    if (missing) this.offerStrip();
    delete this.stage.host.dataset.mean;
    draw(missing ? 'wipe' : this.state.view, this.scene());
    this.describe();
    this.stage.layout();
  }

  offerStrip() {
    const wanted = this.state.view, isStrength = wanted === 'strength', none = !this.state.shown.request.adapters.length;
    const text = none ? 'The base alone has no strengths and no checkpoints: choose an adapter.' : isStrength ? 'These pictures at a row of strengths?' : "These pictures with each of the run's checkpoints?";
    clear(this.offer, h('span', { text }), none ? null : h('button', {
      class: 'btn', type: 'button', text: 'Draw the strip', onclick: () => { this.say(''); this.offer.hidden = true; this.want('draw_strip', { strip: wanted, id: this.state.shown.id }); },
    }));
  }

  describe() {
    const { request, preview, text } = this.state.shown, row = this.state.table.rows[this.state.row], at = STRIPS.has(this.state.view) || this.state.column ? this.state.column : 0;
    const cell = row.cells[at] || row.cells[0], size = cell.width ? `${cell.width} × ${cell.height}` : '';
    const facts = [`seed ${row.seed}`, size, `${request.steps} steps`, text ? `guidance ${request.guidance}` : '', request.sampler, preview ? 'training preview' : ''].filter(Boolean).join(' · ');
    clear(this.foot.querySelector('.about'), text ? h('span', { class: 'prompt', text: row.prompt || 'no prompt', title: row.prompt }) : null, h('span', { class: 'mono muted', text: facts }),
      (this.state.shown.notes || []).map(note => h('span', { class: note.includes('not on this base') ? 'note' : 'muted', text: note })));
    clear(this.foot.querySelector('.downloads'), [at, at ? 0 : null].filter(i => i !== null && row.cells[i]).map(i => {
      const kind = this.state.table.columns[i].kind, url = row.cells[i].url;
      return h('a', { class: 'btn', href: preview ? url : `${url}?download=1`, download: preview ? `${kind}-seed${row.seed}.png` : '', title: 'A PNG with its settings inside', text: `⤓ ${kind}` });
    }));
    const run = request.adapters[0]?.run, button = this.foot.querySelector('.export');
    button.hidden = !run;
    button.onclick = () => place.open('export', { run }, 'start');
  }

  buildViews() {
    this.views.append(...VIEWS.map(([key, label]) => h('button', { type: 'button', role: 'radio', 'aria-checked': String(key === this.state.view), tabIndex: key === this.state.view ? 0 : -1, dataset: { view: key }, text: label, onclick: () => this.go({ view: key }) })));
    this.views.addEventListener('keydown', event => {
      const way = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!way) return;
      event.preventDefault();
      event.stopPropagation();
      const at = VIEWS.findIndex(([key]) => key === this.state.view), next = VIEWS[(at + way + VIEWS.length) % VIEWS.length][0];
      this.go({ view: next });
      this.views.querySelector(`[data-view="${next}"]`).focus();
    });
    this.root.dataset.view = this.state.view;
  }

  buildFoot() {
    const file = h('input', { type: 'file', accept: '.png,.safetensors', class: 'visually-hidden', tabindex: -1, 'aria-hidden': 'true', onchange: () => { if (file.files.length) this.restoreFile(file.files[0]); file.value = ''; } });
    this.foot.append(h('div', { class: 'about' }), h('span', { class: 'downloads' }),
      h('button', { class: 'btn export', type: 'button', text: 'Export adapter', title: 'Write its file for other programs, verified', hidden: true }),
      h('button', { class: 'btn quiet', type: 'button', text: 'Open a picture or adapter…', title: 'Its settings are restored; dropping it anywhere here does the same', onclick: () => file.click() }), file);
  }

  onKey(event) {
    const way = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!way || !this.state.table || event.target.closest('input, textarea, .history, .seg') || !this.root.contains(event.target)) return;
    const change = this.state.view === 'grid' ? null : step(this.state.shown.request.strip === this.state.view || !STRIPS.has(this.state.view) ? this.state.view : 'wipe', this.scene(), way);
    if (!change) return;
    event.preventDefault();
    this.go(change);
    this.root.querySelector('.film [aria-pressed=true]')?.scrollIntoView({ block: 'nearest', inline: 'nearest' });
  }

  onFiles(event) {
    const files = [...(event.detail?.files || [])];
    if (!this.root.isConnected || event.defaultPrevented || (place.get().tab || 'dataset') !== 'compare' || files.length !== 1 || !DROPPABLE.test(files[0].name)) return;
    event.preventDefault();
    this.restoreFile(files[0]);
  }

  async restoreFile(file) {
    this.say(`Reading ${file.name} …`);
    try {
      const response = await fetch(`/studio/drawings/restore?name=${encodeURIComponent(file.name)}`, { method: 'POST', body: file, headers: { 'Content-Type': 'application/octet-stream' } });
      const told = await response.json().catch(() => ({}));
      if (!response.ok) throw new Error(told.error || `The studio refused this file (${response.status}).`);
      this.want('restore_file', { request: told.request, file_kind: told.kind, notes: told.notes });
    } catch (error) {
      this.say(error instanceof TypeError ? 'The file could not be sent: is it still there, and the studio still running?' : error.message, 'problem');
    }
  }

  onGone(id) {
    if (this.state.shown?.id === id) place.set({ drawing: null });
  }
}
