// The dataset doctor: how ready the open dataset is and why; each finding is shown, reviewed or mended; a check is followed and stopped.

import * as api from './api.js';
import * as place from './place.js';
import { clear, fmt, h, single, toast } from './dom.js';
import { announce, offerUndo, onChange, onPlace, openDataset, path } from './dataset_state.js';
import { chosenBase } from './dataset_shapes.js';
import { review } from './dataset_review.js';
import { splitDialog } from './dataset_split.js';
import { OVER } from './states.js';

const FOLLOW_MS = 500;

export function doctorPanel(root) {
  const view = { root, dataset: '', version: '', asked: 0, current: '', poll: null };
  view.score = h('strong', { class: 'score mono' });
  view.meter = h('span', { class: 'fill' });
  view.line = h('p', { class: 'muted', role: 'status' });
  view.go = h('button', { class: 'btn', type: 'button', text: 'Check', title: 'Look at every picture, and compare what they show', onclick: () => start(view) });
  view.out = h('div', { class: 'checking', 'aria-live': 'polite' });
  view.list = h('ul', { class: 'findings' });
  view.split = h('p', { class: 'muted' });
  const element = h('section', { class: 'panel doctor', 'aria-label': 'Doctor' },
    h('div', { class: 'row' }, h('h3', { text: 'Doctor' }), h('span', { class: 'spring' }), view.go),
    h('div', { class: 'row readiness' }, h('span', { text: 'Readiness' }), view.score, h('span', { class: 'bar', 'aria-hidden': 'true' }, view.meter)),
    view.line, view.out, view.list,
    h('div', { class: 'row' }, view.split, h('span', { class: 'spring' }), h('button', { class: 'btn quiet', type: 'button', text: 'Split …', onclick: () => splitDialog(openDataset()) })));
  onPlace(root, () => refresh(view));
  onChange(root, () => refresh(view));
  const heard = () => { if (root.isConnected) refresh(view); else window.removeEventListener('studio:shape', heard); };
  window.addEventListener('studio:shape', heard);
  api.poll(() => refresh(view), 4000, root);
  return element;
}

async function refresh(view) {
  const dataset = openDataset(), turn = (view.asked += 1);
  if (!dataset) return;
  try {
    const told = await api.get(path(dataset, `/doctor?base=${encodeURIComponent(chosenBase())}`));
    if (turn !== view.asked) return;
    if (dataset !== view.dataset) leave(view);
    draw(view, dataset, told);
  } catch { /* the grid says what is wrong */ }
}

function draw(view, dataset, told) {
  if (told.checkup && !OVER.has(told.checkup.status.state) && !view.current) follow(view, told.checkup);
  const shape = JSON.stringify([dataset, told.score, told.findings, told.checked, told.compared, told.images]);
  if (shape === view.shape) return;
  Object.assign(view, { dataset, shape });
  view.score.textContent = told.images ? String(told.score) : '–';
  view.meter.style.width = `${told.score}%`;
  const num = told.findings.filter(each => each.cost > 0).length;
  const missing = told.images - told.measured;
  const unlooked = missing ? ` · ${missing} not measured yet: press Check` : told.images && !told.compared ? ' · not yet compared by what they show' : '';
  view.line.textContent = told.images ? `${num ? `${num} ${num === 1 ? 'thing' : 'things'} to look at` : 'Nothing stands out'}${unlooked}` : 'No pictures yet.';
  view.go.disabled = !told.images || Boolean(view.current && !view.isWaiting);
  const focused = document.activeElement?.dataset?.doctor, opened = new Set([...view.list.querySelectorAll('details[open]')].map(each => each.dataset.key));
  clear(view.list, told.findings.map(each => finding(view, each, opened)));
  if (focused) view.list.querySelector(`[data-doctor="${focused}"]`)?.focus();
  api.get(path(dataset, '/split')).then(split => { view.split.textContent = `${split.train} train · ${split.held_out} held out`; }, () => null);
}

function finding(view, each, opened) {
  const show = each.key === 'skipped' ? () => showList(each, view.dataset) : each.num ? () => showPictures(each.key) : null;
  const button = (text, name, title, act) => h('button', { class: 'btn small', type: 'button', text, title, dataset: { doctor: `${each.key}-${name}` }, 'aria-label': `${text}: ${each.title}`, onclick: act });
  const why = h('details', { dataset: { key: each.key } }, h('summary', { class: 'muted', text: 'Why' }), h('p', { class: 'muted', text: each.why }));
  why.open = opened.has(each.key);
  return h('li', { dataset: { check: each.key } },
    h('p', {}, h('span', { text: each.text }), each.cost ? h('span', { class: 'cost mono muted', text: ` −${fmt.number(each.cost, 2)}`, title: 'points of readiness' }) : null),
    h('div', { class: 'row' }, show ? button('Show', 'show', null, show) : null,
      each.mends.map(mend => button(mend.label, mend.mend, mend.title, () => (mend.mend === 'review' ? review(view.dataset, each.key) : carryOut(view.dataset, each.key, mend.mend))))),
    why);
}

