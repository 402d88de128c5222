// Pictures of the runs on the board: a row per prompt and seed, the base before the runs on it, zoom and pan linked over all of them.

import * as api from './api.js';
import * as lightbox from './lightbox.js';
import * as place from './place.js';
import { h, clear, toast } from './dom.js';

const EVERY_MS = 1500, MAX_ZOOM = 16, STEP = 1.25, CLICK_PX = 4, COLOURS = 8;

export class Matrix {
  constructor(root, isLiving) {
    Object.assign(this, { root, isLiving, ids: [], asked: '', told: '', suggested: null, zoom: { scale: 1, x: 0.5, y: 0.5 }, drag: null });
    this.build();
    this.polling = api.poll(() => this.refresh(), EVERY_MS, root);
  }

  build() {
    const zoomButton = (text, title, act) => h('button', { class: 'btn quiet', type: 'button', text, title, 'aria-label': title, onclick: act });
    this.kind = h('span', { class: 'muted' });
    this.toggle = h('button', { class: 'btn', type: 'button', disabled: true, 'aria-expanded': 'false', text: 'Draw from the same seeds…', onclick: () => this.open(this.form.hidden) });
    this.back = h('button', { class: 'btn quiet', type: 'button', text: 'Back to previews', hidden: true, onclick: () => place.set({ matrix: null }) });
    this.form = h('form', { class: 'ask', hidden: true, onsubmit: event => { event.preventDefault(); this.ask(); } });
    this.progress = h('div', { class: 'row progress', role: 'status', hidden: true });
    this.notes = h('div', { class: 'notes', role: 'status' });
    this.table = h('table', { 'aria-label': 'Pictures side by side' });
    this.scroll = h('div', {
      class: 'scroll matrix', tabIndex: 0, role: 'group', 'aria-label': 'Pictures: plus and minus zoom, 0 fits, drag or arrow keys pan',
      onkeydown: event => this.key(event),
    }, this.table);
    this.scroll.addEventListener('wheel', event => this.wheel(event), { passive: false });
    for (const [name, act] of [['pointerdown', 'down'], ['pointermove', 'move'], ['pointerup', 'up'], ['pointercancel', 'up']]) this.scroll.addEventListener(name, event => this[act](event));
    this.empty = h('p', { class: 'muted', hidden: true, text: 'No pictures yet: they come with the first previews, or draw them from the same seeds.' });
    clear(this.root, h('div', { class: 'row' }, h('h3', { text: 'Pictures' }), this.kind, h('span', { class: 'spring' }),
      zoomButton('−', 'Zoom out', () => this.zoomBy(1 / STEP)), zoomButton('Fit', 'Fit (0)', () => this.zoomBy(0)), zoomButton('+', 'Zoom in', () => this.zoomBy(STEP)), this.back, this.toggle),
    this.form, this.progress, this.notes, this.empty, this.scroll);
  }

  // Show the pictures of these runs, as the address says which.
  show(ids) {
    this.ids = ids;
    if (ids.length > 1) this.polling.now();
  }

  async refresh() {
    const wanted = place.get().matrix || '', key = `${this.ids.join()}|${wanted}`;
    if (this.ids.length < 2 || !this.root.offsetParent) return;
    if (key === this.asked && !this.busy && !this.isLiving()) return;
    let told;
    try {
      told = await api.get(`/studio/board/pictures?runs=${this.ids.map(encodeURIComponent).join(',')}&matrix=${encodeURIComponent(wanted)}`);
    } catch (error) {
      told = { columns: [], rows: [], notes: [api.said(error)] };
    }
    if (key === `${this.ids.join()}|${place.get().matrix || ''}`) this.take(told, key, wanted);
  }

  take(told, key, wanted) {
    this.asked = key;
    this.busy = told.busy?.length ? told.busy : null;
    this.suggested = told.suggested || this.suggested;
    this.toggle.disabled = !this.suggested;
    const text = JSON.stringify([told, wanted]);
    if (text === this.told) return;
    this.told = text;
    this.kind.textContent = wanted ? 'the same prompts, the same seeds' : told.rows.length ? 'previews of training' : '';
    this.back.hidden = !wanted;
    clear(this.notes, told.notes.map(note => h('p', { class: 'chip held-out note', text: note })));
    this.showProgress(told, wanted);
    this.empty.hidden = told.rows.length > 0;
    this.scroll.hidden = !told.rows.length;
    this.draw(told);
    this.root.dataset.state = this.busy ? 'busy' : 'ready';
  }

