// What the buttons above the grid do: new, demo, rename, export, delete. Each asks in a dialog and says what came of it.

import * as api from './api.js';
import * as place from './place.js';
import { clear, confirm, h, single, toast } from './dom.js';
import { listDemos, loadDemo } from './dataset_home.js';
import { announce, labelOf, openDataset, path } from './dataset_state.js';

export function act(name) {
  if (['rename', 'export', 'delete'].includes(name) && !openDataset()) { toast('Open a dataset first, or drop images anywhere to make one.'); return; }
  ({ new: startNew, demo, rename, export: exportIt, delete: remove })[name]();
}

function dialog(title, ...children) {
  const problem = h('p', { class: 'chip problem', role: 'alert', hidden: true });
  const element = h('dialog', { class: 'studio-dialog dataset-dialog', 'aria-label': title }, h('h3', { text: title }), ...children, problem);
  element.addEventListener('close', () => element.remove());
  document.body.append(element);
  element.showModal();
  const fail = error => { clear(problem, api.said(error)); problem.hidden = false; };
  return { element, fail };
}

const closing = element => h('button', { class: 'btn', type: 'button', text: 'Close', onclick: () => element().close() });

function startNew() {
  place.set({ dataset: null, filter: null });
  announce('', true);
}

const demo = single(async () => {
  try {
    const list = await listDemos();
    const { element } = dialog('Load a demo',
      h('div', { class: 'choices' }, list.map(each => h('button', { class: 'btn demo', type: 'button', dataset: { demo: each.demo }, onclick: async event => { if (await loadDemo(each, event.currentTarget)) element.close(); } },
        h('strong', { text: each.title }), h('span', { class: 'muted', text: `${each.about} Licence: ${each.licence}.` })))),
      h('div', { class: 'row end' }, closing(() => element)));
  } catch (error) {
    toast(api.said(error), { kind: 'error' });
  }
});

function rename() {
  const dataset = openDataset();
  const name = h('input', { class: 'studio-input', maxlength: 120, 'aria-label': 'Name', value: labelOf(dataset) });
  const { element, fail } = dialog('Rename the dataset', h('form', { class: 'form', method: 'dialog', onsubmit: submit }, h('label', { class: 'field' }, h('span', { text: 'Name' }), name),
    h('p', { class: 'muted', text: 'Runs that used it keep pointing at it.' }),
    h('div', { class: 'row end' }, h('button', { class: 'btn', type: 'button', text: 'Cancel', onclick: () => element.close() }), h('button', { class: 'btn primary', type: 'submit', text: 'Rename' }))));
  name.select();

  async function submit(event) {
    event.preventDefault();
    try {
      await api.post(path(dataset, '/rename'), { name: name.value });
      element.close();
      announce(dataset, true);
    } catch (error) {
      fail(error);
    }
  }
}

function exportIt() {
  const dataset = openDataset();
  const kind = h('select', { class: 'studio-input', 'aria-label': 'Captions' },
    h('option', { value: 'txt', text: '.txt files beside the pictures (kohya and most trainers)' }),
    h('option', { value: 'jsonl', text: 'metadata.jsonl (Hugging Face ImageFolder; keeps what is held out)' }),
    h('option', { value: 'kohya', text: 'folders as 10_name (kohya; keeps repeats)' }),
    h('option', { value: 'parquet', text: 'Parquet tables (Hugging Face; needs the extra parquet)' }));
  const facts = h('input', { type: 'checkbox', name: 'facts' });
  const folder = h('input', { class: 'studio-input', placeholder: '~/pictures/out', 'aria-label': 'Folder', spellcheck: false });
  const zip = h('a', { class: 'btn primary', text: 'Download zip', download: '' });
  const masks = h('input', { type: 'checkbox', checked: true });
  const aim = () => {
    zip.setAttribute('href', path(dataset, `/export.zip?captions=${kind.value}&masks=${masks.checked}&facts=${facts.checked}`));
    masked.hidden = kind.value === 'parquet';
    told.hidden = !['jsonl', 'parquet'].includes(kind.value);
  };
  const masked = h('label', { class: 'check' }, masks, ' Masks where there are some, below mask/ (kohya). Crops and turns stay here: pictures go out as they came');
  const told = h('label', { class: 'check' }, facts, ' also what is known of scans and scenes: modality, plane, bands, place');
  kind.addEventListener('change', aim);
  for (const each of [facts, masks]) each.addEventListener('change', aim);
  aim();
  const done = h('p', { role: 'status', class: 'muted' });
  const { element, fail } = dialog(`Export ${labelOf(dataset)}`, h('label', { class: 'field' }, h('span', { text: 'Captions' }), kind), told, masked,
    h('div', { class: 'row' }, zip),
    h('form', { class: 'form', method: 'dialog', onsubmit: copy }, h('label', { class: 'field' }, h('span', { text: 'or copy to a new or empty folder on this machine' }), folder),
      h('div', { class: 'row end' }, h('button', { class: 'btn', type: 'submit', text: 'Copy to folder' }), closing(() => element))), done);

  zip.addEventListener('click', async event => {
    if (zip.dataset.isGranted) {
      delete zip.dataset.isGranted;
      return;
    }
    event.preventDefault();
    try {
      await api.get(`${zip.getAttribute('href')}&dry=true`); // a download that fails tells nobody why
      zip.dataset.isGranted = 'yes';
      zip.click();
    } catch (error) {
      fail(error);
    }
  });

  async function copy(event) {
    event.preventDefault();
    if (done.textContent === 'Copying …') return;
    done.textContent = 'Copying …';
    try {
      const answer = await api.post(path(dataset, '/export'), { path: folder.value, captions: kind.value, masks: masks.checked, facts: facts.checked });
      done.textContent = `Written to ${answer.path}`;
    } catch (error) {
      done.textContent = '';
      fail(error);
    }
  }
}

async function remove() {
  const dataset = openDataset(), name = labelOf(dataset);
  if (!await confirm(`Delete the dataset ${name}? It goes to the trash; runs stay.`, 'Delete')) return;
  try {
    const { trash } = await api.del(path(dataset));
    place.set({ dataset: null, filter: null });
    announce(dataset, true);
    toast(`Deleted ${name}`, { kind: 'undo', action: () => bringBack(trash) });
  } catch (error) {
    toast(api.said(error), { kind: 'error' });
  }
}

async function bringBack(trash) {
  try {
    const { dataset } = await api.post('/studio/datasets/restore', { trash });
    place.set({ dataset });
    announce(dataset, true);
  } catch (error) {
    toast(api.said(error), { kind: 'error' });
  }
}