// The grid shows the pictures of a finding; where it is out of sight, it comes into sight.
function showPictures(key) {
  place.set({ filter: `check:${key}` });
  document.querySelector('.dataset-grid')?.scrollIntoView({ block: 'start' });
}

// Mend a finding, in all pictures concerned or in `files`; true where it was done.
export async function carryOut(dataset, check, mend, files = null) {
  try {
    const told = await api.post(path(dataset, '/doctor/fix'), { check, mend, files });
    if (told.undo) offerUndo(dataset, told.text, told.undo);
    else toast(told.text);
    announce(dataset);
    return true;
  } catch (error) {
    toast(api.said(error), { kind: 'error' });
    announce(dataset);
    return false;
  }
}

const showList = single(async (each, dataset) => {
  try {
    const told = (await api.get(path(dataset, `/doctor/${each.key}`))).told;
    const element = h('dialog', { class: 'studio-dialog dataset-dialog', 'aria-label': each.title }, h('h3', { text: each.title }),
      h('ul', { class: 'skipped' }, Object.entries(told).map(([file, reason]) => h('li', {}, h('strong', { text: file }), ` ${reason}`))),
      h('div', { class: 'row end' }, h('button', { class: 'btn', type: 'button', text: 'Close', onclick: () => element.close() })));
    element.addEventListener('close', () => element.remove());
    document.body.append(element);
    element.showModal();
  } catch (error) {
    toast(api.said(error), { kind: 'error' });
  }
});

// ---- a check under way --------------------------------------------------------------------------------------------------

async function start(view) {
  const dataset = openDataset();
  view.go.disabled = true;
  clear(view.out);
  try {
    const told = await api.post(path(dataset, '/doctor/check'));
    if (dataset !== openDataset()) return;
    leave(view);
    follow(view, told);
  } catch (error) {
    view.go.disabled = false;
    clear(view.out, h('p', { class: 'chip problem', role: 'alert', text: api.said(error) }));
  }
}

function leave(view) {
  view.poll?.stop();
  Object.assign(view, { current: '', poll: null, shape: '', isWaiting: false });
  clear(view.out);
  view.go.disabled = false;
}

function follow(view, { id, status }) {
  const text = h('p', { role: 'status' }), fill = h('span', { class: 'fill' });
  const stop = h('button', { class: 'btn quiet', type: 'button', text: 'Stop', 'aria-label': 'Stop checking', onclick: cancel });
  let first = null;
  view.current = id;
  view.go.disabled = true;
  clear(view.out, text, h('div', { class: 'row' }, h('span', { class: 'bar', 'aria-hidden': 'true' }, fill), stop));
  step(status);
  view.poll = api.poll(async () => {
    try {
      const now = await api.get(`/studio/checkups/${id}`);
      if (id !== view.current) return;
      if (OVER.has(now.status.state)) end(view, now);
      else step(now.status);
    } catch (error) {
      if (error.status && id === view.current) leave(view); // else the studio may come back
    }
  }, FOLLOW_MS, view.root);

  async function cancel() {
    stop.disabled = true;
    try { await api.post(`/studio/checkups/${id}/cancel`); } catch (error) { stop.disabled = false; toast(api.said(error), { kind: 'error' }); }
  }

  function step({ state, done, total, note }) {
    fill.style.width = `${Math.max(4, 100 * (done || 0) / Math.max(1, total || 1))}%`;
    view.isWaiting = state === 'waiting'; // one that came by itself steps aside; pressing Check has it carried out now
    view.go.disabled = !view.isWaiting;
    if (state !== 'checking') { text.textContent = `${state === 'loading' ? 'Loading the image tower' : note ? `The check goes on ${note}` : 'The check begins'} …`; return; }
    const now = performance.now();
    first ??= { now, done };
    const speed = 1000 * (done - first.done) / (now - first.now);
    const what = done < total / 2 ? `Measuring ${done} of ${total / 2}` : `Comparing ${done - total / 2} of ${total / 2}`;
    text.textContent = what + (speed > 0 ? ` · ${fmt.number(speed, 2)}/s · ${fmt.seconds((total - done) / speed)} left` : '');
  }
}

function end(view, { dataset, status }) {
  leave(view);
  if (status.state === 'cancelled') clear(view.out, h('p', { class: 'muted', text: 'Stopped: what was measured is kept.' }));
  else if (status.state !== 'finished') clear(view.out, h('p', { class: 'chip problem', role: 'alert', text: status.error || 'The check did not end well: try again.' }));
  announce(dataset);
}
