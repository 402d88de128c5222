// The models and adapters on this machine: what each is, its size, licence, whether it fits, what to do; filtered and searched; places to look in.

import * as api from './api.js';
import * as place from './place.js';
import { Errand, hubPanel, mergePanel } from './models_errands.js';
import { h, clear, single, toast, confirm, fmt } from './dom.js';

const KINDS = { adapter: 'adapter', embedding: 'embedding', vae: 'VAE alone', text_encoder: 'text encoder alone', controlnet: 'ControlNet' };
const PARTS = ['vae', 'text_encoder', 'controlnet', 'other'];
const FILTERS = { // label -> which models
  All: () => true,
  'Can be trained on': model => model.usable,
  Adapters: model => ['adapter', 'embedding'].includes(model.kind),
  'Parts of models': model => !model.usable && PARTS.includes(model.kind),
  'Cannot be used': model => !model.usable && !PARTS.includes(model.kind) && !['adapter', 'embedding'].includes(model.kind),
};
const FEW = 6; // models that need no filter

export function mount({ root }) { new ModelsList(root); }

class ModelsList {
  constructor(root) {
    this.root = root;
    this.models = [];
    this.filter = 'All';
    this.field = h('input', { class: 'studio-input', 'aria-label': 'Folder or file to add', placeholder: 'Folder with models, or one .safetensors file', spellcheck: 'false', autocomplete: 'off' });
    this.add = h('button', { class: 'btn', type: 'submit', text: 'Add' });
    this.wrong = h('p', { class: 'wrong', role: 'alert' });
    this.list = h('ul', { class: 'cards' });
    this.others = h('ul', { class: 'cards others' });
    this.none = h('p', { class: 'muted', hidden: true });
    this.places = h('ul', { class: 'places' });
    this.problem = h('p', { class: 'chip problem', role: 'alert', hidden: true });
    this.memory = h('p', { class: 'muted' });
    this.scan = new Errand('scan', { words: state => (state.note ? `Looking at ${state.note}` : 'Looking through the places'), told: state => this.onScan(state) });
    this.search = h('input', { class: 'studio-input', type: 'search', 'aria-label': 'Search models', placeholder: 'Search names, kinds and places', oninput: () => this.show() });
    this.filters = h('div', { class: 'seg', role: 'radiogroup', 'aria-label': 'Which models' });
    this.bar = h('div', { class: 'row sift' }, this.filters, this.search);
    this.where = h('details', { class: 'panel where' }, h('summary', {}, h('strong', { text: 'Add a folder' })),
      h('p', { class: 'muted', text: 'A folder that your models lie in (also one of another program), or one .safetensors file. Nothing is copied, moved or loaded by that.' }),
      h('form', { class: 'row', onsubmit: event => this.addPlace(event) }, this.field, this.add), this.wrong, this.places);
    this.merge = mergePanel(() => this.refresh());
    const hub = h('details', { class: 'panel' }, h('summary', {}, h('strong', { text: 'Get from the hub' })), hubPanel(() => this.refresh()));
    clear(root,
      h('div', { class: 'row top' }, this.memory, h('span', { class: 'spring' }), h('button', { class: 'btn quiet', type: 'button', text: 'Look again', title: 'Look through all places again', onclick: () => this.refresh(true) })),
      h('div', { class: 'actions' }, this.where, hub, this.merge), this.scan.bar, this.problem, this.bar, this.none, this.list, this.others);
    window.addEventListener('studio:back', () => { if (root.dataset.state === 'error') this.refresh(); });
    new IntersectionObserver(seen => { if (seen.some(s => s.isIntersecting)) this.refresh(); }).observe(root);
  }

  // Look through all places; `again`: from the beginning, also where a look is at work, which may have passed by what has changed.
  async refresh(again = false) {
    this.root.dataset.state = 'busy';
    try {
      this.draw(await api.get('/studio/models'));
      await this.scan.start('/studio/models/scan', { again });
    } catch (error) {
      this.fail(api.said(error));
    }
  }

  async onScan(state) {
    if (state.state === 'running') return;
    if (state.state === 'failed') return this.fail(state.error);
    try {
      this.draw(await api.get('/studio/models'));
      this.problem.textContent = 'Stopped before all places were looked through: press “Look again” to do it.';
      this.problem.hidden = !state.asked;
      this.problem.classList.toggle('problem', false);
      this.root.dataset.state = 'ready';
    } catch (error) {
      this.fail(api.said(error));
    }
  }

  fail(text) {
    this.problem.textContent = text;
    this.problem.classList.toggle('problem', true);
    this.problem.hidden = false;
    this.root.dataset.state = 'error';
  }

  draw({ models, places, memory }) {
    const text = JSON.stringify([models, places]);
    this.memory.textContent = `${memory.free_gib.toFixed(1)} of ${memory.total_gib.toFixed(1)} GiB of memory are free on ${memory.where}.`;
    if (text === this.told) return;
    this.told = text;
    this.models = models;
    if (!places.length && !this.hasDrawn) this.where.open = true;
    this.hasDrawn = true;
    this.show();
    this.merge.refill();
    this.root.dispatchEvent(new CustomEvent('models', { detail: models }));
    clear(this.places, places.map(one => h('li', { class: 'row' },
      h('span', { class: 'mono path', text: one.path }),
      h('span', { class: one.note ? 'note' : 'muted', text: [one.models || !one.note ? `${one.models} model${one.models === 1 ? '' : 's'}` : '', one.note].filter(Boolean).join('; ') }),
      h('button', { class: 'btn quiet', type: 'button', text: 'Remove', 'aria-label': `Remove ${one.path}`, onclick: () => this.removePlace(one.path) }))));
  }

