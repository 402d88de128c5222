// Every run in a table: filter, sort, select, open, rename, delete with undo. Two or more selected: side by side below.

import * as api from './api.js';
import * as place from './place.js';
import { h, clear, toast, confirm } from './dom.js';
import { COLUMNS, GROUPS, compareRows, inGroup, lastPart } from './runs_cells.js';
import { Board } from './runs_board.js';
import { openTrash } from './runs_trash.js';
import { openCards } from './method_cards.js';
import { openDuel } from './duel.js';

const EVERY_MS = 2000;
const MOST = 4; // adapters that Compare has rows for

export function mount({ root }) { new RunsTable(root); }

class RunsTable {
  constructor(root) {
    Object.assign(this, { root, rows: [], lines: new Map(), sortKey: 'created', descending: true, current: null, anchor: null, told: '' });
    this.build();
    this.board = new Board(this.boardPlace, run => this.rows.find(r => r.run === run));
    place.on(() => { if (root.isConnected) { this.showSelection(); this.board.takePlace(); } });
    this.polling = api.poll(() => this.refresh(), EVERY_MS, root);
    new IntersectionObserver(seen => { if (seen.some(s => s.isIntersecting)) this.polling.now(); }).observe(root);
  }

  build() {
    this.filter = h('input', { class: 'studio-input', role: 'searchbox', autocomplete: 'off', placeholder: 'Filter by name, data, base…', 'aria-label': 'Filter runs', oninput: () => this.draw() });
    this.group = h('select', { class: 'studio-input', 'aria-label': 'Show runs in state', onchange: () => this.draw() },
      Object.entries(GROUPS).map(([value, text]) => h('option', { value, text })));
    this.count = h('span', { class: 'muted count', role: 'status', 'aria-live': 'polite', text: 'Looking for runs …' });
    const act = (text, title, onclick, look = '', disabled = true) => h('button', { class: `btn ${look}`, type: 'button', text, title, onclick, disabled });
    this.buttons = {
      compare: act('Compare', 'Draw pictures with the selected adapters', () => this.go('compare')),
      export: act('Export', 'Write the selected adapter for other programs', () => this.go('export')),
      remove: act('Delete', 'Move the selected runs to the trash (Del)', () => this.remove(this.selected()), 'danger'),
    };
    this.all = h('input', { type: 'checkbox', 'aria-label': 'Select all shown runs', onchange: () => this.selectAll() });
    this.head = h('tr', {}, h('th', { class: 'pick', scope: 'col' }, this.all), COLUMNS.map(c => this.headCell(c)));
    this.body = h('tbody', { onkeydown: event => this.key(event) });
    const table = h('table', { role: 'grid', 'aria-label': 'Runs', 'aria-multiselectable': 'true' }, h('thead', {}, this.head), this.body);
    this.scroll = h('div', { class: 'scroll' }, table);
    this.none = h('p', { class: 'muted none', text: 'No run is like this. Clear the filter to see all.', hidden: true });
    this.empty = h('div', { class: 'empty', hidden: true },
      h('p', { text: 'No runs yet: train an adapter, and it appears here with its curves and pictures.' }),
      h('button', { class: 'btn primary', type: 'button', text: 'Train an adapter', onclick: () => place.open('train') }));
    this.problem = h('p', { class: 'chip problem', role: 'alert', hidden: true });
    this.second = h('p', { class: 'muted second', hidden: true, text: 'Select a second run, and they stand side by side here.' });
    this.boardPlace = h('section', { 'aria-label': 'Selected runs side by side' });
    this.bar = h('div', { class: 'row tools' }, this.filter, this.group, this.count, h('span', { class: 'spring' }),
      act('Duel', 'Two to four recipes on the same pictures with an equal budget', () => openDuel(() => this.polling.now()), '', false),
      this.buttons.compare, this.buttons.export, this.buttons.remove,
      h('button', { class: 'btn quiet', type: 'button', text: 'Method cards', title: 'What each method is, who published it, when to use it', onclick: () => openCards() }),
      h('button', { class: 'btn quiet', type: 'button', text: 'Trash', title: 'Deleted runs: bring back, or free their space', onclick: () => openTrash(() => this.polling.now()) }));
    clear(this.root, this.bar, this.problem, this.empty, this.scroll, this.none, this.second, this.boardPlace);
  }

