// A duel is asked for in a dialog: a dataset and two to four recipes; the board then opens with its runs and fills itself.

import * as api from './api.js';
import * as place from './place.js';
import { h, clear, toast } from './dom.js';

const FEWEST = 2, MOST = 4;

export async function openDuel(onStarted) { await new Duel(onStarted).load(); }

class Duel {
  constructor(onStarted) {
    this.onStarted = onStarted;
    this.state = { dataset: place.get().dataset || '', base: 'starter', preset: 'quick', chosen: new Set(), turn: 0 };
    const pick = (name, label) => h('label', { class: 'field' }, h('span', { text: label }), h('select', { class: 'studio-input', name, onchange: event => { this.state[name] = event.target.value; this.load(); } }));
    this.fields = { dataset: pick('dataset', 'Dataset'), base: pick('base', 'Base'), preset: pick('preset', 'Preset') };
    this.noun = h('input', { class: 'studio-input', name: 'noun', maxlength: 80, spellcheck: false, oninput: () => { clearTimeout(this.state.soon); this.state.soon = setTimeout(() => this.plan(), 250); } });
    this.subject = h('label', { class: 'field', hidden: true }, h('span', { text: 'Class noun' }), this.noun, h('small', { class: 'muted', text: 'What your pictures show, in one to three words: dog, teapot. DreamBooth needs it.' }));
    this.list = h('fieldset', { class: 'recipes' });
    this.note = h('p', { class: 'muted note', role: 'status', 'aria-live': 'polite' });
    this.button = h('button', { class: 'btn primary', type: 'submit', text: 'Start duel', disabled: true });
    this.dialog = h('dialog', { class: 'studio-dialog duel', 'aria-label': 'Duel' }, h('form', { onsubmit: event => this.start(event) }, h('div', { class: 'body' }, h('h3', { text: 'Duel' }),
      h('p', { text: 'Two to four recipes learn the same pictures with an equal budget, one after the other. The board opens and fills itself.' }),
      h('div', { class: 'row top' }, Object.values(this.fields)), this.list, this.subject), this.note,
      h('div', { class: 'row end' }, h('button', { class: 'btn', type: 'button', text: 'Cancel', onclick: () => this.dialog.close() }), this.button)));
    this.dialog.addEventListener('close', () => this.dialog.remove());
    document.body.append(this.dialog);
    this.dialog.showModal();
  }

  fill(name, options) {
    const select = this.fields[name].querySelector('select');
    if (!options.some(([, value]) => value === this.state[name])) this.state[name] = options[0]?.[1] || '';
    clear(select, options.map(([label, value]) => h('option', { value, text: label, selected: value === this.state[name] })));
    select.value = this.state[name];
  }

  async load() {
    const mine = this.state.turn += 1, query = () => new URLSearchParams({ dataset: this.state.dataset, base: this.state.base, preset: this.state.preset });
    try {
      let told = await api.get(`/studio/duel/choices?${query()}`);
      const before = String(query());
      this.fill('dataset', told.datasets);
      this.fill('base', told.bases);
      this.fill('preset', told.presets.map(p => [p[0].toUpperCase() + p.slice(1), p]));
      if (String(query()) !== before) told = await api.get(`/studio/duel/choices?${query()}`);
      if (mine !== this.state.turn) return;
      this.drawRecipes(told.recipes);
      await this.plan();
    } catch (error) {
      this.tell(api.said(error), true);
    }
  }

  drawRecipes(recipes) {
    for (const r of recipes) if (r.refusal) this.state.chosen.delete(r.recipe);
    clear(this.list, h('legend', { text: 'Recipes' }), recipes.map(r => h('label', { class: r.refusal ? 'recipe refused' : 'recipe' },
      h('input', { type: 'checkbox', value: r.recipe, dataset: { subject: r.subject ? 'yes' : '' }, checked: this.state.chosen.has(r.recipe), disabled: Boolean(r.refusal), onchange: event => { this.state.chosen[event.target.checked ? 'add' : 'delete'](r.recipe); this.plan(); } }),
      h('span', {}, h('strong', { text: r.title }), h('span', { class: 'muted', text: ` ${r.refusal ? `Not here: ${r.refusal}` : r.about}` })))));
  }

  asked() {
    const recipes = [...this.list.querySelectorAll('input:checked')].map(input => input.value);
    return { dataset: this.state.dataset, base: this.state.base, preset: this.state.preset, recipes, class_noun: this.subject.hidden ? '' : this.noun.value };
  }

  tell(text, isProblem = false) {
    this.note.textContent = text;
    this.note.className = isProblem ? 'note problem' : 'note muted';
  }

  async plan() {
    this.subject.hidden = !this.list.querySelector('input[data-subject=yes]:checked');
    const mine = this.state.turn, mind = this.asked(), { recipes } = mind;
    this.button.disabled = true;
    if (!this.state.dataset) return this.tell('There is no dataset yet: import pictures or load a demo on the Dataset screen first.');
    if (recipes.length < FEWEST) return this.tell('Choose two recipes at least.');
    if (recipes.length > MOST) return this.tell(`Choose at most ${MOST} recipes.`);
    try {
      const told = await api.post('/studio/duel/plan', mind);
      if (mine !== this.state.turn || JSON.stringify(this.asked()) !== JSON.stringify(mind)) return;
      const minutes = told.seconds / 60, length = minutes < 1 ? 'under 1 min' : minutes < 90 ? `about ${Math.round(minutes)} min` : `about ${(minutes / 60).toFixed(1)} h`;
      this.tell(`Each: ${told.samples} samples in ${told.steps} steps of ${told.batch_size}, none ends early. All together ${length}.`);
      this.button.disabled = false;
    } catch (error) {
      if (mine === this.state.turn && JSON.stringify(this.asked()) === JSON.stringify(mind)) this.tell(api.said(error), true);
    }
  }

  async start(event) {
    event.preventDefault();
    if (this.button.disabled) return;
    this.button.disabled = true;
    try {
      const { runs } = await api.post('/studio/duel', this.asked());
      this.dialog.close();
      place.set({ runs, matrix: null });
      toast(`The duel has begun: ${runs.length} runs, one after the other.`);
      this.onStarted();
    } catch (error) {
      this.tell(api.said(error), true);
      this.button.disabled = false;
    }
  }
}
