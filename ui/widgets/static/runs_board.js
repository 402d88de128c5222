// Selected runs side by side: curves overlaid, pictures by prompt, facts and settings in rows with what differs marked.

import * as api from './api.js';
import * as lightbox from './lightbox.js';
import * as place from './place.js';
import { h, clear } from './dom.js';
import { Chart } from './chart.js';
import { LIVING, stateChip } from './runs_cells.js';

const COLOURS = 8;
const EVERY_MS = 3000;
const CURVES = {
  smooth: { text: 'Training loss', title: 'Smoothed training loss of the selected runs' },
  held_out: { text: 'Held-out loss', title: 'Held-out loss of the selected runs' },
  change: { text: 'Against base, %', title: 'Change of the held-out loss against the base, in percent' },
};

export class Board {
  constructor(root, rowOf) {
    Object.assign(this, { root, rowOf, ids: [], facts: null, curves: new Map(), kind: 'smooth', only: false, polling: null, told: '' });
    root.classList.add('runs-board');
    root.hidden = true;
  }

  // Show these runs; fewer than two = nothing.
  show(ids) {
    if (ids.join() === this.ids.join()) return;
    this.ids = ids;
    this.root.hidden = ids.length < 2;
    this.polling?.stop();
    this.told = '';
    if (this.root.hidden) return;
    for (const id of [...this.curves.keys()]) if (!ids.includes(id)) this.curves.delete(id);
    if (!this.chart) this.build();
    this.root.dataset.state = 'busy';
    this.polling = api.poll(() => this.refresh(), EVERY_MS, this.root);
  }

  build() {
    this.seg = h('div', { class: 'seg', role: 'radiogroup', 'aria-label': 'Which curves' }, Object.entries(CURVES).map(([key, { text }]) => h('button', {
      type: 'button', role: 'radio', 'aria-checked': String(key === this.kind), text, dataset: { key }, onclick: () => this.choose(key),
    })));
    this.onlyBox = h('input', { type: 'checkbox', onchange: event => { this.only = event.target.checked; this.drawTable(); } });
    this.notes = h('div', { class: 'notes', role: 'status' });
    this.problem = h('p', { class: 'chip problem', role: 'alert', hidden: true });
    this.plot = h('div', { class: 'plot' });
    this.nothing = h('p', { class: 'muted', hidden: true, text: 'None of these runs has such a curve: nothing was held out, or no step was made.' });
    this.table = h('table', { 'aria-label': 'Runs side by side' });
    this.whole = h('div', { class: 'whole' },
      h('div', { class: 'panel' }, h('div', { class: 'row' }, h('h3', { text: 'Curves' }), h('span', { class: 'spring' }), this.seg), this.plot, this.nothing),
      h('div', { class: 'panel' }, h('div', { class: 'row' }, h('h3', { text: 'Facts and settings' }), h('span', { class: 'spring' }),
        h('label', { class: 'row only' }, this.onlyBox, h('span', { text: 'Only what differs' }))), h('div', { class: 'scroll' }, this.table)));
    clear(this.root, h('div', { class: 'row heading' }, h('h3', { text: 'Side by side' }), h('span', { class: 'spring' }),
      h('button', { class: 'btn quiet', type: 'button', text: 'Clear selection', onclick: () => place.set({ runs: [] }) })), this.problem, this.notes, this.whole);
    this.chart = new Chart(this.plot, { series: [], title: CURVES.smooth.title });
  }

  choose(key) {
    this.kind = key;
    for (const button of this.seg.children) button.setAttribute('aria-checked', String(button.dataset.key === key));
    this.drawCurves();
  }

  async refresh() {
    if (!this.root.offsetParent) return;
    const ids = this.ids, done = this.facts && this.told && !this.facts.runs.some(r => LIVING.has(r.state));
    if (done && ids.every(id => this.state(id) === this.facts.runs.find(r => r.run === id)?.state)) return;
    try {
      const facts = await api.get(`/studio/board?runs=${ids.map(encodeURIComponent).join(',')}`);
      await Promise.all(facts.runs.filter(r => !r.error).map(r => this.follow(r.run)));
      if (ids !== this.ids) return;
      this.facts = facts;
      this.problem.hidden = true;
      this.whole.hidden = false;
      const text = JSON.stringify(facts);
      if (text !== this.told) this.drawTable();
      this.told = text;
      this.drawCurves();
      this.root.dataset.state = 'ready';
    } catch (error) {
      if (ids !== this.ids) return;
      this.problem.textContent = error.message;
      this.problem.hidden = false;
      this.whole.hidden = !this.told;
      this.root.dataset.state = 'error';
    }
  }

  // What the table above says of a run's state; one that is not there is gone.
  state(id) { return this.rowOf(id)?.state ?? 'gone'; }

