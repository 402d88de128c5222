// A duel is asked for in a dialog: a dataset and two to four recipes; the board then opens with its runs and fills itself.

import * as api from './api.js';
import * as place from './place.js';
import { h, clear, toast } from './dom.js';

const FEWEST = 2, MOST = 4;

export async function openDuel(onStarted) {
  const state = { dataset: place.get().dataset || '', base: 'starter', preset: 'quick', chosen: new Set(), turn: 0 };
  const pick = (name, label) => h('label', { class: 'field' }, h('span', { text: label }), h('select', { class: 'studio-input', name, onchange: event => { state[name] = event.target.value; load(); } }));
  const fields = { dataset: pick('dataset', 'Dataset'), base: pick('base', 'Base'), preset: pick('preset', 'Preset') };
  const noun = h('input', { class: 'studio-input', name: 'noun', maxlength: 80, spellcheck: false, oninput: () => { clearTimeout(state.soon); state.soon = setTimeout(plan, 250); } });
  const subject = h('label', { class: 'field', hidden: true }, h('span', { text: 'Class noun' }), noun, h('small', { class: 'muted', text: 'What your pictures show, in one to three words: dog, teapot. DreamBooth needs it.' }));
  const list = h('fieldset', { class: 'recipes' }), note = h('p', { class: 'muted note', role: 'status', 'aria-live': 'polite' });
  const button = h('button', { class: 'btn primary', type: 'submit', text: 'Start duel', disabled: true });
  const dialog = h('dialog', { class: 'studio-dialog duel', 'aria-label': 'Duel' }, h('form', { onsubmit: start }, h('div', { class: 'body' }, h('h3', { text: 'Duel' }),
    h('p', { text: 'Two to four recipes learn the same pictures with an equal budget, one after the other. The board opens and fills itself.' }),
    h('div', { class: 'row top' }, Object.values(fields)), list, subject), note,
    h('div', { class: 'row end' }, h('button', { class: 'btn', type: 'button', text: 'Cancel', onclick: () => dialog.close() }), button)));
  dialog.addEventListener('close', () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  await load();

  function fill(name, options) {
    const select = fields[name].querySelector('select');
    if (!options.some(([, value]) => value === state[name])) state[name] = options[0]?.[1] || '';
    clear(select, options.map(([label, value]) => h('option', { value, text: label, selected: value === state[name] })));
    select.value = state[name];
  }

  async function load() {
    const mine = state.turn += 1, query = () => new URLSearchParams({ dataset: state.dataset, base: state.base, preset: state.preset });
    try {
      let told = await api.get(`/studio/duel/choices?${query()}`);
      const before = String(query());
      fill('dataset', told.datasets);
      fill('base', told.bases);
      fill('preset', told.presets.map(p => [p[0].toUpperCase() + p.slice(1), p]));
      if (String(query()) !== before) told = await api.get(`/studio/duel/choices?${query()}`);
      if (mine !== state.turn) return;
      drawRecipes(told.recipes);
      await plan();
    } catch (error) {
      tell(error.message, true);
    }
  }

  function drawRecipes(recipes) {
    for (const r of recipes) if (r.refusal) state.chosen.delete(r.recipe);
    clear(list, h('legend', { text: 'Recipes' }), recipes.map(r => h('label', { class: r.refusal ? 'recipe refused' : 'recipe' },
      h('input', { type: 'checkbox', value: r.recipe, dataset: { subject: r.subject ? 'yes' : '' }, checked: state.chosen.has(r.recipe), disabled: Boolean(r.refusal), onchange: event => { state.chosen[event.target.checked ? 'add' : 'delete'](r.recipe); plan(); } }),
      h('span', {}, h('strong', { text: r.title }), h('span', { class: 'muted', text: ` ${r.refusal ? `Not here: ${r.refusal}` : r.about}` })))));
  }

  function asked() {
    const recipes = [...list.querySelectorAll('input:checked')].map(input => input.value);
    return { dataset: state.dataset, base: state.base, preset: state.preset, recipes, class_noun: subject.hidden ? '' : noun.value };
  }

  function tell(text, isProblem = false) {
    note.textContent = text;
    note.className = isProblem ? 'note problem' : 'note muted';
  }

  async function plan() {
    subject.hidden = !list.querySelector('input[data-subject=yes]:checked');
    const mine = state.turn, mind = asked(), { recipes } = mind;
    button.disabled = true;
    if (!state.dataset) return tell('There is no dataset yet: import pictures or load a demo on the Dataset screen first.');
    if (recipes.length < FEWEST) return tell('Choose two recipes at least.');
    if (recipes.length > MOST) return tell(`Choose at most ${MOST} recipes.`);
    try {
      const told = await api.post('/studio/duel/plan', mind);
      if (mine !== state.turn || JSON.stringify(asked()) !== JSON.stringify(mind)) return;
      const minutes = told.seconds / 60, length = minutes < 1 ? 'under 1 min' : minutes < 90 ? `about ${Math.round(minutes)} min` : `about ${(minutes / 60).toFixed(1)} h`;
      tell(`Each: ${told.samples} samples in ${told.steps} steps of ${told.batch_size}, none ends early. All together ${length}.`);
      button.disabled = false;
    } catch (error) {
      if (mine === state.turn && JSON.stringify(asked()) === JSON.stringify(mind)) tell(error.message, true);
    }
  }

  async function start(event) {
    event.preventDefault();
    if (button.disabled) return;
    button.disabled = true;
    try {
      const { runs } = await api.post('/studio/duel', asked());
      dialog.close();
      place.set({ runs, matrix: null });
      toast(`The duel has begun: ${runs.length} runs, one after the other.`);
      onStarted();
    } catch (error) {
      tell(error.message, true);
      button.disabled = false;
    }
  }
}
