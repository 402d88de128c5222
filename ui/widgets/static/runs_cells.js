// What stands in the cells of the table of runs, and how its columns sort.

import { h, clear, fmt } from './dom.js';
import * as lightbox from './lightbox.js';
import { LIVING } from './states.js';

const WORDS = { parked: 'holding for pictures', damaged: 'damaged', gone: 'deleted' };
const LOOKS = { finished: 'good', failed: 'problem', damaged: 'problem', gone: 'problem', interrupted: 'held-out' };
const ORDER = ['running', 'parked', 'finishing', 'preparing', 'starting', 'queued', 'interrupted', 'failed', 'stopped', 'finished', 'damaged'];
export const GROUPS = { all: 'All states', living: 'Going on', finished: 'Finished', stopped: 'Stopped', trouble: 'Failed or interrupted' };

export function inGroup(row, group) {
  if (group === 'living') return LIVING.has(row.state);
  if (group === 'trouble') return ['failed', 'interrupted', 'damaged'].includes(row.state);
  return group === 'all' || row.state === group;
}

export const lastPart = path => String(path ?? '').replace(/[/\\]+$/, '').split(/[/\\]/).pop() || '–';

export const created = row => (typeof row.created === 'number' ? row.created : Date.parse(row.created) / 1000) || null;

export function stateChip(row) {
  const look = LIVING.has(row.state) ? 'adapted' : LOOKS[row.state] || 'base';
  return h('span', { class: `chip ${look}`, text: WORDS[row.state] || row.state, title: row.error || null });
}

function fillState(cell, row) {
  const living = LIVING.has(row.state);
  clear(cell, stateChip(row), living && row.steps ? h('span', { class: 'bar', 'aria-hidden': 'true' },
    h('span', { class: 'fill', style: { width: `${Math.min(100, 100 * (row.step || 0) / row.steps)}%` } })) : null);
}

function fillPictures(cell, row) {
  const show = i => ({
    src: row.previews[i], alt: `Preview ${i + 1} of ${row.name}`, caption: `${row.name}: preview ${i + 1} of ${row.previews.length}`,
    next: i + 1 < row.previews.length ? () => show(i + 1) : null, previous: i > 0 ? () => show(i - 1) : null,
  });
  clear(cell, h('span', { class: 'strip' }, (row.previews || []).slice(0, 4).map((src, i) => h('button', {
    class: 'picture', type: 'button', tabIndex: -1, 'aria-label': `Preview ${i + 1} of ${row.name}, large`, onclick: () => lightbox.open(show(i)),
  }, h('img', { src, alt: `Preview ${i + 1} of ${row.name}`, loading: 'lazy', width: 36, height: 36 })))));
}

function heldOutText(score) {
  if (!score) return '–';
  const better = `on ${score.num_better} of ${score.num_images}`;
  return score.change_percent === null || score.change_percent === undefined ? `no number ${better}` : `${fmt.percent(score.change_percent)} ${better}`;
}

function fillHeldOut(cell, row) {
  const worse = row.held_out && !(row.held_out.change_percent <= 0);
  clear(cell, h('span', { class: worse ? 'worse' : '', text: heldOutText(row.held_out), title: row.held_out ? 'Held-out loss against the base, and on how many unseen pictures it is better' : 'Nothing was held out, or nothing measured yet' }));
}

const plain = get => (cell, row) => { cell.textContent = get(row); cell.title = ''; };
const path = key => (cell, row) => { cell.textContent = lastPart(row[key]); cell.title = row[key] ?? ''; };

// key, title, what to sort by, how to fill; `number` = right-aligned figures.
export const COLUMNS = [
  { key: 'name', title: 'Name', sort: row => String(row.name).toLocaleLowerCase() },
  { key: 'pictures', title: 'Pictures', fill: fillPictures },
  { key: 'state', title: 'State', sort: row => (ORDER.indexOf(row.state) + 1) || 99, fill: fillState },
  { key: 'held_out', title: 'Held-out loss', sort: row => row.held_out?.change_percent ?? null, fill: fillHeldOut, number: true },
  { key: 'method', title: 'Method', sort: row => row.method, fill: plain(row => row.method ?? '–') },
  { key: 'base', title: 'Base', sort: row => row.base && lastPart(row.base), fill: path('base') },
  { key: 'dataset', title: 'Data', sort: row => row.dataset, fill: plain(row => row.dataset ?? '–') },
  { key: 'steps', title: 'Steps', sort: row => row.step, fill: plain(row => (row.steps ? `${row.step ?? 0}/${row.steps}` : `${row.step ?? '–'}`)), number: true },
  { key: 'seconds', title: 'Time', sort: row => row.seconds, fill: plain(row => fmt.seconds(row.seconds)), number: true },
  { key: 'memory', title: 'Memory', sort: row => row.peak_memory_gib, fill: plain(row => (row.peak_memory_gib ? `${fmt.number(row.peak_memory_gib, 3)} GiB` : '–')), number: true },
  { key: 'created', title: 'Created', sort: created, fill: plain(row => fmt.time(created(row))), number: true },
];

// Compare two rows by a column: what is not known comes last, either way.
export function compareRows(column, descending) {
  return (a, b) => {
    const [x, y] = [column.sort(a), column.sort(b)].map(v => (v === undefined || v === '' || Number.isNaN(v) ? null : v));
    if (x === null || y === null) return (x === null) - (y === null) || (a.run < b.run ? 1 : -1);
    const order = typeof x === 'string' ? x.localeCompare(y, undefined, { numeric: true }) : x - y;
    return (descending ? -order : order) || (a.run < b.run ? 1 : -1);
  };
}
