// Scans and scenes among dropped files: what was found, what is taken out of it, and how that looks, before it is imported.

import * as api from './api.js';
import { clear, h } from './dom.js';

const FIRST = ['window', 'bands', 'every', 'plane', 'volumes', 'tile', 'overlap', 'blocks']; // shown at once; the others are folded away
const WAIT_MS = 350;

// Ask what to take; resolves to the choices, or to null where the import is cancelled.
export function ask(id, look) {
  return new Promise(resolve => {
    const usual = look.sets.some(each => !each.aside) ? look.sets.filter(each => !each.aside) : []; // what no choice takes; empty = nothing
    const values = {}, chosen = new Set((usual.length ? usual : look.sets).map(each => each.number));
    let shown = look.sets[0].number, share = 0.5, timer = 0, asked = 0;

    const problem = h('p', { class: 'chip problem', role: 'alert', hidden: true });
    const picture = h('img', { class: 'seen', alt: '', draggable: false });
    const caption = h('p', { class: 'caption' }), note = h('p', { class: 'muted' });
    const place = h('input', { type: 'range', min: 0, max: 1000, value: 500, 'aria-label': 'Which picture of the set is shown', oninput: event => { share = event.target.value / 1000; soon(); } });
    const go = h('button', { class: 'btn primary', type: 'submit', text: 'Import' });
    const sets = h('div', { class: 'found', role: 'group', 'aria-label': 'What was found' }, look.sets.map(drawSet));
    const names = Object.keys(look.fields).filter(name => name !== 'blocks' || look.subjects === 1);
    const more = names.filter(name => !FIRST.includes(name));
    const element = h('dialog', { class: 'studio-dialog dataset-dialog scans', 'aria-label': 'Scans and scenes' },
      h('form', { method: 'dialog', onsubmit: event => { event.preventDefault(); finish(); } },
        h('h3', { text: title() }),
        h('div', { class: 'two' },
          h('div', {}, sets, h('div', { class: 'form' }, FIRST.filter(name => names.includes(name)).map(control)),
            h('details', {}, h('summary', { text: 'More choices' }), h('div', { class: 'form' }, more.map(control)))),
          h('figure', { 'aria-live': 'polite' }, picture, place, caption, note)),
        problem,
        h('div', { class: 'row end' }, h('button', { class: 'btn', type: 'button', text: 'Cancel', onclick: () => element.close() }), go)));
    element.addEventListener('close', () => { clearTimeout(timer); element.remove(); resolve(element.returnValue === 'go' ? collected() : null); });
    document.body.append(element);
    element.showModal();
    go.focus();
    mark();
    preview();

    function title() {
      const what = look.num_sets === 1 ? 'One series, volume or scene' : `${look.num_sets} series, volumes or scenes`;
      const others = look.plain ? `, and ${look.plain} ${look.plain === 1 ? 'picture' : 'pictures'}` : '';
      return `${what} found${others}. What is taken?`;
    }

    function drawSet(each) {
      const box = h('input', { type: 'checkbox', checked: chosen.has(each.number), disabled: look.sets.length === 1, 'aria-label': `Take ${each.title}`,
        onchange: event => { if (event.target.checked) chosen.add(each.number); else chosen.delete(each.number); mark(); } });
      return h('div', { class: 'set-line', dataset: { number: each.number } }, box,
        h('button', { class: 'btn quiet', type: 'button', 'aria-pressed': 'false', onclick: () => { shown = each.number; mark(); preview(); } },
          h('strong', { text: each.title }), h('span', { class: 'muted', text: [each.about, ...each.notes, each.aside ? `${each.aside}: taken only if it is ticked` : ''].filter(Boolean).join('; ') })));
    }

    function mark() {
      for (const line of sets.children) line.querySelector('button').setAttribute('aria-pressed', String(Number(line.dataset.number) === shown));
      go.disabled = chosen.size === 0 && !look.plain;
    }

    function control(name) {
      const field = look.fields[name], set = value => { values[name] = value; soon(); };
      const title = field.unit ? `${field.title} (${field.unit})` : field.title;
      if (field.type === 'boolean') {
        return h('label', { class: 'check' }, h('input', { type: 'checkbox', name, checked: field.default, onchange: event => set(event.target.checked) }), ` ${title}`, h('small', { class: 'muted', text: field.description }));
      }
      const label = input => h('label', { class: 'field' }, h('span', { text: title }), input, h('small', { class: 'muted', text: hint(name, field) }));
      if (field.enum) {
        return label(h('select', { class: 'studio-input', name, onchange: event => set(event.target.value) }, field.enum.map(each => h('option', { value: each, text: each || 'as taken' }))));
      }
      if (field.type === 'string') {
        const list = field.examples ? h('datalist', { id: `list-${name}` }, field.examples.map(each => h('option', { value: each }))) : null;
        const example = name === 'caption' ? Object.values(look.templates)[0] : ({ window: 'auto', volumes: '1' })[name] || 'automatic';
        return label(h('span', {}, h('input', { class: 'studio-input', name, placeholder: example, list: list ? list.id : null, spellcheck: false, oninput: event => set(event.target.value) }), list));
      }
      return label(h('input', { class: 'studio-input', name, type: 'number', step: field.type === 'integer' ? 1 : 'any', min: field.minimum, max: field.maximum, value: field.default,
        oninput: event => { if (event.target.value === '') delete values[name]; else values[name] = Number(event.target.value); soon(); } }));
    }

    function hint(name, field) {
      const bands = name === 'bands' ? look.sets.find(each => each.bands.length)?.bands : null;
      return bands ? `${field.description}. Here: ${bands.join(', ')}` : field.description;
    }

    function collected() {
      const rest = Array.from({ length: look.num_sets - look.sets.length }, (_, i) => look.sets.length + i + 1); // too many to be listed
      const isUsual = chosen.size === usual.length && usual.every(each => chosen.has(each.number));
      const series = [...chosen].sort((a, b) => a - b).concat(rest).join(',');
      return { ...values, series: isUsual ? '' : series || 'none' };
    }

    function soon() {
      clearTimeout(timer);
      timer = setTimeout(preview, WAIT_MS);
    }

    async function preview() {
      const now = asked += 1;
      picture.setAttribute('aria-busy', 'true');
      try {
        const seen = await api.post(`/studio/imports/${id}/preview`, { choices: values, set: shown, share });
        if (now !== asked) return;
        problem.hidden = true;
        picture.src = seen.picture || '';
        picture.hidden = !seen.picture;
        picture.alt = seen.caption || seen.note;
        clear(caption, seen.caption ? `“${seen.caption}”` : '');
        clear(note, [seen.note, `${seen.name}, one of ${seen.num}`].filter(Boolean).join(' · '));
        place.hidden = seen.num < 2;
        element.dataset.state = 'ready';
      } catch (error) {
        if (now === asked) fail(error);
      } finally {
        if (now === asked) picture.removeAttribute('aria-busy');
      }
    }

    function fail(error) {
      clear(problem, error.message);
      problem.hidden = false;
      element.dataset.state = 'problem';
    }

    function finish() {
      if (!problem.hidden) return;
      if (!chosen.size && !look.plain) return;
      element.close('go');
    }
  });
}
