// Who captions, and how it is asked: captioner, detail, prompt or template, thresholds; and the folders that captioners are looked for in.

import * as api from './api.js';
import { clear, fmt, h, toast } from './dom.js';
import { openDataset } from './dataset_state.js';
import { hubPanel } from './models_errands.js';

const KEY = 'studio.captioner'; // what was asked last, so that a prompt is typed once
const OWN_WORDS = 'own words';
const SWITCHES = { rating: 'The rating is a tag, too', escape: 'Escape brackets, as prompts do: \\(series\\)' };
const remembered = () => { try { return JSON.parse(localStorage.getItem(KEY)) || {}; } catch { return {}; } };

// Returns {select, fields, add, read(), know(names), meet(), isTemplate(), toTemplate()}: the choice of a captioner, what it can be asked, a button, all
// of it as part of a request; what templates may name; that another dataset is open; and whether one is chosen. `changed()` is called when another one is chosen.
export function captionerChoice(changed) {
  const view = { changed, names: [], told: { captioners: [], kinds: [], places: [], prompts: {}, can_add: false }, controls: {} };
  view.select = h('select', { class: 'studio-input', 'aria-label': 'Captioner', onchange: () => draw(view) }, h('option', { value: 'embedded', text: 'embedded' }));
  view.fields = h('div', { class: 'asked' });
  view.add = h('button', { class: 'btn quiet add', type: 'button', text: 'Add a captioner', hidden: true, onclick: () => showPlaces(view) });
  offer(view, remembered().captioner);
  return { select: view.select, fields: view.fields, add: view.add, read: () => read(view), know: names => know(view, names), meet: () => view.controls.template && draw(view), isTemplate: () => Boolean(view.controls.template), toTemplate: () => toTemplate(view) };
}

async function offer(view, wanted) {
  try {
    view.told = await api.get('/studio/captioners');
  } catch { return; } // the embedded one is offered already
  const all = view.told.captioners;
  clear(view.select, all.map(each => h('option', { value: each.captioner, text: each.title, title: [each.captioner, each.licence].filter(Boolean).join(' · ') })));
  view.select.value = all.some(each => each.captioner === wanted) ? wanted : all[0].captioner;
  view.add.hidden = !view.told.can_add;
  draw(view);
}

const chosen = view => view.told.captioners.find(each => each.captioner === view.select.value);

function draw(view) {
  const facts = chosen(view), kept = remembered();
  view.controls = {};
  if (!facts) { clear(view.fields); return; }
  const own = kept[facts.kind] || {}, controls = view.controls;
  if (facts.details.length) {
    controls.detail = h('select', { class: 'studio-input', 'aria-label': 'Detail' }, facts.details.map(level => h('option', { value: level, text: level })));
    controls.detail.value = facts.details.includes(own.detail) ? own.detail : facts.detail;
  }
  if (facts.prompt === 'beginning') controls.prompt = h('input', { class: 'studio-input', maxlength: 200, placeholder: 'a photo of', 'aria-label': 'Captions begin with', spellcheck: false, value: own.prompt || '' });
  if (facts.prompt === 'instruction') controls.prompt = h('textarea', { class: 'studio-input', rows: 4, maxlength: 4000, 'aria-label': 'Prompt', value: own.prompt ?? (facts.asked || view.told.prompts.general) });
  if (facts.prompt === 'template') controls.template = h('input', { class: 'studio-input', maxlength: 4000, 'aria-label': 'Template', spellcheck: false, value: (own.dataset === openDataset() && own.template) || '{name}' }); // what it says is of these pictures
  if (facts.thresholds.length > 1) {
    controls.threshold = share('Tags from', own.threshold ?? facts.thresholds[0]);
    controls.character_threshold = share('Characters from', own.character_threshold ?? facts.thresholds[1]);
  } else if (facts.details.length || ['beginning', 'instruction'].includes(facts.prompt)) controls.max_tokens = h('input', { class: 'studio-input', type: 'number', min: 1, max: 1024, step: 1, 'aria-label': 'Longest caption in tokens', value: own.max_tokens ?? 128 });
  for (const name of facts.switches) controls[name] = h('input', { type: 'checkbox', checked: Boolean(own[name]) });
  clear(view.fields, fields(view, facts, controls));
  view.changed();
}

const share = (label, value) => h('input', { class: 'studio-input', type: 'number', min: 0, max: 1, step: 'any', 'aria-label': label, value });
const field = (text, control, help) => h('label', { class: 'field' }, h('span', { text }), control, help ? h('small', { class: 'muted', text: help }) : null);

function fields(view, facts, controls) {
  return [
    controls.detail && field('Detail', controls.detail, 'How much is said of each picture.'),
    facts.prompt === 'beginning' && field('Captions begin with', controls.prompt, 'Empty = the captioner chooses.'),
    facts.prompt === 'instruction' && [domains(view, controls.prompt), field('Prompt', controls.prompt, 'What the model is asked of each picture.')],
    controls.template && [field('Template', controls.template, 'A part in [brackets] is left out where a field of it is missing.'), names(view)],
    controls.threshold && h('div', { class: 'pair' }, field('Tags from', controls.threshold), field('Characters from', controls.character_threshold)),
    ...facts.switches.map(name => h('label', { class: 'check' }, controls[name], ` ${SWITCHES[name]}`)),
    controls.max_tokens && field('Longest caption', controls.max_tokens, 'In tokens; what runs on is cut at a sentence. CLIP reads 77.'),
  ].flat(2);
}

