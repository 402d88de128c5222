// The Export screen: what to export and for whom, then what came of it, then what was exported before.

import * as api from './api.js';
import * as place from './place.js';
import { h, clear, toast, fmt } from './dom.js';
import { drawResult, drawEarlier } from './export_result.js';
import { OVER } from './states.js';

const EXTRACTED = 'extracted';

export function mount({ root }) {
  const view = { root, options: null, run: '', snapshot: '', layout: '', share: new Set(), shown: null, current: null, busy: false, token: 0 };
  view.form = h('section', { class: 'panel form', 'aria-label': 'What to export' });
  view.out = h('section', { class: 'panel out', 'aria-label': 'Result' });
  view.earlier = h('section', { class: 'panel earlier', 'aria-label': 'Earlier exports' });
  root.replaceChildren(view.form, view.out, view.earlier);
  place.on(now => {
    if (!root.isConnected) return;
    if (now.run && now.run !== view.run) load(view, now.run);
    else fulfil(view);
  });
  load(view, place.get().run || '');
  let turns = 0;
  api.poll(async () => {
    if (root.offsetParent === null) return;  // another tab is open
    turns += 1;
    if (view.current) await follow(view);
    if (turns % 4 === 1) await refresh(view);
  }, 700, root);
}

async function load(view, run) {
  const token = ++view.token, go = view.form.querySelector('.go');
  if (go && run !== view.run) go.disabled = true; // the form is still that of another run
  try {
    let options = await api.get(`/studio/exports/options?run=${encodeURIComponent(run)}`);
    if (options.error && !options.runs.includes(run) && options.runs.length) {
      // The run of the address has nothing to export (yet), or is gone: say so, and offer the newest that has.
      const reason = options.error;
      options = await api.get('/studio/exports/options');
      options.remark = reason;
    }
    if (token !== view.token) return;
    const isOther = options.run !== view.run;
    Object.assign(view, { options, run: options.run || '' });
    if (isOther) Object.assign(view, { snapshot: '', share: new Set() });
    if (!options.layouts?.some(l => l.layout === view.layout)) view.layout = options.layouts?.[0].layout || '';
    drawForm(view);
    fulfil(view);
  } catch (error) {
    if (token !== view.token) return;
    view.root.dataset.state = 'error';
    clear(view.form, h('p', { class: 'chip problem', role: 'alert', text: api.said(error) }),
      h('button', { class: 'btn', type: 'button', text: 'Try again', onclick: () => load(view, run) }));
  }
}

// Who comes from Compare's "Export adapter" wants the file, not a form.
function fulfil(view) {
  if (place.get().tab === 'export' && view.options?.layouts && place.takeWish('export') === 'start') start(view);
}

// Runs come and go while the page is open; the form is drawn again only when what it offers has changed.
async function refresh(view) {
  if (view.root.dataset.state === 'error') return load(view, place.get().run || view.run);
  const now = await api.get(`/studio/exports/options?run=${encodeURIComponent(view.run)}`);
  if (view.options && !view.busy && shape(now) !== shape(view.options)) {
    if (now.run !== view.run) return load(view, '');
    view.options = { ...now, remark: view.options?.remark };
    drawForm(view);
  }
  drawEarlier(view, await api.get('/studio/exports'), { open: id => show(view, id), refresh: () => refresh(view) });
}

const shape = options => JSON.stringify([options?.runs, options?.run, options?.snapshots, options?.chosen, options?.ticks, options?.verdict, options?.error]);

function drawForm(view) {
  const { options } = view;
  const isEmpty = !options.runs.length;
  view.root.dataset.state = isEmpty ? 'empty' : 'ready';
  view.out.hidden = isEmpty;
  if (isEmpty) {
    clear(view.form, h('div', { class: 'empty' },
      h('p', { text: 'No finished run yet: train an adapter, then take it away here.' }),
      h('button', { class: 'btn primary', type: 'button', text: 'Go to Train', onclick: () => place.open('train') })));
    return;
  }
  if (!view.out.hasChildNodes()) clear(view.out, h('h3', { text: 'File' }), h('p', { class: 'muted', text: 'The file is read back and compared with the run before it is offered here.' }));
  const held = document.activeElement?.id;
  clear(view.form,
    options.remark && h('p', { class: 'chip problem', text: options.remark }),
    runField(view),
    options.error ? h('p', { class: 'chip problem', role: 'alert', text: options.error }) : [
      snapshotField(view), layoutCards(view), rankField(view), ticks(view),
      verdict(view),
      h('button', { class: 'btn primary go', type: 'button', id: 'export-go', text: 'Export', disabled: view.busy, onclick: () => start(view) }),
      h('p', { class: 'licence muted' }, h('strong', { text: 'Licence. ' }),
        `An adapter follows the licence of its base: ${options.base.title}, ${options.base.licence}; and of the pictures it was trained on.`)]);
  if (held) document.getElementById(held)?.focus();
}

function runField(view) {
  const { options } = view;
  const names = options.runs.includes(view.run) ? options.runs : [view.run, ...options.runs];
  const select = h('select', { id: 'export-run', onchange: () => { place.set({ run: select.value }); load(view, select.value); } },
    names.map(name => h('option', { value: name, text: name, selected: name === view.run })));
  return h('div', { class: 'field' }, h('label', { for: 'export-run', text: 'Run' }), select);
}