  // What the filter and the search leave: models to train on as cards, all else below them in few lines.
  show() {
    const found = this.search.value.trim().toLowerCase(), text = model => [model.title, model.source, model.what, model.family, model.reason, model.path, KINDS[model.kind]].join(' ').toLowerCase();
    const named = this.models.filter(model => !found || found.split(/\s+/).every(word => text(model).includes(word)));
    this.bar.hidden = this.models.length <= FEW;
    if (this.bar.hidden) this.filter = 'All';
    clear(this.filters, Object.entries(FILTERS).map(([label, is]) => h('button', { type: 'button', role: 'radio', 'aria-checked': String(label === this.filter), text: `${label} (${named.filter(is).length})`, onclick: () => { this.filter = label; this.show(); } })));
    const shown = named.filter(FILTERS[this.filter]);
    clear(this.list, shown.filter(m => m.usable).map(model => this.card(model)));
    clear(this.others, shown.filter(m => !m.usable).map(model => this.other(model)));
    this.none.hidden = shown.length > 0 || !this.models.length;
    this.none.textContent = found ? `Nothing here is called “${this.search.value.trim()}”: search for something else.` : 'None of this kind is here: add a folder above.';
  }

  card(model) {
    const fit = model.fits === true ? ['good', 'fits'] : model.fits === false ? ['problem', 'too large'] : ['held-out', model.needs_gib ? 'tight' : 'size unknown'];
    return h('li', { class: 'panel card', dataset: { model: model.source } },
      h('div', { class: 'row head' }, h('strong', { class: 'title', text: model.title }), h('span', { class: `chip ${fit[0]}`, text: fit[1] })),
      h('dl', {},
        [h('dt', { text: 'Family' }), h('dd', { text: model.family })],
        [h('dt', { text: 'Size' }), h('dd', { text: fmt.bytes(model.size_bytes) })],
        model.licence ? [h('dt', { text: 'Licence' }), h('dd', {}, model.licence, model.card ? [' ', h('button', { class: 'linklike', type: 'button', text: 'Model card', 'aria-label': `Model card of ${model.title}`, onclick: () => showCard(model) })] : null)] : [],
        [h('dt', { text: 'Memory' }), h('dd', { text: model.fit })],
        model.fits === false ? [h('dt', { text: 'To do' }), h('dd', { text: model.do })] : [],
        [h('dt', { text: 'Place' }), h('dd', { class: 'mono path', text: model.place === 'embedded' ? 'comes with the studio' : model.path })]),
      h('button', { class: 'btn', type: 'button', text: 'Train on it', 'aria-label': `Train on ${model.title}`, onclick: () => place.open('train', { base: model.source, run: null }) }));
  }

  // What cannot be trained on: what it is, why not, and what to do.
  other(model) {
    const isAdapter = FILTERS.Adapters(model), isPart = PARTS.includes(model.kind);
    return h('li', { class: 'card unusable', dataset: { model: model.source } },
      h('div', { class: 'row head' }, h('strong', { class: 'title', text: model.title }), h('span', { class: `chip ${isAdapter ? 'adapted' : isPart ? '' : 'problem'}`, text: KINDS[model.kind] || 'cannot be used' })),
      model.what && !(model.reason || '').includes(model.what) || isAdapter || isPart ? h('p', { class: 'muted', text: model.what }) : null,
      isAdapter || isPart ? null : h('p', { class: 'reason', text: model.reason }),
      model.do ? h('p', { class: 'do', text: `What to do: ${model.do}` }) : null,
      h('p', { class: 'muted path mono', text: [fmt.bytes(model.size_bytes), model.licence, model.path].filter(Boolean).join(' · ') }));
  }

  async addPlace(event) {
    event.preventDefault();
    this.wrong.textContent = '';
    this.add.disabled = true;
    const path = this.field.value;
    try {
      await api.post('/studio/models/places', { path });
      if (this.field.value === path) this.field.value = '';
      this.refresh();
    } catch (error) {
      this.wrong.textContent = api.said(error);
    }
    this.add.disabled = false;
  }

  async removePlace(path) {
    if (!await confirm(`Stop looking for models in ${path}? Nothing there is deleted.`, 'Remove')) return;
    try {
      await api.del('/studio/models/places', { path });
    } catch (error) {
      toast(api.said(error), { kind: 'error' });
    }
    this.refresh();
  }
}

const showCard = single(async model => {
  let text;
  try {
    text = (await api.get(`/studio/models/${encodeURIComponent(model.id)}/card`)).text;
  } catch (error) {
    toast(api.said(error), { kind: 'error' });
    return;
  }
  const dialog = h('dialog', { class: 'studio-dialog models-card', 'aria-label': `Model card of ${model.title}` }, h('h3', { text: model.title }), h('pre', { text, tabIndex: 0 }),
    h('div', { class: 'row end' }, h('button', { class: 'btn', type: 'button', text: 'Close', onclick: () => dialog.close() })));
  dialog.addEventListener('close', () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
});
