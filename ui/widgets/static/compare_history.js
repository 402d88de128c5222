// What was drawn before: newest first, a click restores every setting; deleting can be undone.

import * as api from './api.js';
import { h, toast, fmt } from './dom.js';

const PAGE = 24;
const WORDS = { waiting: 'waiting', loading: 'loading', drawing: 'drawing', failed: 'failed', cancelled: 'cancelled', interrupted: 'interrupted' };

export function createHistory({ onRestore, onGone }) {
  const list = h('div', { class: 'history-list', role: 'list' });
  const more = h('button', { class: 'btn quiet more', type: 'button', text: 'more', hidden: true, onclick: () => { limit += PAGE; refresh(); } });
  const host = h('section', { class: 'history', hidden: true, 'aria-label': 'History' }, h('h3', { text: 'History' }), list, more);
  let limit = PAGE, current = '', items = [], drawn = '';

  async function refresh() {
    try {
      items = await api.get(`/studio/drawings?limit=${limit}`);
    } catch (error) {
      console.debug(error);
      return;
    }
    render();
  }

  function render() {
    const shape = JSON.stringify(items.map(i => [i.id, i.state]));
    if (shape !== drawn) {
      drawn = shape;
      const focused = document.activeElement?.closest?.('.history-item')?.dataset.id;
      list.replaceChildren(...items.map(build));
      if (focused) list.querySelector(`[data-id="${CSS.escape(focused)}"] .restore`)?.focus();
    }
    host.hidden = !items.length;
    more.hidden = items.length < limit;
    for (const item of list.children) item.querySelector('.restore').setAttribute('aria-current', String(item.dataset.id === current));
  }

  function build(item) {
    const said = item.text ? item.request.prompt || 'no prompt' : '', when = fmt.time(item.created);
    const what = [said, `seed ${item.request.seed}`, when, item.state === 'finished' ? '' : WORDS[item.state] || item.state].filter(Boolean).join(' · ');
    const face = item.thumbs.length
      ? item.thumbs.map((url, i) => h('img', { src: url, alt: '', loading: 'lazy', class: i ? 'adapted' : item.thumbs.length > 1 ? 'base' : '' }))
      : [h('span', { class: 'state', text: WORDS[item.state] || '–' })];
    const restore = h('button', { class: 'restore', type: 'button', title: item.error ? `${what}\n${item.error}` : what, 'aria-label': `Restore: ${what}`, onclick: () => onRestore(item.id) }, face);
    restore.addEventListener('keydown', event => {
      const way = { ArrowRight: 'nextElementSibling', ArrowLeft: 'previousElementSibling' }[event.key];
      if (way) { event.preventDefault(); event.currentTarget.parentElement[way]?.querySelector('.restore').focus(); }
      if (event.key === 'Delete') remove(item);
    });
    const bin = h('button', { class: 'bin', type: 'button', text: '✕', title: 'Delete', 'aria-label': `Delete: ${what}`, onclick: () => remove(item) });
    return h('div', { class: 'history-item', role: 'listitem', dataset: { id: item.id, state: item.state } }, restore, bin);
  }

  async function remove(item) {
    const path = `/studio/drawings/${encodeURIComponent(item.id)}`;
    try {
      const told = await api.del(path);
      await refresh();
      if (!told.trash) return;
      onGone(item.id);
      toast('Drawing deleted.', {
        kind: 'undo',
        action: async () => {
          try { await api.post(`/studio/trash/${encodeURIComponent(told.trash)}/restore`); } catch (error) { toast(error.message, { kind: 'error' }); }
          refresh();
        },
      });
    } catch (error) {
      toast(error.message, { kind: 'error' });
    }
  }

  return { host, refresh, mark(id) { current = id; render(); } };
}
