// Previews of a run: a row per prompt, a column for the base and for each step, in their places before they are drawn.

import { h, clear } from './dom.js';
import * as lightbox from './lightbox.js';

const PLACES = 12; // columns kept free for steps to come

export class Previews {
  constructor() {
    this.element = h('div', { class: 'previews' });
    this.columns = new Map();
  }

  // A run's rows and the columns that will come.
  start(run, prompts, steps) {
    this.prompts = prompts;
    this.columns.clear();
    this.head = h('tr', {}, h('th', { scope: 'col', class: 'visually-hidden', text: 'prompt' }));
    this.rows = prompts.map(prompt => h('tr', {}, h('th', { scope: 'row', title: prompt, text: prompt || 'no prompt' })));
    clear(this.element, prompts.length ? h('table', {}, h('thead', {}, this.head), h('tbody', {}, this.rows)) : h('p', { class: 'muted', text: 'This run draws no previews.' }));
    this.run = run;
    if (!prompts.length) return;
    this.column('base');
    if (steps.length <= PLACES) for (const step of steps) this.column(step);
  }

  column(key) {
    let column = this.columns.get(key);
    if (column) return column;
    const label = key === 'base' ? h('span', { class: 'chip base', text: 'base' }) : `step ${key}`;
    const cells = this.rows.map(() => h('td', {}, h('div', { class: 'wait' })));
    column = { key, head: h('th', { scope: 'col', class: 'mono' }, label), cells, files: null };
    const later = [...this.columns.values()].filter(c => key !== 'base' && c.key !== 'base' && c.key > key);
    const before = later.reduce((a, b) => (a && a.key < b.key ? a : b), null);
    this.head.insertBefore(column.head, before?.head || null);
    this.rows.forEach((row, i) => row.insertBefore(cells[i], before?.cells[i] || null));
    this.columns.set(key, column);
    return column;
  }

  add(previews) {
    for (const { step, base, files } of previews) {
      while (this.rows?.length && this.rows.length < files.length) this.addRow();
      if (!this.rows?.length) continue;
      const column = this.column(base ? 'base' : step);
      column.files = files;
      files.forEach((src, i) => {
        const said = `${base ? 'base' : `step ${step}`}: ${this.prompts[i] || 'no prompt'}`;
        clear(column.cells[i], h('button', { type: 'button', class: base ? 'base' : '', 'aria-label': `${said}, larger`, onclick: () => this.open(column.key, i) },
          h('img', { src, alt: said, class: 'pixelated', decoding: 'async' })));
      });
    }
  }

  addRow() {
    const row = h('tr', {}, h('th', { scope: 'row', text: 'no prompt' }));
    for (const column of this.columns.values()) row.append(column.cells[this.rows.length] = h('td', {}, h('div', { class: 'wait' })));
    this.rows[0].parentNode.append(row);
    this.rows.push(row);
    this.prompts.push('');
  }

  open(key, row) { lightbox.open(this.large(key, row)); }

  large(key, row) {
    const drawn = [...this.columns.values()].filter(c => c.files?.[row]).sort((a, b) => (a.key === 'base' ? -1 : b.key === 'base' ? 1 : a.key - b.key));
    const at = drawn.findIndex(c => c.key === key), said = `${key === 'base' ? 'base' : `step ${key}`}: ${this.prompts[row] || 'no prompt'}`;
    return {
      src: drawn[at].files[row], alt: said, caption: said,
      next: drawn[at + 1] && (() => this.large(drawn[at + 1].key, row)),
      previous: drawn[at - 1] && (() => this.large(drawn[at - 1].key, row)),
    };
  }
}
