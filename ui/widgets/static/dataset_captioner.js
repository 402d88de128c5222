// Captions by a captioner or a template: asked for, followed, stopped; what a captioner does not know leads to the template.

import * as api from './api.js';
import { clear, fmt, h, toast } from './dom.js';
import { captionerChoice } from './dataset_asking.js';
import { OVER } from './states.js';
import { announce, offerUndo, onPlace, onSelection, openDataset, path, selection } from './dataset_state.js';

const FOLLOW_MS = 500;
const WHICH = [['', 'only where there is none'], ['recaption', 'again, but edits stay'], ['overwrite', 'over all, edits too']];

// Returns {element, know(names)}: the form, and what tells it which fields templates may name.
export function captionerForm(root) {
  const view = { root, dataset: '', current: '', poll: null, asked: 0 };
  view.preview = h('div', { class: 'row end', hidden: true }, h('button', { class: 'btn', type: 'button', text: 'Preview', 'aria-label': 'Preview template', onclick: () => preview(view) }));
  view.choice = captionerChoice(() => { view.preview.hidden = !view.choice.isTemplate(); });
  view.go = h('button', { class: 'btn', type: 'submit', text: 'Caption all' });
  view.which = h('select', { class: 'studio-input', 'aria-label': 'Which captions are written' }, WHICH.map(([value, text]) => h('option', { value, text })));
  view.out = h('div', { class: 'captioned', 'aria-live': 'polite' });
  view.choice.fields.addEventListener('input', () => { view.asked += 1; if (view.out.querySelector('.examples')) clear(view.out); }); // of another template
  const element = h('form', { class: 'form', 'aria-label': 'Captioner', onsubmit: event => { event.preventDefault(); start(view); } },
    h('label', { class: 'field' }, h('span', { text: 'Captioner' }), h('div', { class: 'ask' }, view.choice.select, view.go)), view.choice.add, view.choice.fields, view.preview,
    h('label', { class: 'field' }, h('span', { text: 'Write captions' }), view.which, h('small', { class: 'muted', text: 'What is replaced stays among the versions of its picture.' })), view.out);
  onSelection(root, () => drawScope(view));
  onPlace(root, () => meet(view));
  meet(view);
  return { element, know: view.choice.know };
}

function drawScope(view) {
  view.go.textContent = selection.size ? `Caption ${selection.size} selected` : 'Caption all';
}

// Another dataset is open: what is being written there is followed, also after a reload.
async function meet(view) {
  const dataset = openDataset();
  if (dataset === view.dataset) return;
  leave(view);
  clear(view.out);
  view.which.value = '';
  view.dataset = dataset;
  view.choice.meet();
  if (!dataset) return;
  try {
    const told = await api.get(`/studio/captionings?dataset=${encodeURIComponent(dataset)}`);
    if (told && !OVER.has(told.status.state) && dataset === view.dataset && !view.current) follow(view, told);
  } catch { /* the grid says what is wrong */ }
}

function leave(view) {
  view.poll?.stop();
  Object.assign(view, { current: '', poll: null, progress: null });
  view.go.disabled = false;
}

async function start(view) {
  const { dataset } = view, files = selection.size ? [...selection] : null;
  view.go.disabled = true;
  clear(view.out);
  try {
    const told = await api.post('/studio/captionings', { dataset, ...view.choice.read(), ...(view.which.value ? { [view.which.value]: true } : {}), files });
    if (dataset === view.dataset) follow(view, told);
  } catch (error) {
    view.go.disabled = false;
    fail(view, api.said(error));
  }
}

// What a template would write, shown before it is written.
async function preview(view) {
  const { dataset } = view, turn = (view.asked += 1);
  try {
    const change = { operation: 'template', text: view.choice.read().prompt, overwrite: Boolean(view.which.value), files: selection.size ? [...selection] : null };
    const told = await api.post(path(dataset, '/bulk'), { ...change, preview: true });
    if (turn === view.asked && dataset === view.dataset && !view.current) clear(view.out, ...examples(told));
  } catch (error) {
    if (turn === view.asked && !view.current) fail(view, api.said(error));
  }
}

