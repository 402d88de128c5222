// The head of every screen: name, what runs now, what the machine has left. Always the truth, asked once a second.

import * as api from './api.js';
import * as place from './place.js';
import { h, clear, toast, fmt } from './dom.js';
import * as shortcuts from './shortcuts.js';

const PATIENCE_MS = 10000; // what is told here is either true or said to be unknown
const STATES = { starting: 'starting', preparing: 'preparing', running: 'step', finishing: 'finishing', parked: 'holding for pictures', queued: 'queued' };

export function mount({ root, trigger }) {
  window.studio = Object.assign(window.studio || {}, { place, api, toast });
  place.setOpener(tab => { window.studio.tab = tab; trigger('open_tab', {}); });
  const strip = h('div', { class: 'strip', role: 'status', 'aria-live': 'off' });
  const machine = h('span', { class: 'machine mono' });
  const leave = h('button', { class: 'btn quiet', type: 'button', text: 'Log out', hidden: true, onclick: logOut });
  root.replaceChildren(
    h('header', {},
      h('a', { class: 'brand', href: '/', 'aria-label': 'Domain Studio' }, h('img', { src: '/studio/static/logo.svg', alt: '', width: 24, height: 24 }), h('strong', { text: 'Domain Studio' })),
      h('span', { class: 'spring' }),
      machine,
      h('button', { class: 'btn quiet', type: 'button', title: 'Dark or light', 'aria-label': 'Switch between dark and light', text: '◐', onclick: switchLook }),
      leave,
      h('button', { class: 'btn quiet', type: 'button', title: 'Keyboard shortcuts (?)', 'aria-label': 'Keyboard shortcuts', text: '?', onclick: shortcuts.show })),
    strip);
  shortcuts.install();
  import('./dataset_drop.js').then(m => m.install()).catch(error => console.debug(error));
  const view = { strip, machine, leave, shown: '' };
  let isLost = false;
  window.addEventListener('studio:lost', ({ detail }) => { isLost = true; toast(detail, { kind: 'error' }); });
  api.poll(async () => {
    try {
      draw(view, await api.get('/studio/status', PATIENCE_MS));
      root.dataset.state = 'ready';
      if (isLost) window.dispatchEvent(new CustomEvent('studio:back'));
      isLost = false;
    } catch (error) {
      isLost = true;
      root.dataset.state = 'error';
      view.shown = '';
      clear(strip, h('span', { class: 'chip problem', text: api.said(error) }));
    }
  }, 1000, root);
}

async function logOut() {
  try {
    await fetch('/studio/logout', { method: 'POST' });
    location.href = '/';
  } catch {
    toast('Not logged out: the studio does not answer.', { kind: 'error' });
  }
}

function switchLook() {
  const dark = !document.documentElement.classList.contains('dark') && !document.body.classList.contains('dark');
  localStorage.setItem('studio.look', dark ? 'dark' : 'light');
  for (const element of [document.documentElement, document.body]) element.classList.toggle('dark', dark);
  const url = new URL(location.href);
  url.searchParams.set('__theme', dark ? 'dark' : 'light');
  history.replaceState(history.state, '', url);
}

function draw(view, status) {
  const { machine: facts, memory } = status;
  const device = facts ? `${facts.name || facts.device}${facts.device === 'cpu' && facts.cores ? ` ${facts.cores}×` : ''}` : '';
  view.leave.hidden = !status.login;
  view.machine.textContent = [device, `RAM ${(memory.used / 2 ** 30).toFixed(1)}/${Math.round(memory.total / 2 ** 30)} GiB`].filter(Boolean).join(' · ');
  const shape = JSON.stringify([status.runs.map(r => [r.run, r.state]), status.queue, status.workspace.error, status.imports?.map(i => i.id), status.resident?.state, Boolean(status.resident?.queue)]);
  if (shape !== view.shown) {
    view.shown = shape;
    clear(view.strip, parts(status));
  }
  for (const run of status.runs) refresh(view.strip, run);
  const drawing = view.strip.querySelector('[data-doing]');
  if (drawing) drawing.textContent = [status.resident.doing, status.resident.note].filter(Boolean).join(', ');
  for (const job of status.imports || []) {
    const element = view.strip.querySelector(`[data-import="${CSS.escape(job.id)}"]`);
    if (element) element.textContent = importing(job);
  }
}

// What an import does now: only what is counted has a number.
function importing(job) {
  if (job.state === 'choosing') return 'An import waits for your choices';
  if (job.state === 'receiving') return 'Receiving files';
  return `${job.state === 'looking' ? 'Looking into files' : 'Reading pictures'} ${job.done}/${job.total || '…'}`;
}

function parts(status) {
  if (status.workspace.error) return [h('span', { class: 'chip problem', role: 'alert', text: status.workspace.error })];
  const items = status.runs.map(run => h('div', { class: 'job', dataset: { run: run.run } },
    h('a', { class: 'name', href: `?tab=train&run=${encodeURIComponent(run.run)}`, text: run.run, onclick: event => { event.preventDefault(); place.open('train', { run: run.run }, place.LOOK); } }),
    h('span', { class: 'what mono' }),
    h('span', { class: 'bar', 'aria-hidden': 'true' }, h('span', { class: 'fill' })),
    h('span', { class: 'pace mono muted' }),
    h('button', { class: 'btn quiet', type: 'button', title: 'Stop after this step; it can be resumed', text: 'Stop', onclick: event => stop(run.run, event.target) })));
  if (status.imports?.length) items.push(...status.imports.map(job => h('span', { class: 'chip', dataset: { import: job.id } })));
  if (status.resident?.state === 'starting' && status.resident.queue) items.push(h('span', { class: 'chip adapted', text: 'Getting ready to draw and write' }));
  if (['busy', 'waiting'].includes(status.resident?.state)) items.push(h('span', { class: 'chip adapted', dataset: { doing: '' } }));
  if (status.queue) items.push(h('span', { class: 'chip', text: `queue: ${status.queue}` }));
  return items.length ? items : [h('span', { class: 'muted', text: 'Idle. Drop images anywhere to start.' })];
}

function refresh(strip, run) {
  const job = strip.querySelector(`[data-run="${CSS.escape(run.run)}"]`);
  if (!job) return;
  const at = run.state === 'running' || run.state === 'parked';
  job.querySelector('.what').textContent = at ? `${STATES[run.state]} ${run.step}/${run.steps ?? '?'}` : STATES[run.state] || run.state;
  job.querySelector('.fill').style.width = `${run.steps ? Math.min(100, 100 * run.step / run.steps) : 0}%`;
  job.querySelector('.pace').textContent = run.speed && at ? `${fmt.number(run.speed, 2)} it/s · ${fmt.seconds(run.seconds_left)} left` : '';
}

async function stop(run, button) {
  button.disabled = true;
  try {
    await api.post(`/studio/runs/${encodeURIComponent(run)}/stop`);
    button.textContent = 'Stopping';
  } catch (error) {
    toast(api.said(error), { kind: 'error' });
    button.disabled = false;
  }
}
