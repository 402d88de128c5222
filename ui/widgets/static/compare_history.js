// What was drawn before: newest first, a click restores every setting; deleting can be undone.

import * as api from './api.js';
import { h, toast, fmt } from './dom.js';

const PAGE = 24;
const WORDS = { waiting: 'waiting', loading: 'loading', drawing: 'drawing', failed: 'failed', cancelled: 'cancelled', interrupted: 'interrupted' };

export function createHistory(on) { return new History(on); }

class History {
  constructor({ onRestore, onGone }) {
    Object.assign(this, { onGone, onRestore });
    this.list = h('div', { class: 'history-list', role: 'list' });
    this.more = h('button', { class: 'btn quiet more', type: 'button', text: 'more', hidden: true, onclick: () => { this.limit += PAGE; this.refresh(); } });
    this.host = h('section', { class: 'history', hidden: true, 'aria-label': 'History' }, h('h3', { text: 'History' }), this.list, this.more);
    this.limit = PAGE;
    this.current = '';
    this.removing = new Set();
    this.items = [];
    this.drawn = '';
  }

  async refresh() {
    try {
      this.items = await api.get(`/studio/drawings?limit=${this.limit}`);
    } catch (error) {
      console.debug(error);
      return;
    }
    this.render();
  }

  render() {
    const shape = JSON.stringify(this.items.map(i => [i.id, i.state]));
    if (shape !== this.drawn) {
      this.drawn = shape;
      const focused = document.activeElement?.closest?.('.history-item')?.dataset.id;
      this.list.replaceChildren(...this.items.map(item => this.build(item)));
      if (focused) this.list.querySelector(`[data-id="${CSS.escape(focused)}"] .restore`)?.focus();
    }
    this.host.hidden = !this.items.length;
    this.more.hidden = this.items.length < this.limit;
    for (const item of this.list.children) item.querySelector('.restore').setAttribute('aria-current', String(item.dataset.id === this.current));
  }

  build(item) {
    const said = item.text ? item.request.prompt || 'no prompt' : '', when = fmt.time(item.created);
    const what = [said, `seed ${item.request.seed}`, when, item.state === 'finished' ? '' : WORDS[item.state] || item.state].filter(Boolean).join(' · ');
    const face = item.thumbs.length
      ? item.thumbs.map((url, i) => h('img', { src: url, alt: '', loading: 'lazy', class: i ? 'adapted' : item.thumbs.length > 1 ? 'base' : '' }))
      : [h('span', { class: 'state', text: WORDS[item.state] || '–' })];
    const restore = h('button', { class: 'restore', type: 'button', title: item.error ? `${what}\n${item.error}` : what, 'aria-label': `Restore: ${what}`, onclick: () => this.onRestore(item.id) }, face);
    restore.addEventListener('keydown', event => {
      const way = { ArrowRight: 'nextElementSibling', ArrowLeft: 'previousElementSibling' }[event.key];
      if (way) { event.preventDefault(); event.currentTarget.parentElement[way]?.querySelector('.restore').focus(); }
      if (event.key === 'Delete') this.remove(item);
    });
    const bin = h('button', { class: 'bin', type: 'button', text: '✕', title: 'Delete', 'aria-label': `Delete: ${what}`, onclick: () => this.remove(item) });
    return h('div', { class: 'history-item', role: 'listitem', dataset: { id: item.id, state: item.state } }, restore, bin);
  }

  async remove(item) {
    if (this.removing.has(item.id)) return;
    this.removing.add(item.id);
    const path = `/studio/drawings/${encodeURIComponent(item.id)}`;
    try {
      const told = await api.del(path);
      await this.refresh();
      if (!told.trash) return;
      this.onGone(item.id);
      toast('Drawing deleted.', {
        kind: 'undo',
        action: async () => {
          try { await api.post(`/studio/trash/${encodeURIComponent(told.trash)}/restore`); } catch (error) { toast(api.said(error), { kind: 'error' }); }
          this.refresh();
        },
      });
    } catch (error) {
      toast(api.said(error), { kind: 'error' });
    } finally {
      this.removing.delete(item.id);
    }
  }

  mark(id) {
    this.current = id;
    this.render();
  }
}
