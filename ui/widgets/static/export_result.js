// What came of an export: progress, what was verified, the file, what it says about itself; and the earlier ones.

import * as api from './api.js';
import { h, clear, toast, fmt } from './dom.js';

const STAGES = { waiting: 'Waiting', loading: 'Loading the base model', writing: 'Writing the file', verifying: 'Reading it back and comparing' };

export function drawResult(view, told, { cancel }) {
  const { state } = told.status;
  const key = JSON.stringify([told.id, state, told.status.progress, told.status.note, told.status.error]);
  if (key === view.shown) return;
  view.shown = key;
  view.out.dataset.export = state;
  if (state === 'finished') clear(view.out, finished(told));
  else if (state === 'cancelled') clear(view.out, h('h3', { text: 'File' }), h('p', { class: 'muted', text: 'Cancelled: nothing was kept.' }));
  else if (state in STAGES) clear(view.out, working(told, cancel));
  else clear(view.out, h('h3', { text: 'File' }), h('p', { class: 'chip problem', role: 'alert', text: told.status.error || 'The export did not succeed: try again.' }));
}

function working({ status }, cancel) {
  return [
    h('h3', { text: 'File' }),
    h('p', { role: 'status', text: `${STAGES[status.state]}${status.note ? `, ${status.note}` : ''} …` }),
    h('div', { class: 'row' },
      h('span', { class: 'bar', 'aria-hidden': 'true' }, h('span', { class: 'fill', style: { width: `${Math.max(5, 100 * (status.progress || 0))}%` } })),
      cancel && h('button', { class: 'btn quiet', type: 'button', text: 'Cancel', onclick: event => { event.target.disabled = true; cancel(); } }))];
}

function finished({ request, result }) {
  return [
    h('p', { class: 'verified', role: 'status' }, h('span', { class: 'chip good', text: '✓ Verified' }), h('strong', { text: result.verified })),
    h('p', { class: 'muted', text: `Read back by plain libraries and compared with what run ${request.run} draws at step ${result.step}. For ${result.readers}.` }),
    h('div', { class: 'row take' },
      h('a', { class: 'btn download', href: result.address, download: result.file, text: `Download ${fmt.bytes(result.size_bytes)}` }),
      h('span', { class: 'mono name', text: result.file })),
    h('dl', { class: 'facts' },
      h('dt', { text: result.unit === 'vectors' ? 'Vectors' : 'Layers' }), h('dd', { class: 'mono', text: `${result.layers} of ${result.expected}` }),
      h('dt', { text: 'Largest difference' }), h('dd', { class: 'mono', text: fmt.number(result.max_difference) }),
      h('dt', { text: 'Effect of the adapter' }), h('dd', { class: 'mono', text: fmt.number(result.effect) }),
      h('dt', { text: 'SHA-256' }), h('dd', { class: 'mono sha' }, result.sha256, ' ', copy(result.sha256))),
    h('details', {}, h('summary', { text: `What the file says about itself (${Object.keys(result.metadata).length})` }),
      h('table', {}, h('tbody', {}, Object.entries(result.metadata).map(([name, value]) =>
        h('tr', {}, h('th', { scope: 'row', class: 'mono', text: name }), h('td', { class: 'mono', text: value })))))),
    h('details', {}, h('summary', { text: 'Model card' }), h('pre', { class: 'mono', tabIndex: 0, text: result.card }))];
}

function copy(text) {
  return h('button', {
    class: 'btn quiet', type: 'button', text: 'Copy', 'aria-label': 'Copy the SHA-256',
    onclick: async () => {
      try { await navigator.clipboard.writeText(text); toast('Copied.'); } catch { toast('This browser does not let pages copy here: select the text.', { kind: 'error' }); }
    },
  });
}

export function drawEarlier(view, rows, { open, refresh }) {
  const key = JSON.stringify(rows);
  if (key === view.rows) return;
  view.rows = key;
  view.earlier.hidden = !rows.length;
  clear(view.earlier, h('h3', { text: 'Earlier exports' }), h('ul', {}, rows.map(row => h('li', { dataset: { id: row.id } },
    h('button', { class: 'btn quiet name', type: 'button', text: row.file || row.run, title: 'Show', onclick: () => open(row.id) }),
    h('span', { class: 'chip', text: row.layout }),
    row.state === 'finished' ? h('span', { class: 'mono muted', text: fmt.bytes(row.size_bytes) })
      : h('span', { class: row.state === 'failed' || row.state === 'interrupted' ? 'chip problem' : 'chip', text: row.state, title: row.error || '' }),
    h('span', { class: 'muted when', text: fmt.time(row.created) }),
    h('span', { class: 'spring' }),
    row.address && h('a', { class: 'btn quiet', href: row.address, download: row.file, 'aria-label': `Download ${row.file}`, text: 'Download' }),
    row.state !== 'waiting' && !(row.state in STAGES) && h('button', {
      class: 'btn quiet', type: 'button', text: 'Delete', 'aria-label': `Delete the export ${row.file || row.run}`, onclick: () => remove(row, refresh),
    })))));
}

async function remove(row, refresh) {
  try {
    const { token } = await api.del(`/studio/exports/${row.id}`);
    toast(`${row.file || row.run} was put into the trash.`, { kind: 'undo', action: () => restore(token, refresh) });
  } catch (error) {
    toast(api.said(error), { kind: 'error' });
  }
  refresh().catch(() => {});
}

async function restore(token, refresh) {
  try { await api.post(`/studio/trash/${token}/restore`); } catch (error) { toast(api.said(error), { kind: 'error' }); }
  refresh().catch(() => {});
}