  headCell(column) {
    if (!column.sort) return h('th', { scope: 'col', class: column.key, text: column.title });
    return h('th', { scope: 'col', class: `${column.key}${column.number ? ' number' : ''}`, dataset: { key: column.key } },
      h('button', { type: 'button', text: column.title, onclick: () => this.sortBy(column.key) }));
  }

  sortBy(key) {
    if (this.sortKey === key) this.descending = !this.descending;
    else Object.assign(this, { sortKey: key, descending: key === 'created' });
    this.draw();
  }

  // Ask for the rows, unless nobody looks.
  async refresh() {
    if (!this.root.offsetParent) return;
    try {
      const rows = await api.get('/studio/runs');
      this.problem.hidden = true;
      const text = JSON.stringify(rows);
      if (text !== this.told) {
        const isSame = this.told && rows.length === this.rows.length && rows.every((row, i) => row.run === this.rows[i].run);
        Object.assign(this, { rows, told: text });
        if (isSame) this.fill(); else this.draw();
      }
      this.root.dataset.state = rows.length ? 'ready' : 'empty';
    } catch (error) {
      this.problem.textContent = api.said(error);
      this.problem.hidden = !error.status; // a studio that is gone is told in the head, and nothing moves
      this.root.dataset.state = 'error';
    }
  }

  shown() {
    const words = this.filter.value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
    const column = COLUMNS.find(c => c.key === this.sortKey);
    return this.rows.filter(row => {
      const text = [row.name, row.run, row.dataset, lastPart(row.base), row.method, row.preset, row.state].join(' ').toLocaleLowerCase();
      return inGroup(row, this.group.value) && words.every(word => text.includes(word));
    }).sort(compareRows(column, this.descending));
  }

  // Draw anew which rows stand where; rows that stay keep their elements.
  draw() {
    const list = this.shown(), known = new Set(this.rows.map(r => r.run));
    const focused = this.body.contains(document.activeElement) ? document.activeElement : null;
    for (const run of [...this.lines.keys()]) if (!known.has(run)) this.lines.delete(run);
    for (const row of this.rows) if (!this.lines.has(row.run)) this.lines.set(row.run, this.line(row.run));
    this.fill();
    clear(this.body, list.map(row => this.lines.get(row.run).element));
    if (focused?.isConnected) focused.focus();
    this.order = list.map(row => row.run);
    for (const cell of this.head.querySelectorAll('[data-key]')) {
      cell.setAttribute('aria-sort', cell.dataset.key !== this.sortKey ? 'none' : this.descending ? 'descending' : 'ascending');
    }
    const none = !this.rows.length;
    for (const [element, hidden] of [[this.empty, !none], [this.scroll, none || !list.length], [this.none, none || list.length > 0]]) element.hidden = hidden;
    for (const element of [this.filter, this.group, ...Object.values(this.buttons)]) element.hidden = none;
    this.count.textContent = none ? '' : list.length === this.rows.length ? `${list.length} run${list.length === 1 ? '' : 's'}` : `${list.length} of ${this.rows.length} runs`;
    this.setCurrent(this.order.includes(this.current) ? this.current : this.order[0], false);
    this.showSelection();
  }

  line(run) {
    const pick = h('input', { type: 'checkbox', tabIndex: -1, onclick: event => this.pick(run, event.target.checked, event.shiftKey) });
    const cells = new Map(COLUMNS.map(c => [c.key, h('td', { class: `${c.key}${c.number ? ' number mono' : ''}` })]));
    const element = h('tr', { tabIndex: -1, dataset: { run }, onclick: event => this.click(event, run), onfocus: () => this.setCurrent(run, false) },
      h('td', { class: 'pick' }, pick), [...cells.values()]);
    return { element, pick, cells, told: '', editing: false };
  }