  showProgress(told, wanted) {
    const missing = wanted && told.missing?.length > 0 && !this.busy;
    this.progress.hidden = !this.busy && !missing;
    if (this.busy) {
      clear(this.progress, h('span', { text: 'Drawing' }), h('span', { class: 'bar', role: 'progressbar', 'aria-label': 'Drawing', 'aria-valuenow': Math.floor(told.done), 'aria-valuemax': told.total },
        h('span', { class: 'fill', style: { width: `${100 * told.done / Math.max(1, told.total)}%` } })), h('span', { class: 'mono', text: `${Math.floor(told.done)}/${told.total}` }),
      h('button', { class: 'btn quiet', type: 'button', text: 'Cancel', onclick: () => this.cancel() }));
    } else if (missing) {
      clear(this.progress, h('span', { class: 'muted', text: `${told.missing.length} of ${this.ids.length} runs have not drawn these yet.` }),
        h('button', { class: 'btn', type: 'button', text: 'Draw them', onclick: () => this.send(JSON.parse(wanted)) }));
    }
  }

  draw({ columns, rows }) {
    const show = (row, j) => {
      const at = columns.map((_, k) => k).filter(k => row.cells[k]), step = way => at[at.indexOf(j) + way];
      const name = `${columns[j].title}: ${row.prompt || 'no prompt'}, seed ${row.seed}`, turn = way => (step(way) === undefined ? null : () => show(row, step(way)));
      return { src: row.cells[j], alt: name, caption: name, next: turn(1), previous: turn(-1) };
    };
    const cell = (row, j) => {
      const name = `${row.prompt || 'no prompt'}, seed ${row.seed}, by ${columns[j].title}`;
      if (!row.cells[j]) return h('td', { class: 'muted' }, h('div', { class: 'frame none', text: '—' }));
      const image = h('img', { src: row.cells[j], alt: name, loading: 'lazy', draggable: false, onload: () => image.classList.toggle('pixelated', image.naturalWidth < 400) });
      return h('td', {}, h('button', { class: `picture frame ${columns[j].kind}`, type: 'button', 'aria-label': `${name}, large`, onclick: () => { if (!this.dragged) lightbox.open(show(row, j)); } }, image));
    };
    const head = h('tr', {}, h('td', { class: 'fact' }), columns.map(c => h('th', { scope: 'col' }, h('span', { class: `chip ${c.kind}`, title: c.title }, c.kind === 'base' ? null : h('span', { class: 'dot', style: { background: `var(--run-${this.ids.indexOf(c.run) % COLOURS + 1})` } }), c.title))));
    clear(this.table, h('thead', {}, head), h('tbody', {}, rows.map(row => h('tr', {},
      h('th', { scope: 'row', class: 'fact' }, row.prompt || 'no prompt', h('span', { class: 'muted mono', text: ` seed ${row.seed}` })), columns.map((_, j) => cell(row, j))))));
    this.layout();
  }

  open(isOpen) {
    this.form.hidden = !isOpen;
    this.toggle.setAttribute('aria-expanded', String(isOpen));
    if (!isOpen) return;
    const start = { ...this.suggested, ...(place.get().matrix ? JSON.parse(place.get().matrix) : {}) };
    const number = (name, text, more) => h('label', { class: 'field' }, h('span', { text }), h('input', { class: 'studio-input', type: 'number', name, value: String(start[name]), required: true, ...more }));
    clear(this.form,
      h('label', { class: 'field wide' }, h('span', { text: 'Prompts, one per line, at most four' }), h('textarea', { class: 'studio-input', name: 'prompts', rows: 4, value: start.prompts.join('\n') })),
      number('seed', 'Seed', { min: 0, max: Number.MAX_SAFE_INTEGER - 4 }), number('count', 'Seeds per prompt', { min: 1, max: 4 }),
      number('steps', 'Steps', { min: 1, max: 200 }), number('guidance', 'Guidance scale', { min: 0, max: 50, step: 'any' }),
      h('button', { class: 'btn primary', type: 'submit', text: 'Draw' }));
    this.form.querySelector('textarea').focus();
  }

