// Scans and scenes among dropped files: what was found, what is taken out of it, and how that looks, before it is imported.

import * as api from './api.js';
import { clear, h } from './dom.js';

const FIRST = ['window', 'bands', 'every', 'plane', 'volumes', 'tile', 'overlap', 'blocks']; // shown at once; the others are folded away
const WAIT_MS = 350;

// Ask what to take; resolves to the choices, or to null where the import is cancelled.
export function ask(id, look) { return new Promise(resolve => { new Choosing(id, look, resolve); }); }

class Choosing {
  constructor(id, look, resolve) {
    Object.assign(this, { id, look });
    this.usual = this.look.sets.some(each => !each.aside) ? this.look.sets.filter(each => !each.aside) : []; // what no choice takes; empty = nothing
    this.values = {};
    this.chosen = new Set((this.usual.length ? this.usual : this.look.sets).map(each => each.number));
    this.shown = this.look.sets[0].number;
    this.share = 0.5;
    this.timer = 0;
    this.asked = 0;
    this.problem = h('p', { class: 'chip problem', role: 'alert', hidden: true });
    this.picture = h('img', { class: 'seen', alt: '', draggable: false });
    this.caption = h('p', { class: 'caption' });
    this.note = h('p', { class: 'muted' });
    this.place = h('input', { type: 'range', min: 0, max: 1000, value: 500, 'aria-label': 'Which picture of the set is shown', oninput: event => { this.share = event.target.value / 1000; this.soon(); } });
    this.total = h('p', { class: 'total', role: 'status' });
    this.go = h('button', { class: 'btn primary', type: 'submit', text: 'Import' });
    this.sets = h('div', { class: 'found', role: 'group', 'aria-label': 'What was found' }, this.look.sets.map(each => this.drawSet(each)));
    const names = Object.keys(this.look.fields).filter(name => name !== 'blocks' || this.look.subjects === 1);
    const more = names.filter(name => !FIRST.includes(name));
    this.element = h('dialog', { class: 'studio-dialog dataset-dialog scans', 'aria-label': 'Scans and scenes' },
      h('form', { method: 'dialog', onsubmit: event => { event.preventDefault(); this.finish(); } },
        h('h3', { text: this.title() }),
        h('div', { class: 'two' },
          h('div', {}, this.sets, h('div', { class: 'form' }, FIRST.filter(name => names.includes(name)).map(name => this.control(name))),
            h('details', {}, h('summary', { text: 'More choices' }), h('div', { class: 'form' }, more.map(name => this.control(name))))),
          h('figure', { 'aria-live': 'polite' }, this.picture, this.place, this.caption, this.note)),
        this.problem,
        h('div', { class: 'row end' }, this.total, h('span', { class: 'spring' }), h('button', { class: 'btn', type: 'button', text: 'Cancel', onclick: () => this.element.close() }), this.go)));
    this.element.addEventListener('close', () => { clearTimeout(this.timer); this.element.remove(); resolve(this.element.returnValue === 'go' ? this.collected() : null); });
    document.body.append(this.element);
    this.element.showModal();
    this.go.focus();
    this.mark();
    this.preview();
  }

  title() {
    const what = this.look.num_sets === 1 ? 'One series, volume or scene' : `${this.look.num_sets} series, volumes or scenes`;
    const others = this.look.plain ? `, and ${this.look.plain} ${this.look.plain === 1 ? 'picture' : 'pictures'}` : '';
    return `${what} found${others}. What is taken?`;
  }

  drawSet(each) {
    const box = h('input', { type: 'checkbox', checked: this.chosen.has(each.number), disabled: this.look.sets.length === 1, 'aria-label': `Take ${each.title}`,
      onchange: event => { if (event.target.checked) this.chosen.add(each.number); else this.chosen.delete(each.number); this.mark(); this.soon(); } });
    return h('div', { class: 'set-line', dataset: { number: each.number } }, box,
      h('button', { class: 'btn quiet', type: 'button', 'aria-pressed': 'false', onclick: () => { this.shown = each.number; this.mark(); this.preview(); } },
        h('strong', { text: each.title }), h('span', { class: 'muted', text: [each.about, ...each.notes, each.aside ? `${each.aside}: taken only if it is ticked` : ''].filter(Boolean).join('; ') })));
  }

