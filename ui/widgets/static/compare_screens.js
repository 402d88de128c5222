// The six ways to look at a drawing. Each fills the stage, the strip below it and the tools beside; none asks the server for anything.

import { h } from './dom.js';
import { difference, legend } from './compare_difference.js';
import { altText, title } from './compare_pictures.js';

export const VIEWS = [
  ['wipe', 'Wipe'], ['side', 'Side by side'], ['strength', 'Strength strip'], ['snapshots', 'Checkpoints'], ['difference', 'Difference'], ['grid', 'Grid'],
];
export const STRIPS = new Set(['strength', 'snapshots']);

const picture = (cell, alt) => h('img', { src: cell.url, alt, draggable: false, decoding: 'sync' });
const sizeOf = cell => ({ width: cell.width || 64, height: cell.height || 64 });

function layer(table, row, column) {
  const cell = row.cells[column], about = table.columns[column];
  return { element: picture(cell, altText(about, row)), kind: about.kind, label: title(about) };
}

// Drawing `view` of `scene` {table, row, column, stage, strip, rail, tools, go}; true where this drawing has what the view needs.
export function draw(view, scene) {
  const { table, stage } = scene, row = table.rows[scene.row];
  for (const part of [scene.strip, scene.rail]) part.replaceChildren();
  scene.tools.replaceChildren();
  if (view === 'grid') return drawGrid(scene);
  if (view === 'side') drawSide(scene, row);
  else if (STRIPS.has(view)) drawStrip(view, scene, row);
  else if (table.columns.length < 2) stage.show([{ layers: [layer(table, row, 0)], size: sizeOf(row.cells[0]) }]);
  else if (view === 'difference') drawDifference(scene, row);
  else drawWipe(scene, row);
  if (!STRIPS.has(view)) drawPairs(scene);
  return true;
}

function drawWipe(scene, row) {
  const { table, column, stage } = scene;
  chooseColumn(scene);
  stage.show([{ layers: [layer(table, row, 0), layer(table, row, column)], size: sizeOf(row.cells[0]), wipe: true }]);
}

function drawSide({ table, stage }, row) {
  stage.show(table.columns.map((_, i) => i).filter(i => row.cells[i]).map(i => ({ layers: [layer(table, row, i)], size: sizeOf(row.cells[i]) })));
}

// Which of several adapted columns stands beside the base.
function chooseColumn(scene) {
  const { table, column, go, tools } = scene;
  if (table.columns.length < 3) return;
  const select = h('select', { class: 'studio-input', 'aria-label': 'Base against', onchange: () => go({ column: Number(select.value) }) },
    table.columns.map((about, i) => i === 0 ? null : h('option', { value: String(i), selected: i === column, text: title(about) })));
  tools.append(h('span', { class: 'muted', text: 'base against' }), select);
}

// Seeds as pairs: a filmstrip whose pictures are half base, half adapted.
function drawPairs({ table, row, column, rail, go }) {
  if (table.rows.length < 2) return;
  rail.append(h('div', { class: 'film', role: 'group', 'aria-label': 'Pairs' }, table.rows.map((entry, i) => h('button', {
    class: 'frame', type: 'button', 'aria-pressed': String(i === row), 'aria-label': `Pair ${i + 1}: seed ${entry.seed}`, title: [entry.prompt, `seed ${entry.seed}`].filter(Boolean).join(', '), onclick: () => go({ row: i }),
  }, h('span', { class: 'half' }, picture(entry.cells[0], ''), entry.cells[column] && column ? Object.assign(picture(entry.cells[column], ''), { className: 'adapted' }) : null), h('span', { class: 'mono', text: String(entry.seed) })))));
}

// A row of strengths or snapshots: one large, all small, scrubbed with a slider.
function drawStrip(view, scene, row) {
  const { table, column, stage, strip, go } = scene;
  stage.show([{ layers: [layer(table, row, column)], size: sizeOf(row.cells[column]) }]);
  const order = stripOrder(view, table), at = Math.max(0, order.indexOf(column));
  const what = view === 'strength' ? 'Strength' : 'Checkpoint';
  const range = h('input', { type: 'range', class: 'scrub', min: 0, max: order.length - 1, step: 1, value: String(at), 'aria-label': what, 'aria-valuetext': title(table.columns[column]), oninput: () => go({ column: order[Number(range.value)] }) });
  strip.append(range, h('div', { class: 'film strip', role: 'group', 'aria-label': `${what} strip` }, order.map(i => h('button', {
    class: `frame ${table.columns[i].kind}`, type: 'button', 'aria-pressed': String(i === column), title: title(table.columns[i]), 'aria-label': altText(table.columns[i], row), onclick: () => go({ column: i }),
  }, h('span', { class: 'half' }, picture(row.cells[i], '')), h('span', { class: 'mono', text: short(table.columns[i]) }), small(table.columns[i])))));
  if (table.rows.length > 1) {
    const seeds = h('span', { class: 'choices' }, table.rows.map((entry, i) => h('button', { class: 'btn quiet mono', type: 'button', 'aria-pressed': String(i === scene.row), text: String(entry.seed), onclick: () => go({ row: i }) })));
    scene.tools.append(h('span', { class: 'muted', text: 'seed' }), seeds);
  }
}