  // Put what has changed into the cells.
  fill() {
    for (const row of this.rows) {
      const line = this.lines.get(row.run), text = JSON.stringify(row);
      if (!line || line.told === text || line.editing) continue;
      const old = line.told ? JSON.parse(line.told) : {};
      line.told = text;
      line.pick.setAttribute('aria-label', `Select ${row.name}`);
      if (old.name !== row.name || old.error !== row.error) this.fillName(line, row);
      for (const column of COLUMNS) {
        if (column.fill && !(column.key === 'pictures' && JSON.stringify(old.previews) === JSON.stringify(row.previews))) column.fill(line.cells.get(column.key), row);
      }
    }
  }

  fillName(line, row) {
    clear(line.cells.get('name'), h('div', { class: 'named' },
      h('a', { class: 'label', href: `?tab=train&run=${encodeURIComponent(row.run)}`, tabIndex: -1, text: row.name, title: row.run }),
      row.state === 'damaged' ? null : h('button', { class: 'btn quiet pencil', type: 'button', tabIndex: -1, 'aria-label': `Rename ${row.name}`, title: 'Rename (F2)', text: '✎', onclick: () => this.rename(row.run) })),
    row.error ? h('div', { class: 'why', text: row.error, title: row.error }) : null);
  }

  rename(run) {
    const line = this.lines.get(run), row = this.rows.find(r => r.run === run);
    if (!line || !row || line.editing || row.state === 'damaged') return;
    line.editing = true;
    const input = h('input', { class: 'studio-input', value: row.name, 'aria-label': 'New name', maxLength: 400 });
    let ended = false;
    const end = async keep => {
      if (ended) return;
      ended = true;
      const focused = document.activeElement === input;
      if (keep && input.value.trim() && input.value !== row.name) {
        try {
          row.name = (await api.post(`/studio/runs/${encodeURIComponent(run)}/rename`, { name: input.value })).name;
        } catch (error) {
          toast(api.said(error), { kind: 'error' });
        }
      }
      Object.assign(line, { editing: false, told: '' });
      this.fill();
      if (focused) line.element.focus();
      this.polling.now();
    };
    input.addEventListener('keydown', event => {
      event.stopPropagation();
      if (event.key === 'Enter') end(true);
      if (event.key === 'Escape') end(false);
    });
    input.addEventListener('blur', () => end(true));
    clear(line.cells.get('name'), input);
    input.focus();
    input.select();
  }

  click(event, run) {
    if (event.target.closest('.pick')) {
      if (event.target.tagName !== 'INPUT') this.lines.get(run).pick.click();
      return;
    }
    if (event.target.closest('button, input')) return;
    if (event.target.closest('a') && (event.ctrlKey || event.metaKey || event.shiftKey)) return;
    event.preventDefault();
    this.open(run);
  }

  open(run) { place.open('train', { run }, place.LOOK); }

  go(tab) {
    const runs = this.selected();
    place.open(tab, tab === 'compare' && runs.length > 1 ? { run: runs[0], runs } : { run: runs[0] });
  }

  selected() { return place.get().runs; }

  pick(run, on, range) {
    const from = this.order.indexOf(this.anchor), to = this.order.indexOf(run);
    const span = range && from >= 0 && to >= 0 ? this.order.slice(Math.min(from, to), Math.max(from, to) + 1) : [run];
    const chosen = new Set(this.selected());
    for (const one of span) if (on) chosen.add(one); else chosen.delete(one);
    this.anchor = run;
    place.set({ runs: [...chosen] });
  }

  selectAll() {
    const chosen = new Set(this.selected());
    for (const run of this.order) if (this.all.checked) chosen.add(run); else chosen.delete(run);
    place.set({ runs: [...chosen] });
  }

