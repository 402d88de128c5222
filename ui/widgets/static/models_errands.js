// Errands of the Models screen: a model by its hub id, and merging; each shows how far it is and can be stopped.

import * as api from './api.js';
import { h, clear, toast, fmt } from './dom.js';

// One errand: started, followed until it is over, stopped by its button.
export class Errand {
  constructor(kind, { told = () => {}, words = state => state.note } = {}) {
    this.kind = kind;
    this.told = told;
    this.words = words;
    this.note = h('span', { class: 'muted note-text' });
    this.progress = h('progress', { 'aria-label': `How far the ${kind} is` });
    this.bar = h('div', { class: 'row errand', hidden: true, role: 'status' }, this.progress, this.note,
      h('button', { class: 'btn quiet', type: 'button', text: 'Stop', 'aria-label': `Stop the ${kind}`, onclick: () => this.stop() }));
  }

  async start(path, body) {
    this.show(await api.post(path, body));
    this.follow();
  }

  async stop() {
    try {
      this.show({ ...await api.post(`/studio/models/errands/${this.kind}/stop`), asked: true });
    } catch (error) {
      toast(api.said(error), { kind: 'error' });
    }
  }

  // One that is at work already, begun before this was shown.
  async join() {
    try {
      const state = await api.get(`/studio/models/errands/${this.kind}`);
      if (state.state === 'running') { this.show(state); this.follow(); }
    } catch { /* it is said when it is begun */ }
  }

  follow() {
    this.polling?.stop();
    const mine = this.polling = api.poll(async () => {
      const state = await api.get(`/studio/models/errands/${this.kind}`);
      if (this.polling === mine) this.show(state); // not an answer about the one before
    }, 300, this.bar);
  }

  show(state) {
    const running = state.state === 'running';
    this.bar.hidden = !running;
    if (state.total) { this.progress.max = state.total; this.progress.value = state.done; } else this.progress.removeAttribute('value');
    this.note.textContent = this.words(state) || '';
    if (!running) this.polling?.stop();
    if (running || !this.over || JSON.stringify(state) !== this.over) this.told(state);
    this.over = running ? '' : JSON.stringify(state);
  }
}

// A model or a captioner by its hub id: what it costs and asks is told first; only then it can be fetched. `known`: ids that are offered.
export function hubPanel(refresh, { kind = 'model', known = [] } = {}) {
  const list = h('datalist', { id: `hub-ids-${kind}` }, known.map(each => h('option', { value: each.hub_id, text: each.title })));
  const id = h('input', { class: 'studio-input', 'aria-label': 'Hub id', placeholder: known[0]?.hub_id || 'AUTHOR/NAME', list: list.id, spellcheck: 'false', autocomplete: 'off' });
  const token = h('input', { class: 'studio-input', type: 'password', 'aria-label': 'Token', placeholder: 'Token, for gated models (kept nowhere)', autocomplete: 'off' });
  const said = h('div', { class: 'said', role: 'status' });
  const body = fetch => ({ id: id.value.trim(), token: token.value, kind, fetch });
  const errand = new Errand(kind === 'model' ? 'fetch' : kind, {
    words: state => (state.total ? `${fmt.bytes(state.done)} of ${fmt.bytes(state.total)}` : 'asking the hub'),
    told: state => {
      if (state.state === 'told') {
        clear(said, h('p', { text: `${state.id}: licence ${state.licence}; ${state.files.length} files, ${fmt.bytes(state.size_bytes)}.${state.gated ? ` ${state.gated}.` : ''}` }),
          h('button', { class: 'btn', type: 'button', text: 'Fetch it', onclick: () => begin(true, { id: state.id }) })); // what was told, whatever is typed by now
      } else if (state.state === 'finished') {
        clear(said, h('p', { class: 'good', text: `Fetched: ${state.path}` }));
        refresh(state.path);
      } else if (state.state === 'failed') clear(said, h('p', { class: 'wrong', role: 'alert', text: state.error }));
      else if (state.state === 'stopped') clear(said, h('p', { class: 'muted', text: 'Stopped. What has arrived is kept for the next try.' }));
      else clear(said);
    },
  });
  async function begin(fetch, told = {}) {
    try {
      await errand.start('/studio/models/fetch', { ...body(fetch), ...told });
    } catch (error) {
      clear(said, h('p', { class: 'wrong', role: 'alert', text: api.said(error) }));
    }
  }
  errand.join();
  return h('section', { class: 'panel hub' }, h('h3', { text: `Get a ${kind} from the hub` }),
    h('p', { class: 'muted', text: 'Licence, gating and size are told first. Only safetensors are fetched, never code; this is the only thing here that goes online.' }),
    h('form', { class: 'row', onsubmit: event => { event.preventDefault(); begin(false); } }, id, token, h('button', { class: 'btn', type: 'submit', text: 'Look' })), list, errand.bar, said);
}

const FEW = 8; // adapters that need no search
const WHAT = { into: 'Into its base, as a new model', together: 'Several adapters as one', resize: 'At a smaller rank' };

// Merging: what, which adapters, and a name; the result is read back and compared before it is there.
export function mergePanel(refresh) { return new MergePanel(refresh).panel; }