// How many captions a change would change, and what some of them would become.
export function examples(told) {
  const num = `${told.count} of ${told.of} captions ${told.count === 1 ? 'changes' : 'change'}`;
  return [h('p', { text: told.count ? num : 'No caption would change.' }), told.cut ? h('p', { class: 'chip problem', text: `${told.cut} would be cut at 8 KiB` }) : null,
    h('ul', { class: 'examples' }, told.examples.map(each => h('li', {}, h('del', { text: each.before || '(none)' }), h('ins', { text: each.after || '(none)' }))))];
}

function follow(view, told) {
  const id = told.id;
  view.current = id;
  view.go.disabled = true;
  view.progress = progress(id);
  clear(view.out, view.progress.element);
  view.progress.draw(told.status);
  view.poll = api.poll(async () => {
    try {
      const now = await api.get(`/studio/captionings/${id}`);
      if (id !== view.current) return;
      if (OVER.has(now.status.state)) end(view, now);
      else view.progress.draw(now.status);
    } catch (error) {
      if (!error.status || id !== view.current) return; // the studio may come back
      leave(view);
      fail(view, api.said(error));
    }
  }, FOLLOW_MS, view.root);
}

// How far a captioning is; its elements stay, so that the button can be hit.
function progress(id) {
  const text = h('p', { role: 'status' }), fill = h('span', { class: 'fill' });
  const stop = h('button', { class: 'btn quiet', type: 'button', text: 'Stop', 'aria-label': 'Stop captioning', onclick: cancel });
  const element = h('div', {}, text, h('div', { class: 'row' }, h('span', { class: 'bar', 'aria-hidden': 'true' }, fill), stop));
  let first = null;
  return { element, draw };

  async function cancel() {
    stop.disabled = true;
    try { await api.post(`/studio/captionings/${id}/cancel`); } catch (error) { stop.disabled = false; toast(api.said(error), { kind: 'error' }); }
  }

  function draw({ state, done, total, note }) {
    fill.style.width = `${Math.max(4, 100 * (done || 0) / Math.max(1, total || 1))}%`;
    if (state !== 'captioning') {
      text.textContent = `${state === 'loading' ? 'Loading the captioner' : 'Waiting'}${note ? `, ${note}` : ''} …`;
      return;
    }
    const now = performance.now();
    first ??= { now, done };
    const speed = 1000 * (done - first.done) / (now - first.now);
    const pace = speed > 0 ? ` · ${fmt.number(speed, 2)}/s · ${fmt.seconds((total - done) / speed)} left` : '';
    text.textContent = `${done} of ${total} looked at${pace}`;
  }
}

function end(view, { dataset, status, result }) {
  leave(view);
  announce(dataset);
  if (status.state === 'cancelled') { clear(view.out, h('p', { class: 'muted', text: 'Stopped: no caption was changed. What was looked at is kept: caption again to go on.' })); return; }
  if (status.state !== 'finished') { fail(view, status.error || 'The captions were not written: try again.'); return; }
  if (result.undo) offerUndo(dataset, result.text, result.undo);
  clear(view.out, h('p', { role: 'status', text: `${result.text}.` }), result.notes.map(text => h('p', { class: 'muted', text: `${text}.` })),
    result.unknown ? h('p', { class: 'unknown' }, `${result.unknown_text}. `, h('button', { class: 'btn', type: 'button', text: 'Fill them by a template', onclick: () => view.choice.toTemplate() })) : null,
    result.skipped.length ? h('details', {}, h('summary', { class: 'problem', text: `${result.skipped.length} left without a new caption` }),
      h('ul', { class: 'unread' }, result.skipped.map(each => h('li', { text: each.reason })))) : null);
}

function fail(view, message) {
  clear(view.out, h('p', { class: 'chip problem', role: 'alert', text: message }));
}