function small({ detail, change }) {
  return detail ? h('small', { class: change ? 'held-out' : '', title: detail, text: change || detail }) : null;
}

function short(about) {
  return about.kind === 'base' ? 'base' : about.name.replace(/^(strength|step) /, '');
}

// Strengths in their order, the base at zero; snapshots after the base, adapter by adapter.
function stripOrder(view, { columns }) {
  const all = columns.map((_, i) => i);
  if (view === 'strength' && new Set(columns.slice(1).map(c => c.adapter)).size < 2) all.sort((a, b) => columns[a].strength - columns[b].strength);
  return all;
}

// The step that an arrow key makes: within the strip where one is shown, between pairs otherwise.
export function step(view, scene, way) {
  const { table, column, row } = scene;
  if (STRIPS.has(view)) {
    const order = stripOrder(view, table), next = order[order.indexOf(column) + way];
    return next === undefined ? null : { column: next };
  }
  const next = row + way;
  return next < 0 || next >= table.rows.length ? null : { row: next };
}

let turn = 0;

function drawDifference(scene, row) {
  const { table, column, stage, strip, tools } = scene, mine = turn += 1;
  const base = row.cells[0], adapted = row.cells[column];
  chooseColumn(scene);
  difference(base.url, adapted.url).then(found => {
    if (mine !== turn || !tools.isConnected) return;
    if (!found) { tools.append(h('span', { class: 'chip problem', text: 'These pictures differ in size.' })); return; }
    found.canvas.setAttribute('role', 'img');
    found.canvas.setAttribute('aria-label', `Difference between base and ${title(table.columns[column])}, seed ${row.seed}: mean ${(100 * found.mean).toFixed(2)} % of the full range`);
    const layers = [{ element: found.canvas, kind: 'heat', label: 'difference' }];
    const size = { width: found.canvas.width, height: found.canvas.height };
    stage.show([{ layers, size }]);
    stage.host.dataset.mean = String(found.mean);
    const showHeat = () => stage.show([{ layers, size }]);
    const buttons = [[0, 'base'], [column, 'adapted']].map(([i, name]) => holdButton(name, () => stage.show([{ layers: [layer(table, row, i)], size }]), showHeat));
    const bar = legend(found);
    bar.append(h('span', { class: 'spring' }), ...buttons);
    strip.prepend(bar);
  }).catch(error => tools.append(h('span', { class: 'chip problem', text: `The pictures could not be compared: ${error.message}` })));
}

// Shows a picture as long as the button is held, by pointer or by key.
function holdButton(name, press, release) {
  const button = h('button', { class: 'btn quiet', type: 'button', text: `Hold: ${name}`, title: `Shows the ${name} picture while held` });
  let held = false;
  const down = () => { if (!held) { held = true; press(); } };
  const up = () => { if (held) { held = false; release(); } };
  button.addEventListener('pointerdown', event => { button.setPointerCapture(event.pointerId); down(); });
  for (const event of ['pointerup', 'pointercancel', 'blur']) button.addEventListener(event, up);
  button.addEventListener('keydown', event => { if (event.key === ' ' || event.key === 'Enter') down(); });
  button.addEventListener('keyup', up);
  return button;
}

function drawGrid({ table, stage, go }) {
  const head = h('tr', {}, h('th', { text: 'seed', scope: 'col' }), table.columns.map(about => h('th', { scope: 'col' }, h('span', { class: `chip ${about.kind}`, text: about.name, title: title(about) }), about.detail ? h('small', { text: about.change || about.detail, title: about.detail }) : null)));
  const body = table.rows.map((row, r) => h('tr', {}, h('th', { scope: 'row', class: 'mono', title: row.prompt, text: String(row.seed) }), row.cells.map((cell, c) => h('td', {}, cell ? h('button', {
    type: 'button', class: `cell ${table.columns[c].kind}`, 'aria-label': `Open ${altText(table.columns[c], row)}`, onclick: () => go({ row: r, column: Math.max(c, Math.min(1, table.columns.length - 1)), view: 'wipe' }),
  }, picture(cell, altText(table.columns[c], row))) : null))));
  stage.show([]);
  stage.host.replaceChildren(h('div', { class: 'grid' }, h('table', {}, h('thead', {}, head), h('tbody', {}, body))));
  return true;
}