  mark() {
    for (const line of this.sets.children) line.querySelector('button').setAttribute('aria-pressed', String(Number(line.dataset.number) === this.shown));
    this.go.disabled = this.chosen.size === 0 && !this.look.plain;
  }

  control(name) {
    const field = this.look.fields[name], set = value => { this.values[name] = value; this.soon(); };
    const title = field.unit ? `${field.title} (${field.unit})` : field.title;
    if (field.type === 'boolean') {
      return h('label', { class: 'check' }, h('input', { type: 'checkbox', name, checked: field.default, onchange: event => set(event.target.checked) }), ` ${title}`, h('small', { class: 'muted', text: field.description }));
    }
    const label = input => h('label', { class: 'field' }, h('span', { text: title }), input, h('small', { class: 'muted', text: this.hint(name, field) }));
    if (field.enum) {
      return label(h('select', { class: 'studio-input', name, onchange: event => set(event.target.value) }, field.enum.map(each => h('option', { value: each, text: each || 'as taken' }))));
    }
    if (field.type === 'string') {
      const list = field.examples ? h('datalist', { id: `list-${name}` }, field.examples.map(each => h('option', { value: each }))) : null;
      const example = name === 'caption' ? Object.values(this.look.templates)[0] : ({ window: 'auto', volumes: '1' })[name] || 'automatic';
      return label(h('span', {}, h('input', { class: 'studio-input', name, placeholder: example, list: list ? list.id : null, spellcheck: false, oninput: event => set(event.target.value) }), list));
    }
    return label(h('input', { class: 'studio-input', name, type: 'number', step: field.type === 'integer' ? 1 : 'any', min: field.minimum, max: field.maximum, value: field.default,
      oninput: event => { if (event.target.value === '') delete this.values[name]; else this.values[name] = Number(event.target.value); this.soon(); } }));
  }

  hint(name, field) {
    const bands = name === 'bands' ? this.look.sets.find(each => each.bands.length)?.bands : null;
    return bands ? `${field.description}. Here: ${bands.join(', ')}` : field.description;
  }

  collected() {
    const rest = Array.from({ length: this.look.num_sets - this.look.sets.length }, (_, i) => this.look.sets.length + i + 1); // too many to be listed
    const isUsual = this.chosen.size === this.usual.length && this.usual.every(each => this.chosen.has(each.number));
    const series = [...this.chosen].sort((a, b) => a - b).concat(rest).join(',');
    return { ...this.values, series: isUsual ? '' : series || 'none' };
  }

  soon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.preview(), WAIT_MS);
  }

  async preview() {
    const now = this.asked += 1;
    this.picture.setAttribute('aria-busy', 'true');
    try {
      const seen = await api.post(`/studio/imports/${this.id}/preview`, { choices: this.collected(), set: this.shown, share: this.share });
      if (now !== this.asked) return;
      this.problem.hidden = true;
      this.picture.src = seen.picture || '';
      this.picture.hidden = !seen.picture;
      this.picture.alt = seen.caption || seen.note;
      clear(this.caption, seen.caption ? `“${seen.caption}”` : '');
      clear(this.note, [seen.note, `${seen.name}, one of ${seen.num}`].filter(Boolean).join(' · '));
      this.total.textContent = `Takes ${this.values.skip_empty === false ? '' : 'at most '}${seen.total} ${seen.total === 1 ? 'picture' : 'pictures'}`;
      this.place.hidden = seen.num < 2;
      this.element.dataset.state = 'ready';
    } catch (error) {
      if (now === this.asked) this.fail(error);
    } finally {
      if (now === this.asked) this.picture.removeAttribute('aria-busy');
    }
  }

  fail(error) {
    clear(this.problem, api.said(error));
    this.problem.hidden = false;
    this.total.textContent = '';
    this.element.dataset.state = 'problem';
  }

  finish() {
    if (!this.problem.hidden) return;
    if (!this.chosen.size && !this.look.plain) return;
    this.element.close('go');
  }
}
