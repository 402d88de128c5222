// Sending files to the studio, four at a time, and following how they are read; one import after the other.

import * as api from './api.js';
import * as place from './place.js';
import { clear, fmt, h } from './dom.js';
import { ask } from './dataset_choices.js';
import { announce, importing, labelOf, openDataset } from './dataset_state.js';

const AT_ONCE = 4, KEY = 'studio.import';
const ARCHIVE = /\.(zip|cbz)$/i; // read by the studio, picture by picture
const SCAN = /\.(parquet|dcm|dicom|ima|nii|nii\.gz|tiff?|gtiff?|btf|tf8|jp2|j2k|img|hdr)$|(^|\/)[^./]+$/i; // may be scans or scenes: looked into before they are read
const NEVER_READ = /(?<!\.nii)\.(7z|rar|tar|t?gz|bz2|xz|mp4|mov|avi|mkv|webm|wmv|mpe?g|m4v|iso|exe|dmg|safetensors|ckpt)$/i; // told by their first bytes
let line = Promise.resolve(), waiting = 0, current = null;

// Import what was found, [{file, path}], after whatever is under way; into the dataset that is open then.
export function add(found) {
  if (!found.length) { show({ state: 'failed', error: 'There are no files in what was dropped.' }); return; }
  waiting += 1;
  line = line.then(async () => {
    waiting -= 1;
    try {
      await run(found);
    } catch (error) {
      fail(error);
    }
  });
  if (current) draw();
}

// Import a file or folder of this machine by its path; StudioErrors are thrown.
export async function addPath(path) {
  const started = openDataset();
  const made = await api.post('/studio/imports', { dataset: started || null, path, alpha_masks: importing.alphaMasks });
  const job = { id: made.id, started, refused: [], requests: new Set(), cancelled: false, looking: made };
  line = line.then(async () => {
    current = job;
    sessionStorage.setItem(KEY, job.id);
    try {
      const choices = await choose(job);
      if (job.cancelled) return;
      await api.post(`/studio/imports/${job.id}/finish`, { choices });
      await follow(job);
    } catch (error) {
      fail(error);
    }
  });
}

// After a reload: an import that this page began goes on being told.
export async function resume() {
  const id = sessionStorage.getItem(KEY);
  if (!id) return;
  try {
    const state = await api.get(`/studio/imports/${id}`);
    if (state.state === 'reading') {
      current = { id, started: openDataset(), refused: [] };
      const job = current;
      line = line.then(() => follow(job).catch(fail));
      return;
    }
    if (state.state === 'finished') { current = { id, started: openDataset(), refused: [] }; end(state); }
  } catch { /* the studio was started anew: nothing to tell */ }
  sessionStorage.removeItem(KEY);
}

async function run(found) {
  const started = openDataset();
  const made = await create(started, found);
  const limits = made.limits, refused = [];
  let files = found.filter(each => each.file || (refused.push({ file: each.path, reason: each.reason }), false));
  if (files.length > limits.files) {
    refused.push({ file: `${files.length - limits.files} files`, reason: `more than ${limits.files} in one import: drop them afterwards` });
    files = files.slice(0, limits.files);
  }
  const bytes = files.reduce((sum, { file }) => sum + file.size, 0);
  const job = current = { id: made.id, started, refused, sending: true, sent: 0, files: files.length, bytes, sentBytes: 0, requests: new Set(), cancelled: false };
  sessionStorage.setItem(KEY, made.id);
  draw();
  await sendAll(job, files, limits);
  if (job.cancelled) return;
  job.sending = false;
  if (refused.length && refused.length >= found.length) {
    await api.del(`/studio/imports/${made.id}`).catch(() => null);
    const reasons = [...new Set(refused.map(each => each.reason))];
    end({ state: 'failed', error: reasons.length === 1 && refused.length > 1 ? `None of these files could be taken: ${reasons[0]}` : 'None of these files could be taken.', skipped: [] });
    return;
  }
  const choices = files.some(({ path }) => SCAN.test(path) || ARCHIVE.test(path)) ? await choose(job) : {};
  if (job.cancelled) return;
  await api.post(`/studio/imports/${made.id}/finish`, { choices });
  await follow(job);
}

// Have the studio look into scans and scenes; what the person chooses of them, nothing where there are none.
async function choose(job) {
  let state = await api.post(`/studio/imports/${job.id}/look`);
  while (state.state === 'looking' && !job.cancelled) {
    job.looking = state;
    draw();
    await new Promise(resolve => setTimeout(resolve, 250));
    state = await api.get(`/studio/imports/${job.id}`);
  }
  job.looking = null;
  if (state.state === 'failed') throw new Error(state.error);
  if (state.state !== 'choosing' || job.cancelled) return {};
  job.sending = true; // until it is decided, leaving the page gives it up
  job.choosing = true;
  draw();
  const choices = await ask(job.id, state.look);
  job.sending = job.choosing = false;
  if (choices === null) await cancel();
  return choices || {};
}