  ask() {
    const read = name => this.form.elements[name].value;
    const prompts = read('prompts').split('\n').map(line => line.trim()).filter(Boolean);
    const wanted = { prompts: prompts.length ? prompts : [''], ...Object.fromEntries(['seed', 'count', 'steps', 'guidance'].map(name => [name, Number(read(name))])) };
    this.send(wanted);
  }

  async send(wanted) {
    const { ids } = this, text = JSON.stringify(wanted), submit = this.form.querySelector('[type=submit]');
    if (submit) submit.disabled = true;
    try {
      const told = await api.post('/studio/board/pictures', { runs: ids, matrix: wanted });
      if (ids !== this.ids) return; // other runs stand side by side by now
      this.open(false);
      place.set({ matrix: text });
      this.take(told, `${this.ids.join()}|${text}`, text);
      this.polling.now();
    } catch (error) {
      toast(api.said(error), { kind: 'error' });
    } finally {
      if (submit) submit.disabled = false;
    }
  }

  async cancel() {
    for (const id of this.busy || []) {
      try { await api.del(`/studio/drawings/${encodeURIComponent(id)}`); } catch (error) { toast(api.said(error), { kind: 'error' }); }
    }
    this.polling.now();
  }

  // Zoom all pictures alike around a point (shares of a picture); 0 = as a whole.
  zoomBy(factor, u = this.zoom.x, v = this.zoom.y) {
    const { scale, x, y } = this.zoom, next = factor ? Math.min(MAX_ZOOM, Math.max(1, scale * factor)) : 1;
    this.zoom = { scale: next, x: u + (x - u) * scale / next, y: v + (y - v) * scale / next };
    this.layout();
  }

  layout() {
    const { scale } = this.zoom, hold = share => Math.min(1 - 0.5 / scale, Math.max(0.5 / scale, share));
    Object.assign(this.zoom, { x: hold(this.zoom.x), y: hold(this.zoom.y) });
    this.scroll.style.setProperty('--zoom', scale);
    this.scroll.style.setProperty('--x', `${100 * (0.5 - this.zoom.x) * scale}%`);
    this.scroll.style.setProperty('--y', `${100 * (0.5 - this.zoom.y) * scale}%`);
    this.scroll.dataset.zoom = scale.toFixed(3);
  }

  wheel(event) {
    const frame = event.target.closest('.frame');
    if (!frame || !(event.ctrlKey || event.metaKey || this.zoom.scale > 1)) return; // else the page scrolls
    event.preventDefault();
    const box = frame.getBoundingClientRect(), { scale, x, y } = this.zoom;
    const at = (share, centre) => centre + (share - 0.5) / scale;
    this.zoomBy(Math.exp(-Math.sign(event.deltaY) * Math.min(60, Math.abs(event.deltaY)) * 0.004), at((event.clientX - box.left) / box.width, x), at((event.clientY - box.top) / box.height, y));
  }

  down(event) {
    const frame = event.target.closest('.frame');
    this.dragged = false;
    if (frame && event.button === 0 && this.zoom.scale > 1) this.drag = { x: event.clientX, y: event.clientY, size: frame.clientWidth, far: 0 };
  }

  move(event) {
    if (!this.drag) return;
    const [dx, dy] = [event.clientX - this.drag.x, event.clientY - this.drag.y];
    this.drag.far += Math.hypot(dx, dy);
    this.dragged = this.drag.far > CLICK_PX;
    this.pan(-dx / this.drag.size, -dy / this.drag.size);
    Object.assign(this.drag, { x: event.clientX, y: event.clientY });
  }

  up() { this.drag = null; }

  pan(dx, dy) {
    this.zoom.x += dx / this.zoom.scale;
    this.zoom.y += dy / this.zoom.scale;
    this.layout();
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const arrows = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] };
    if (event.key === '+' || event.key === '=') this.zoomBy(STEP);
    else if (event.key === '-') this.zoomBy(1 / STEP);
    else if (event.key === '0') this.zoomBy(0);
    else if (arrows[event.key] && this.zoom.scale > 1) this.pan(...arrows[event.key]);
    else return;
    event.preventDefault();
  }
}