class MergePanel {
  constructor(refresh) {
    this.what = h('select', { class: 'studio-input', 'aria-label': 'What to make' }, Object.entries(WHAT).map(([value, text]) => h('option', { value, text })));
    this.list = h('div', { class: 'adapters', role: 'group', 'aria-label': 'Adapters to merge' });
    this.search = h('input', { class: 'studio-input', type: 'search', 'aria-label': 'Search adapters', placeholder: 'Search adapters', oninput: () => this.sift() });
    this.columns = h('div', { class: 'row columns muted', 'aria-hidden': 'true' }, this.search, h('span', { class: 'spring' }), h('span', { class: 'strength', text: 'Strength' }));
    this.base = h('select', { class: 'studio-input', 'aria-label': 'Base' });
    this.rank = h('input', { class: 'studio-input', type: 'number', min: 1, max: 1024, value: 8, 'aria-label': 'Rank' });
    this.name = h('input', { class: 'studio-input', 'aria-label': 'Name of the result', placeholder: 'Name of the result' });
    this.said = h('div', { class: 'said', role: 'status' });
    const go = h('button', { class: 'btn', type: 'submit', text: 'Merge and verify' });
    this.errand = new Errand('merge', {
      words: state => state.note,
      told: state => {
        go.disabled = state.state === 'running';
        if (state.state === 'finished') { clear(this.said, h('p', { class: 'good', text: state.text }), h('p', { class: 'mono path', text: state.path })); refresh(); }
        else if (state.state === 'failed') clear(this.said, h('p', { class: 'wrong', role: 'alert', text: state.error.replace(/^--/, '') }));
        else if (state.state === 'stopped') clear(this.said, h('p', { class: 'muted', text: 'Stopped. Nothing was made.' }));
        else clear(this.said);
      },
    });
    this.panel = h('details', { class: 'panel merge' }, h('summary', {}, h('strong', { text: 'Merge adapters' })),
      h('p', { class: 'muted', text: 'The originals stay as they are; the result goes into your models folder once it has been read back and compared.' }),
      h('form', { onsubmit: event => this.submit(event) }, h('div', { class: 'row' }, this.what, this.base, this.rank, this.name), this.columns, this.list, go), this.errand.bar, this.said);
    const boxes = () => [...this.list.querySelectorAll('[type=checkbox]')];
    const only = one => { if (this.what.value !== 'together' && one?.checked) boxes().filter(box => box !== one).forEach(box => { box.checked = false; }); };
    this.list.onchange = event => { if (event.target.type === 'checkbox') only(event.target); };
    this.what.onchange = () => { this.rank.hidden = this.what.value !== 'resize'; only(boxes().find(box => box.checked)); };
    this.what.onchange();
    this.panel.refill = () => { if (this.panel.open) this.fill(); };
    this.panel.addEventListener('toggle', this.panel.refill);
  }

  // What there is now; what was chosen and is still there stays chosen.
  async fill() {
    let adapters, models;
    try {
      [adapters, { models }] = await Promise.all([api.get('/studio/models/adapters'), api.get('/studio/models')]);
    } catch (error) {
      return clear(this.said, h('p', { class: 'wrong', role: 'alert', text: api.said(error) }));
    }
    const chosen = this.base.value, rows = new Map([...this.list.querySelectorAll('label')].map(row => [row.querySelector('[type=checkbox]').value, row]));
    clear(this.base, h('option', { value: '', text: "The run's base" }), models.filter(m => m.usable).map(m => h('option', { value: m.source, text: m.title })));
    this.base.value = models.some(m => m.usable && m.source === chosen) ? chosen : '';
    clear(this.list, adapters.length ? adapters.map(a => rows.get(a.source) || h('label', { class: 'row' },
      h('input', { type: 'checkbox', value: a.source, 'aria-label': a.label }), h('span', { text: a.label }), h('span', { class: 'muted', text: a.what }),
      h('input', { class: 'studio-input strength', type: 'number', step: 0.05, value: 1, 'aria-label': `Strength of ${a.label}` })))
      : h('p', { class: 'muted', text: 'No adapters yet: train one, or add a folder that holds some.' }));
    this.search.hidden = adapters.length <= FEW;
    this.columns.hidden = !adapters.length;
    this.sift();
  }

  // What the search leaves; what is chosen is always there.
  sift() {
    const words = this.search.hidden ? [] : this.search.value.trim().toLowerCase().split(/\s+/);
    for (const row of this.list.querySelectorAll('label')) {
      const text = row.textContent.toLowerCase();
      row.hidden = !row.querySelector('[type=checkbox]').checked && !words.every(word => text.includes(word));
    }
  }

  async submit(event) {
    event.preventDefault();
    const adapters = [...this.list.querySelectorAll('label')].filter(l => l.querySelector('[type=checkbox]').checked)
      .map(l => ({ source: l.querySelector('[type=checkbox]').value, strength: Number(l.querySelector('.strength').value) }));
    if (!adapters.length) return clear(this.said, h('p', { class: 'wrong', role: 'alert', text: 'Choose an adapter above.' }));
    try {
      await this.errand.start('/studio/models/merge', { what: this.what.value, adapters, base: this.base.value, rank: Number(this.rank.value), name: this.name.value.trim() || 'merged' });
    } catch (error) {
      clear(this.said, h('p', { class: 'wrong', role: 'alert', text: api.said(error) }));
    }
  }
}