async function create(dataset, found) {
  const tops = new Set(found.map(({ path }) => (path.includes('/') ? path.split('/')[0] : '')));
  const only = found.length === 1 && ARCHIVE.test(found[0].path) ? found[0].path.replace(ARCHIVE, '') : null;
  const name = only || (tops.size === 1 ? [...tops][0] || null : null);
  try {
    return await api.post('/studio/imports', { dataset: dataset || null, name, alpha_masks: importing.alphaMasks });
  } catch (error) {
    if (!dataset || error.status !== 400) throw error;
    const list = await api.get('/studio/datasets');
    if (list.some(each => each.dataset === dataset)) throw error;
    return api.post('/studio/imports', { dataset: null, name, alpha_masks: importing.alphaMasks }); // the open one was deleted meanwhile
  }
}

async function sendAll(job, files, limits) {
  const left = [...files];
  let stopped = null;
  async function sender() {
    while (left.length && !stopped && !job.cancelled) {
      const { file, path } = left.shift();
      try {
        await sendOne(job, file, path, limits);
      } catch (error) {
        if (error.final) stopped = error;
        else job.refused.push({ file: path, reason: error.message.startsWith(`${file.name}: `) ? error.message.slice(file.name.length + 2) : api.said(error) });
      }
      job.sent += 1;
      draw();
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, sender));
  if (stopped && !job.cancelled) {
    await api.del(`/studio/imports/${job.id}`).catch(() => null);
    throw stopped;
  }
}

async function sendOne(job, file, path, limits) {
  const isForeign = NEVER_READ.test(file.name);
  const limit = ARCHIVE.test(file.name) || SCAN.test(file.name) ? limits.archive_bytes : limits.file_bytes;
  if (file.size > limit && !isForeign) throw new Error(`is ${fmt.bytes(file.size)}, more than ${limit / 2 ** 20} MiB: export it smaller`);
  const body = isForeign ? file.slice(0, 4096) : file;
  const answer = await request(job, body, path);
  if (answer.ok) return;
  if (answer.status) {
    const state = await api.get(`/studio/imports/${job.id}`).catch(error => ({ state: 'gone', error: api.said(error) }));
    throw Object.assign(new Error(state.state === 'receiving' ? answer.error : state.error || answer.error), { final: state.state !== 'receiving' || answer.status === 507 });
  }
  await api.get('/studio/health').catch(error => { throw Object.assign(error, { final: true }); });
  if (!job.cancelled) throw new Error('could not be read: is it still there?');
}

// One file in one request, with its progress; {ok, status, error}, status 0 where nothing came back.
function request(job, body, path) {
  return new Promise(resolve => {
    const http = new XMLHttpRequest();
    let counted = 0;
    const count = bytes => { job.sentBytes += bytes - counted; counted = bytes; };
    job.requests.add(http);
    http.open('PUT', `/studio/imports/${job.id}/files?name=${encodeURIComponent(path.toWellFormed?.() ?? path)}`);
    http.upload.onprogress = event => { count(event.loaded); drawSoon(); };
    http.onloadend = () => {
      job.requests.delete(http);
      count(body.size);
      let error = `The studio refused this (${http.status}).`;
      try { error = JSON.parse(http.responseText).error || error; } catch { /* no answer */ }
      resolve({ ok: http.status >= 200 && http.status < 300, status: http.status, error });
    };
    http.send(body);
  });
}

async function follow(job) {
  for (;;) {
    const state = await api.get(`/studio/imports/${job.id}`);
    if (job.cancelled) return;
    job.state = state;
    if (state.state !== 'reading') { end(state); return; }
    draw();
    await new Promise(resolve => setTimeout(resolve, document.hidden ? 1500 : 300));
  }
}

async function cancel() {
  const job = current;
  if (!job) return;
  job.cancelled = true;
  for (const http of job.requests || []) http.abort();
  let state = { state: 'cancelled' };
  try {
    state = await api.del(`/studio/imports/${job.id}`);
    while (['reading', 'looking'].includes(state.state)) {
      await new Promise(resolve => setTimeout(resolve, 200));
      state = await api.get(`/studio/imports/${job.id}`);
    }
  } catch { /* the studio is gone: nothing was added */ }
  // Too late to cancel: it was in place already, and is told as such.
  end(state.state === 'finished' ? state : { state: 'cancelled', skipped: [] });
}