const percent = x => x === null || x === undefined ? '' : ` · held-out loss ${fmt.percent(x, 1)}`;

function snapshotField(view) {
  const { chosen, snapshots } = view.options;
  const first = chosen.step === null ? 'Newest snapshot' : `Recommended: step ${chosen.step}`;
  const select = h('select', { id: 'export-snapshot', 'aria-describedby': 'export-reason', onchange: () => { view.snapshot = select.value; hint.hidden = view.snapshot !== ''; } },
    h('option', { value: '', text: first + percent(chosen.change_percent), selected: view.snapshot === '' }),
    snapshots.map(s => h('option', { value: String(s.step), text: `Step ${s.step}${percent(s.change_percent)}`, selected: view.snapshot === String(s.step) })));
  const hint = h('small', { class: 'muted', id: 'export-reason', text: `Why: ${chosen.reason}`, hidden: view.snapshot !== '' });
  return h('div', { class: 'field' }, h('label', { for: 'export-snapshot', text: 'Snapshot' }), select, hint);
}

function layoutCards(view) {
  const cards = view.options.layouts.map(l => h('label', { class: 'card', dataset: { layout: l.layout } },
    h('input', { type: 'radio', name: 'export-layout', value: l.layout, checked: l.layout === view.layout, onchange: () => { view.layout = l.layout; view.form.querySelector('.rank').hidden = l.layout !== EXTRACTED; } }),
    h('span', {}, h('strong', { text: l.readers }), h('small', { class: 'muted' }, `${l.about} `, h('span', { class: 'mono', text: `(${l.layout})` })))));
  return h('fieldset', { class: 'layouts' }, h('legend', { text: 'Who reads it' }), cards);
}

// How large a LoRA is taken out of a tuned model; other files have the size that they have.
function rankField(view) {
  const input = h('input', { type: 'number', id: 'export-rank', min: 1, max: 1024, step: 1, value: view.rank ?? view.options.rank, oninput: () => { view.rank = input.value; } });
  return h('div', { class: 'field rank', hidden: view.layout !== EXTRACTED }, h('label', { for: 'export-rank', text: 'Rank of the LoRA' }), input,
    h('small', { class: 'muted', text: 'Higher = closer to the tuned model, larger file. How much it lacks is told with the file.' }));
}

function ticks(view) {
  const rows = view.options.ticks.map(t => {
    const box = h('input', { type: 'checkbox', value: t.tick, checked: view.share.has(t.tick) && !!t.text, disabled: !t.text });
    box.addEventListener('change', () => view.share[box.checked ? 'add' : 'delete'](t.tick));
    return h('label', { class: 'tick' }, box, h('span', {}, t.label), h('small', { class: 'muted value', text: t.text || 'there is none', title: t.text }));
  });
  return h('fieldset', { class: 'ticks' }, h('legend', { text: 'What of yours may go with it' }),
    h('small', { class: 'muted', text: 'Nothing, unless ticked. Trigger word and run name go into the file and its card, the others onto the card. The file itself is called after the run: rename it as you like.' }), rows);
}

function verdict({ options, run }) {
  const judge = () => h('button', { class: 'btn quiet', type: 'button', text: 'Judge it on Train', onclick: () => place.open('train', { run }, place.LOOK) });
  return h('p', { class: 'judged muted' }, h('strong', { text: 'Verdict. ' }), options.verdict?.text || ['Nobody has judged yet whether it copies trained pictures. ', judge()]);
}

async function start(view) {
  if (view.busy) return;
  setBusy(view, true);
  view.out.dataset.export = 'waiting';
  try {
    const share = [...view.share].filter(tick => view.options.ticks.some(t => t.tick === tick && t.text));
    const request = { run: view.run, snapshot: view.snapshot === '' ? null : Number(view.snapshot), layout: view.layout, share };
    if (view.layout === EXTRACTED) request.rank = Number(view.rank ?? view.options.rank);
    view.current = (await api.post('/studio/exports', request)).id;
    await follow(view);
  } catch (error) {
    setBusy(view, false);
    Object.assign(view, { shown: null });
    view.out.dataset.export = 'failed';
    clear(view.out, h('h3', { text: 'File' }), h('p', { class: 'chip problem', role: 'alert', text: api.said(error) }));
  }
}

function setBusy(view, busy) {
  view.busy = busy;
  const button = view.form.querySelector('.go');
  if (button) button.disabled = busy;
}

async function follow(view) {
  const id = view.current;
  let told;
  try {
    told = await api.get(`/studio/exports/${id}`);
  } catch (error) {
    if (error.status) { view.current = null; setBusy(view, false); toast(api.said(error), { kind: 'error' }); }
    return;
  }
  if (id !== view.current) return;
  if (OVER.has(told.status.state)) {
    view.current = null;
    setBusy(view, false);
    refresh(view).catch(() => {});
  }
  drawResult(view, told, { cancel: () => api.post(`/studio/exports/${id}/cancel`).catch(error => toast(api.said(error), { kind: 'error' })) });
}

async function show(view, id) {
  view.wanted = id;
  try {
    const told = await api.get(`/studio/exports/${id}`);
    if (view.wanted !== id) return;
    drawResult(view, told, {});
    view.out.scrollIntoView({ block: 'nearest' });
  } catch (error) {
    toast(api.said(error), { kind: 'error' });
  }
}