  // Read on where this run's curves were left.
  async follow(id) {
    const known = this.curves.get(id);
    let live;
    try {
      live = await api.get(`/studio/runs/${encodeURIComponent(id)}/live?after=${encodeURIComponent(known?.cursor ?? '0')}`);
    } catch (error) {
      if (known || error.status !== 400) return;
      live = { cursor: '0', full: true, points: { smooth: [] }, scores: [] };
    }
    const curve = known && !live.full ? known : { smooth: [], scores: [], prompts: live.prompts || [] };
    curve.smooth.push(...live.points.smooth);
    curve.scores.push(...live.scores);
    curve.cursor = live.cursor;
    this.curves.set(id, curve);
  }

  points(id) {
    const curve = this.curves.get(id);
    if (!curve) return [];
    if (this.kind === 'smooth') return curve.smooth;
    const key = this.kind === 'held_out' ? 'loss' : 'change_percent';
    return curve.scores.map(s => [s.step, s[key]]);
  }

  drawCurves() {
    const shown = this.facts.runs.filter(r => this.points(r.run).length);
    this.chart.title = CURVES[this.kind].title;
    this.chart.setSeries(shown.map(r => ({ key: r.run, label: r.name, colour: colour(this.ids.indexOf(r.run)), width: 2, dots: this.kind !== 'smooth', dashed: this.ids.indexOf(r.run) >= COLOURS })));
    for (const { run } of shown) this.chart.setData(run, this.points(run));
    this.plot.hidden = !shown.length;
    this.nothing.hidden = shown.length > 0;
  }

  drawTable() {
    const { runs, rows, notes } = this.facts;
    clear(this.notes, notes.map(text => h('p', { class: 'chip held-out note', text })));
    const head = h('tr', {}, h('td', { class: 'fact' }), runs.map((r, i) => h('th', { scope: 'col' },
      h('div', { class: 'row' }, h('span', { class: 'dot', style: { background: `var(${colour(i)})` } }),
        h('a', { href: `?tab=train&run=${encodeURIComponent(r.run)}`, text: r.name, title: r.run, onclick: event => { event.preventDefault(); place.open('train', { run: r.run }); } }),
        h('button', { class: 'btn quiet drop', type: 'button', 'aria-label': `Take ${r.name} out`, title: 'Take out', text: '✕', onclick: () => place.set({ runs: place.get().runs.filter(id => id !== r.run) }) })),
      r.error ? h('p', { class: 'why', title: r.error }, stateChip(r), ` ${r.error}`) : null)));
    const body = [];
    let group = '';
    for (const row of rows.filter(r => r.differs || !this.only)) {
      if (row.group !== group) body.push(h('tr', { class: 'group' }, h('th', { colspan: runs.length + 1, scope: 'rowgroup', text: row.group })));
      group = row.group;
      body.push(h('tr', { class: row.differs ? 'differs' : '' },
        h('th', { scope: 'row', class: 'fact' }, h('span', { class: 'mark', text: row.differs ? '≠' : '', 'aria-label': row.differs ? 'differs' : null }), row.title, row.unit ? h('span', { class: 'muted', text: ` (${row.unit})` }) : null),
        row.values.map(value => h('td', { class: value === '—' ? 'muted' : '', text: value }))));
    }
    if (!body.length) body.push(h('tr', {}, h('td', { class: 'muted', colspan: runs.length + 1, text: rows.length ? 'These runs agree in everything.' : 'There is nothing to compare.' })));
    clear(this.table, h('thead', {}, head), h('tbody', { class: 'pictures' }, this.pictures(runs)), h('tbody', {}, body));
  }

  // One line of pictures per prompt: the newest preview of each run.
  pictures(runs) {
    const rows = runs.map(r => this.rowOf(r.run)), count = Math.max(0, ...rows.map(row => row?.previews?.length || 0));
    const line = i => {
      const prompts = [...new Set(runs.map(r => this.curves.get(r.run)?.prompts?.[i]).filter(Boolean))];
      return h('tr', {}, h('th', { scope: 'row', class: 'fact', text: prompts.length === 1 ? prompts[0] : `Preview ${i + 1}` }), runs.map((r, j) => {
        const src = rows[j]?.previews?.[i], prompt = this.curves.get(r.run)?.prompts?.[i] || `preview ${i + 1}`;
        if (!src) return h('td', { class: 'muted', text: '—' });
        return h('td', {}, h('button', {
          class: 'picture', type: 'button', 'aria-label': `${prompt}, by ${r.name}, large`, onclick: () => lightbox.open({ src, alt: `${prompt}, by ${r.name}`, caption: `${r.name}: ${prompt}` }),
        }, h('img', { src, alt: `${prompt}, by ${r.name}`, loading: 'lazy', width: 96, height: 96 })));
      }));
    };
    return Array.from({ length: count }, (_, i) => line(i));
  }
}

const colour = i => `--run-${i % COLOURS + 1}`;