function end(state) {
  const job = current;
  current = null;
  sessionStorage.removeItem(KEY);
  if (state.state === 'finished') {
    if ((job?.started || '') === openDataset()) place.set({ dataset: state.dataset });
    announce(state.dataset, true);
  }
  show({ ...state, skipped: [...(job?.refused || []), ...(state.skipped || [])] });
}

function fail(error) {
  end({ state: 'failed', error: api.said(error), skipped: [] });
}

window.addEventListener('pagehide', () => {
  if (current?.sending || current?.looking) fetch(`/studio/imports/${current.id}`, { method: 'DELETE', keepalive: true });
});

// ---- what the person sees -------------------------------------------------------------------------------------------------

let drawn = 0;

function drawSoon() {
  if (performance.now() - drawn > 100) draw();
}

function panel() {
  let element = document.getElementById('dataset-import');
  if (!element) {
    element = h('section', { id: 'dataset-import', class: 'dataset-import panel', role: 'status', 'aria-label': 'Import' });
    document.body.append(element);
  }
  return element;
}

function draw() {
  if (!current) return;
  drawn = performance.now();
  const element = panel(), job = current, state = job.state;
  if (!element.querySelector('.fill')) {
    clear(element, h('p', { class: 'what' }), h('span', { class: 'bar' }, h('span', { class: 'fill' })), h('p', { class: 'more muted' }),
      h('div', { class: 'row end' }, h('button', { class: 'btn', type: 'button', text: 'Cancel', onclick: cancel })));
  }
  element.dataset.state = job.sending ? 'sending' : 'reading';
  const share = job.sending ? (job.bytes ? job.sentBytes / job.bytes : job.sent / job.files) : state?.total ? state.done / state.total : 0;
  const queue = waiting ? ` · ${waiting} more waiting` : '';
  const step = job.choosing ? 'Choose what to take from the scans and scenes' : job.looking ? `Looking into ${job.looking.done} of ${job.looking.total || '…'} files` : null;
  element.querySelector('.what').textContent = step ? step : job.sending ? `Sending ${job.sent} of ${job.files} files` : `Reading ${state?.done ?? 0} of ${state?.total || '…'} pictures`;
  element.querySelector('.more').textContent = (job.sending
    ? job.bytes === undefined ? '' : `${fmt.bytes(job.sentBytes)} of ${fmt.bytes(job.bytes)}` // what is read by its path is not sent
    : [state?.file, state?.seconds_left != null ? `${fmt.seconds(state.seconds_left)} left` : ''].filter(Boolean).join(' · ')) + queue;
  element.querySelector('.fill').style.width = `${Math.min(100, 100 * share).toFixed(1)}%`;
}

function show(state) {
  const element = panel(), skipped = state.skipped || [];
  const close = h('button', { class: 'btn quiet', type: 'button', text: 'Close', onclick: () => element.remove() });
  const go = state.state === 'finished' && (place.get().tab || 'dataset') !== 'dataset'
    ? h('button', { class: 'btn', type: 'button', text: 'Show', onclick: () => { element.remove(); place.open('dataset', { dataset: state.dataset }); } }) : null;
  const list = h('details', {}, h('summary', { text: skipped.length === 1 ? '1 file was not taken' : `${skipped.length} files were not taken` }),
    h('ul', {}, skipped.slice(0, 500).map(each => h('li', {}, h('strong', { text: each.file }), ` ${each.reason}`)),
      skipped.length > 500 ? h('li', { text: `and ${skipped.length - 500} more` }) : null));
  list.open = skipped.length > 0 && skipped.length <= 3;
  element.dataset.state = state.state;
  clear(element, h('p', { class: state.state === 'failed' ? 'what problem' : 'what', role: state.state === 'failed' ? 'alert' : null, text: words(state) }),
    skipped.length ? list : null, h('div', { class: 'row end' }, go, close));
  if (state.state === 'cancelled' || (state.state === 'finished' && !skipped.length)) setTimeout(() => { if (element.dataset.state === state.state) element.remove(); }, 8000);
}

function words(state) {
  if (state.state === 'failed') return state.error;
  if (state.state === 'cancelled') return state.error || 'Cancelled: nothing was added.';
  const what = `${state.added} ${state.added === 1 ? 'picture' : 'pictures'}`;
  return state.added ? `Added ${what} to ${state.name || labelOf(state.dataset)}.` : `Nothing new for ${state.name || labelOf(state.dataset)}.`;
}