// A domain fills the prompt; whoever types has own words.
function domains(view, prompt) {
  const names = Object.keys(view.told.prompts), select = h('select', { class: 'studio-input', 'aria-label': 'Domain' }, [...names, OWN_WORDS].map(name => h('option', { value: name, text: name })));
  const tell = () => { select.value = names.find(name => view.told.prompts[name] === prompt.value) || OWN_WORDS; };
  select.addEventListener('change', () => { if (select.value !== OWN_WORDS) prompt.value = view.told.prompts[select.value]; else { prompt.focus(); prompt.select(); } });
  prompt.addEventListener('input', tell);
  tell();
  return field('Domain', select);
}

// What a template may name: a click puts it where the cursor is.
function names(view) {
  const put = name => {
    const text = view.controls.template, at = text.selectionStart ?? text.value.length;
    text.setRangeText(`{${name}}`, at, text.selectionEnd ?? at, 'end');
    text.focus();
    text.dispatchEvent(new Event('input', { bubbles: true }));
  };
  return h('div', { class: 'fields', role: 'group', 'aria-label': 'Fields of templates' },
    view.names.map(name => h('button', { class: 'chip', type: 'button', text: `{${name}}`, 'aria-label': `Put {${name}} into the template`, onclick: () => put(name) })));
}

function know(view, known) {
  if (view.names.join() === known.join()) return;
  view.names = known;
  view.fields.querySelector('.fields')?.replaceWith(names(view));
}

function toTemplate(view) {
  view.select.value = view.told.captioners.find(each => each.prompt === 'template').captioner;
  draw(view);
  view.controls.template.scrollIntoView({ block: 'center' });
  view.controls.template.focus();
  view.controls.template.select();
}

function read(view) {
  const captioner = view.select.value, facts = chosen(view), asked = {};
  for (const [name, control] of Object.entries(view.controls)) if (control) asked[name] = control.type === 'checkbox' ? control.checked : control.type === 'number' ? (control.value === '' ? null : Number(control.value)) : control.value;
  if (asked.max_tokens === null) delete asked.max_tokens;
  try { localStorage.setItem(KEY, JSON.stringify({ ...remembered(), captioner, ...(facts ? { [facts.kind]: { ...asked, dataset: openDataset() } } : {}) })); } catch { /* it is typed again then */ }
  const { template, ...rest } = asked; // which is what the template captioner is asked
  return { captioner, ...rest, ...(template === undefined ? {} : { prompt: template }) };
}

// The dialog of places: what is looked through, one more, one fewer.
function showPlaces(view) {
  const path = h('input', { class: 'studio-input', placeholder: '/models/blip-image-captioning-base', 'aria-label': 'Folder', spellcheck: false, maxlength: 4000 });
  const told = h('p', { class: 'chip problem', role: 'alert', hidden: true }), list = h('ul', { class: 'places' });
  const dialog = h('dialog', { class: 'studio-dialog dataset-dialog', 'aria-label': 'Captioners' }, h('h3', { text: 'Captioners' }),
    h('p', { class: 'muted', text: `${view.told.kinds.map(each => each.title).join(', ')}: folders with config.json and .safetensors; taggers with model.onnx and selected_tags.csv. Nothing is copied; what lies in the workspace’s captioners folder or in the hub’s cache is found by itself.` }),
    list, h('form', { class: 'form', method: 'dialog', onsubmit: event => { event.preventDefault(); change(api.post, path.value); } }, field('Folder of a captioner, or of several', path), told,
      h('div', { class: 'row end' }, h('button', { class: 'btn primary', type: 'submit', text: 'Add folder' }))),
    hubPanel(fetched, { kind: 'captioner', known: view.told.kinds.filter(each => each.hub_id) }), h('div', { class: 'row end' }, h('button', { class: 'btn', type: 'button', text: 'Close', onclick: () => dialog.close() })));
  dialog.addEventListener('close', () => dialog.remove());
  document.body.append(dialog);
  show();
  dialog.showModal();
  path.focus();

  function show() {
    const found = view.told.captioners.filter(each => each.name);
    clear(list, found.map(each => h('li', {}, h('span', { text: each.title, title: each.captioner }), h('span', { class: 'mono muted', text: fmt.bytes(each.bytes) }))),
      view.told.places.map(place => h('li', {}, h('span', { class: 'mono muted', text: place }), h('button', { class: 'btn quiet', type: 'button', text: 'Forget', 'aria-label': `Forget ${place}`, onclick: () => change(api.del, place) }))));
  }

  async function fetched(folder) {
    await offer(view, folder);
    show();
  }

  async function change(call, text) {
    told.hidden = true;
    try {
      const found = await call('/studio/captioners/places', { path: text });
      path.value = '';
      await offer(view, Array.isArray(found) && found.length ? found[0].captioner : view.select.value);
      if (Array.isArray(found)) toast(found.length === 1 ? `Found ${found[0].title}` : `Found ${found.length} captioners`);
      show();
    } catch (error) {
      clear(told, api.said(error));
      told.hidden = false;
    }
  }
}
