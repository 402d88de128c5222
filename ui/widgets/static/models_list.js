// The models and adapters on this machine: what each is, its size, licence, whether it fits, what to do; places to look in.

import * as api from './api.js';
import * as place from './place.js';
import { Errand, hubPanel, mergePanel } from './models_errands.js';
import { h, clear, toast, confirm, fmt } from './dom.js';

const KINDS = { adapter: 'adapter', embedding: 'embedding', vae: 'VAE alone', text_encoder: 'text encoder alone', controlnet: 'ControlNet' };

export function mount({ root }) { new ModelsList(root); }

class ModelsList {
  constructor(root) {
    this.root = root;
    this.field = h('input', { class: 'studio-input', 'aria-label': 'Folder or file to add', placeholder: 'Folder with models, or one .safetensors file', spellcheck: 'false', autocomplete: 'off' });
    this.add = h('button', { class: 'btn', type: 'submit', text: 'Add' });
    this.wrong = h('p', { class: 'wrong', role: 'alert' });
    this.list = h('ul', { class: 'cards' });
    this.places = h('ul', { class: 'places' });
    this.problem = h('p', { class: 'chip problem', role: 'alert', hidden: true });
    this.memory = h('p', { class: 'muted' });
    this.scan = new Errand('scan', { told: state => this.onScan(state) });
    clear(root,
      h('div', { class: 'row top' }, this.memory, h('span', { class: 'spring' }), h('button', { class: 'btn quiet', type: 'button', text: 'Look again', title: 'Look through all places again', onclick: () => this.refresh() })),
      this.scan.bar, this.problem, this.list, hubPanel(() => this.refresh()), mergePanel(() => this.refresh()),
      h('section', { class: 'panel' }, h('h3', { text: 'Where models are looked for' }),
        h('p', { class: 'muted', text: 'Add a folder that your models lie in (also one of another program), or one .safetensors file. Nothing is copied, moved or loaded by that.' }),
        h('form', { class: 'row', onsubmit: event => this.addPlace(event) }, this.field, this.add), this.wrong, this.places));
    new IntersectionObserver(seen => { if (seen.some(s => s.isIntersecting)) this.refresh(); }).observe(root);
  }

  async refresh() {
    this.root.dataset.state = 'busy';
    try {
      this.draw(await api.get('/studio/models'));
      await this.scan.start('/studio/models/scan', {});
    } catch (error) {
      this.fail(error.message);
    }
  }

  async onScan(state) {
    if (state.state === 'running') return;
    if (state.state === 'failed') return this.fail(state.error);
    try {
      this.draw(await api.get('/studio/models'));
      this.problem.hidden = true;
      this.root.dataset.state = 'ready';
    } catch (error) {
      this.fail(error.message);
    }
  }

  fail(text) {
    this.problem.textContent = text;
    this.problem.hidden = false;
    this.root.dataset.state = 'error';
  }

  draw({ models, places, memory }) {
    const text = JSON.stringify([models, places]);
    this.memory.textContent = `${memory.free_gib.toFixed(1)} of ${memory.total_gib.toFixed(1)} GiB of memory are free on ${memory.where}.`;
    if (text === this.told) return;
    this.told = text;
    const usableFirst = [...models].sort((a, b) => b.usable - a.usable);
    clear(this.list, usableFirst.map(model => this.card(model)));
    this.root.dispatchEvent(new CustomEvent('models', { detail: models }));
    clear(this.places, places.map(one => h('li', { class: 'row' },
      h('span', { class: 'mono path', text: one.path }),
      h('span', { class: one.note ? 'note' : 'muted', text: [one.models || !one.note ? `${one.models} model${one.models === 1 ? '' : 's'}` : '', one.note].filter(Boolean).join('; ') }),
      h('button', { class: 'btn quiet', type: 'button', text: 'Remove', 'aria-label': `Remove ${one.path}`, onclick: () => this.removePlace(one.path) }))));
  }

  card(model) {
    const fit = model.fits === true ? ['good', 'fits'] : model.fits === false ? ['problem', 'too large'] : ['held-out', model.needs_gib ? 'tight' : 'size unknown'];
    return h('li', { class: `panel card${model.usable ? '' : ' unusable'}`, dataset: { model: model.source } },
      h('div', { class: 'row head' }, h('strong', { class: 'title', text: model.title }), model.usable ? h('span', { class: `chip ${fit[0]}`, text: fit[1] }) : h('span', { class: `chip ${model.kind === 'adapter' || model.kind === 'embedding' ? 'adapted' : 'problem'}`, text: KINDS[model.kind] || 'cannot be used' })),
      model.usable ? null : h('p', { class: 'reason', text: model.reason }),
      h('dl', {},
        model.usable ? [h('dt', { text: 'Family' }), h('dd', { text: model.family })] : [],
        [h('dt', { text: 'Size' }), h('dd', { text: fmt.bytes(model.size_bytes) })],
        model.licence ? [h('dt', { text: 'Licence' }), h('dd', {}, model.licence, model.card ? [' ', h('button', { class: 'linklike', type: 'button', text: 'Model card', 'aria-label': `Model card of ${model.title}`, onclick: () => showCard(model) })] : null)] : [],
        model.what && !model.usable ? [h('dt', { text: 'What' }), h('dd', { text: model.what })] : [],
        model.usable ? [h('dt', { text: 'Memory' }), h('dd', { text: model.fit })] : [],
        [h('dt', { text: 'Place' }), h('dd', { class: 'mono path', text: model.place === 'embedded' ? 'comes with the studio' : model.path })]),
      model.usable
        ? h('button', { class: 'btn', type: 'button', text: 'Train on it', 'aria-label': `Train on ${model.title}`, onclick: () => place.open('train', { base: model.source, run: null }) })
        : model.do ? h('p', { class: 'muted do', text: `What to do: ${model.do}` }) : null);
  }

  async addPlace(event) {
    event.preventDefault();
    this.wrong.textContent = '';
    this.add.disabled = true;
    try {
      await api.post('/studio/models/places', { path: this.field.value });
      this.field.value = '';
      await this.refresh();
    } catch (error) {
      this.wrong.textContent = error.message;
    }
    this.add.disabled = false;
  }

  async removePlace(path) {
    if (!await confirm(`Stop looking for models in ${path}? Nothing there is deleted.`, 'Remove')) return;
    try {
      await api.del('/studio/models/places', { path });
    } catch (error) {
      toast(error.message, { kind: 'error' });
    }
    this.refresh();
  }
}

async function showCard(model) {
  let text;
  try {
    text = (await api.get(`/studio/models/${encodeURIComponent(model.id)}/card`)).text;
  } catch (error) {
    toast(error.message, { kind: 'error' });
    return;
  }
  const dialog = h('dialog', { class: 'studio-dialog models-card', 'aria-label': `Model card of ${model.title}` }, h('h3', { text: model.title }), h('pre', { text, tabIndex: 0 }),
    h('div', { class: 'row end' }, h('button', { class: 'btn', type: 'button', text: 'Close', onclick: () => dialog.close() })));
  dialog.addEventListener('close', () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