  showSelection() {
    const chosen = new Set(this.selected()), rows = this.rows.filter(r => chosen.has(r.run));
    for (const [run, line] of this.lines) {
      line.pick.checked = chosen.has(run);
      line.element.setAttribute('aria-selected', String(chosen.has(run)));
    }
    const marked = (this.order || []).filter(run => chosen.has(run)).length;
    this.all.checked = marked > 0 && marked === this.order.length;
    this.all.indeterminate = marked > 0 && !this.all.checked;
    const ready = rows.filter(r => r.has_adapter).length;
    this.buttons.compare.disabled = !ready || ready !== chosen.size || ready > MOST;
    this.buttons.compare.title = ready > MOST ? `At most ${MOST} adapters at once: select fewer` : ready < chosen.size ? 'A selected run has no adapter yet' : 'Draw pictures with the selected adapters';
    this.buttons.export.disabled = chosen.size !== 1 || !ready;
    this.buttons.remove.disabled = !rows.length;
    this.second.hidden = chosen.size !== 1 || this.rows.length < 2;
    this.board.show([...chosen]);
  }

  setCurrent(run, focus) {
    const before = this.lines.get(this.current);
    if (before) before.element.tabIndex = -1;
    this.current = run ?? null;
    const line = this.lines.get(run);
    if (!line) return;
    line.element.tabIndex = 0;
    if (focus) { line.element.focus(); line.element.scrollIntoView({ block: 'nearest' }); }
  }

  key(event) {
    const run = event.target.dataset?.run;
    if (!run || event.ctrlKey || event.metaKey || event.altKey) return;
    const at = this.order.indexOf(run), moves = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + 10, PageUp: at - 10, Home: 0, End: this.order.length - 1 };
    const acts = {
      ' ': () => this.pick(run, !this.selected().includes(run), event.shiftKey),
      Enter: () => this.open(run),
      F2: () => this.rename(run),
      Delete: () => this.remove(this.selected().includes(run) ? this.selected() : [run]),
      Escape: () => place.set({ runs: [] }),
    };
    if (event.key in moves) this.setCurrent(this.order[Math.max(0, Math.min(this.order.length - 1, moves[event.key]))], true);
    else if (event.key in acts) acts[event.key]();
    else return;
    event.preventDefault();
  }

  // Ask, then move the runs to the trash; the message that says so can undo it.
  async remove(runs) {
    const rows = this.rows.filter(r => runs.includes(r.run));
    if (!rows.length) return;
    const what = rows.length === 1 ? `the run “${rows[0].name}”` : `${rows.length} runs`;
    if (!await confirm(`Delete ${what}, with all snapshots and pictures? It goes to the trash, from where it can be brought back.`, 'Delete')) return;
    const tokens = [], next = this.order[this.order.indexOf(rows[0].run) + 1];
    for (const row of rows) {
      try {
        tokens.push((await api.post(`/studio/runs/${encodeURIComponent(row.run)}/delete`)).token);
        this.rows = this.rows.filter(r => r !== row && r.run !== row.run);
        place.set({ runs: this.selected().filter(run => run !== row.run), ...(place.get().run === row.run ? { run: null } : {}) });
      } catch (error) {
        toast(api.said(error), { kind: 'error' });
      }
    }
    this.told = '';
    this.draw();
    if (tokens.length) {
      const text = tokens.length === 1 && rows.length === 1 ? `Deleted “${rows[0].name}”.` : `Deleted ${tokens.length} runs.`;
      toast(text, { kind: 'undo', action: () => this.restore(tokens) });
    }
    await this.polling.now();
    if (this.order.includes(next)) this.setCurrent(next, true);
  }

  async restore(tokens) {
    for (const token of tokens) {
      try {
        await api.post(`/studio/trash/${encodeURIComponent(token)}/restore`);
      } catch (error) {
        toast(api.said(error), { kind: 'error' });
      }
    }
    this.polling.now();
  }
}
