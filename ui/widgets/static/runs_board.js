// Selected runs side by side: curves overlaid, pictures by prompt, facts and settings in rows with what differs marked.
// What is looked at stands in the address: runs, curves, only (what differs), matrix (which pictures).

import * as api from './api.js';
import * as place from './place.js';
import { h, clear } from './dom.js';
import { Chart } from './chart.js';
import { Matrix } from './board_matrix.js';
import { openCards } from './method_cards.js';
import { stateChip } from './runs_cells.js';
import { LIVING } from './states.js';

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
    this.matrix?.show(ids);
    if (this.root.hidden) return;
    for (const id of [...this.curves.keys()]) if (!ids.includes(id)) this.curves.delete(id);
    if (!this.chart) this.build();
    this.matrix.show(ids);
    this.updateLinks();
    this.root.dataset.state = 'busy';
    this.polling = api.poll(() => this.refresh(), EVERY_MS, this.root);
  }

  build() {
    this.seg = h('div', { class: 'seg', role: 'radiogroup', 'aria-label': 'Which curves' }, Object.entries(CURVES).map(([key, { text }]) => h('button', {
      type: 'button', role: 'radio', 'aria-checked': String(key === this.kind), text, dataset: { key }, onclick: () => this.choose(key),
    })));
    this.onlyBox = h('input', { type: 'checkbox', onchange: event => place.set({ only: event.target.checked ? '1' : null }) });
    this.withPrompts = h('input', { type: 'checkbox', onchange: () => this.updateLinks() });
    this.links = ['html', 'csv'].map(kind => h('a', { class: 'btn', download: `board.${kind}`, dataset: { kind }, text: `⤓ ${kind.toUpperCase()}`, title: kind === 'html' ? 'One page with curves and pictures in it' : 'A table for spreadsheets' }));
    this.notes = h('div', { class: 'notes', role: 'status' });
    this.problem = h('p', { class: 'chip problem', role: 'alert', hidden: true });
    this.plot = h('div', { class: 'plot' });
    this.nothing = h('p', { class: 'muted', hidden: true, text: 'None of these runs has such a curve: nothing was held out, or no step was made.' });
    this.table = h('table', { 'aria-label': 'Runs side by side' });
    this.picturesPlace = h('div', { class: 'panel board-matrix' });
    this.whole = h('div', { class: 'whole' },
      h('div', { class: 'panel' }, h('div', { class: 'row' }, h('h3', { text: 'Curves' }), h('span', { class: 'spring' }), this.seg), this.plot, this.nothing),
      this.picturesPlace,
      h('div', { class: 'panel' }, h('div', { class: 'row' }, h('h3', { text: 'Facts and settings' }), h('span', { class: 'spring' }),
        h('label', { class: 'row only' }, this.onlyBox, h('span', { text: 'Only what differs (≠)' }))), h('div', { class: 'scroll' }, this.table)));
    clear(this.root, h('div', { class: 'row heading' }, h('h3', { text: 'Side by side' }), h('span', { class: 'spring' }),
      h('label', { class: 'row only', title: 'Without it, prompts and other typed words stay here' }, this.withPrompts, h('span', { text: 'with prompts' })), this.links,
      h('button', { class: 'btn quiet', type: 'button', text: 'Clear selection', onclick: () => place.set({ runs: [], matrix: null }) })), this.problem, this.notes, this.whole);
    this.matrix = new Matrix(this.picturesPlace, () => this.facts?.runs.some(r => LIVING.has(r.state)));
    this.chart = new Chart(this.plot, { series: [], title: CURVES.smooth.title });
    this.takePlace();
  }

  choose(key) {
    place.set({ curves: key === 'smooth' ? null : key });
  }

  // The address has changed, here or in the line above the page.
  takePlace() {
    const { curves, only } = place.get(), kind = CURVES[curves] ? curves : 'smooth';
    if (!this.chart) return;
    if (Boolean(only) !== this.only || this.onlyBox.checked !== this.only) {
      this.only = this.onlyBox.checked = Boolean(only);
      if (this.facts) this.drawTable();
    }
    if (kind !== this.kind) {
      this.kind = kind;
      for (const button of this.seg.children) button.setAttribute('aria-checked', String(button.dataset.key === kind));
      if (this.facts) this.drawCurves();
    }
    this.matrix.polling.now();
  }

  updateLinks() {
    const runs = this.ids.map(encodeURIComponent).join(','), prompts = this.withPrompts.checked ? '&prompts=true' : '';
    for (const link of this.links) link.href = `/studio/board/file?kind=${link.dataset.kind}&runs=${runs}${prompts}`;
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
      for (const link of this.links) link.hidden = false;
      const text = JSON.stringify(facts);
      if (text !== this.told) this.drawTable();
      this.told = text;
      this.drawCurves();
      this.root.dataset.state = 'ready';
    } catch (error) {
      if (ids !== this.ids) return;
      this.problem.textContent = api.said(error);
      this.problem.hidden = false;
      this.whole.hidden = !this.told;
      if (error.status === 400) { // as long as these are the runs, the answer is the same
        this.polling.stop();
        for (const link of this.links) link.hidden = true;
      }
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
        h('a', { href: `?tab=train&run=${encodeURIComponent(r.run)}`, text: r.name, title: r.run, onclick: event => { event.preventDefault(); place.open('train', { run: r.run }, place.LOOK); } }),
        h('button', { class: 'btn quiet drop', type: 'button', 'aria-label': `Take ${r.name} out`, title: 'Take out', text: '✕', onclick: () => place.set({ runs: place.get().runs.filter(id => id !== r.run) }) })),
      r.error ? h('p', { class: 'why', title: r.error }, stateChip(r), ` ${r.error}`) : null)));
    const body = [];
    let group = '';
    for (const row of rows.filter(r => r.differs || !this.only)) {
      if (row.group !== group) body.push(h('tr', { class: 'group' }, h('th', { colspan: runs.length + 1, scope: 'rowgroup', text: row.group })));
      group = row.group;
      body.push(h('tr', { class: row.differs ? 'differs' : '' },
        h('th', { scope: 'row', class: 'fact' }, h('span', { class: 'mark', text: row.differs ? '≠' : '', 'aria-label': row.differs ? 'differs' : null }), row.title, row.unit ? h('span', { class: 'muted', text: ` (${row.unit})` }) : null),
        row.values.map((value, i) => h('td', { class: ['—', 'not set'].includes(value) ? 'muted' : '' }, row.key === 'what.method' && value !== '—'
          ? h('button', { class: 'btn quiet method', type: 'button', title: 'The card of this method', text: value, onclick: () => openCards(runs[i].recipe) }) : value))));
    }
    if (!body.length) body.push(h('tr', {}, h('td', { class: 'muted', colspan: runs.length + 1, text: rows.length ? 'These runs agree in everything.' : 'There is nothing to compare.' })));
    clear(this.table, h('thead', {}, head), h('tbody', {}, body));
  }
}

const colour = i => `--run-${i % COLOURS + 1}`;
