// The verdict on a run's adapter: what was found, and each picture that was drawn for it between the base's and the nearest trained one.

import * as api from './api.js';
import * as lightbox from './lightbox.js';
import { h, clear, toast } from './dom.js';
import { OVER } from './states.js';

const EVERY_MS = 700, FEW = 32, MANY = 96, SHOWN = 8;
const TONES = { good: 'good', doubt: 'held-out', bad: 'problem', unknown: '' };
const MARKS = { good: ['✓', 'good'], doubt: ['?', 'in doubt'], bad: ['!', 'bad'], unknown: ['–', 'cannot be told'] };
const DOES = { waiting: 'Waiting', loading: 'Loading the base model', drawing: 'Drawing', comparing: 'Comparing with every trained picture' };

export class Verdict {
  constructor() {
    Object.assign(this, { run: '', told: null, isAsking: false, isWhole: false, drawn: '' });
    this.button = h('button', { class: 'btn', type: 'button', onclick: () => this.ask() });
    this.body = h('div', { class: 'found' });
    this.element = h('section', { class: 'panel judged', 'aria-label': 'Verdict', hidden: true },
      h('div', { class: 'row' }, h('h3', { text: 'Verdict' }), h('span', { class: 'spring' }), this.button), this.body);
    this.polling = api.poll(() => this.follow(), EVERY_MS, this.element);
  }

  // The run that is shown, and whether it has something to judge.
  show(run, hasAdapter) {
    this.element.hidden = !hasAdapter;
    if (run === this.run) return;
    Object.assign(this, { run, told: null, isWhole: false });
    this.draw();
    this.polling.now();
  }

  get isAtWork() { return Boolean(this.told?.id) && !OVER.has(this.told.status.state); }

  async follow() {
    const { run } = this;
    if (!run || this.element.hidden || !this.element.offsetParent || (this.told && !this.isAtWork)) return;
    const told = await api.get(`/studio/judgements?run=${encodeURIComponent(run)}`);
    if (run === this.run) this.take(told);
  }

  async ask() {
    const { run } = this;
    this.isAsking = true;
    this.draw();
    try {
      const told = await api.post('/studio/judgements', { run, count: this.count });
      if (run === this.run) this.take(told);
    } catch (error) {
      toast(error.message, { kind: 'error' });
    }
    this.isAsking = false;
    this.draw();
    this.polling.now();
  }

  async cancel(button) {
    button.disabled = true;
    try { await api.post(`/studio/judgements/${this.told.id}/cancel`); } catch (error) { button.disabled = false; toast(error.message, { kind: 'error' }); }
  }

  take(told) {
    this.told = told;
    this.draw();
  }

  // Where few showed nothing, more may.
  get count() { return this.told?.result && this.told.result.count < MANY ? MANY : FEW; }

  draw() {
    const { told, isAtWork } = this, key = JSON.stringify([this.run, told, this.isAsking, this.isWhole]);
    if (key === this.drawn) return;
    this.drawn = key;
    this.button.disabled = !told || this.isAsking || isAtWork;
    this.button.textContent = told?.result ? `Judge again by ${this.count} pairs` : 'Judge this adapter';
    this.element.dataset.state = !told ? 'loading' : isAtWork ? 'busy' : told.result ? 'judged' : 'ready';
    const failed = ['failed', 'interrupted'].includes(told?.status?.state);
    clear(this.body, isAtWork ? this.working() : told?.result ? this.found(told.result) : [
      failed && h('p', { class: 'chip problem', role: 'alert', text: told.status.error }),
      h('p', { class: 'muted', text: `Draws ${FEW} pairs with captions that were trained on. Is it nearer to your domain, does it copy trained pictures, is it as varied as they are, does it follow their captions?` })]);
  }

  working() {
    const { state, done, total, note } = this.told.status;
    return [h('div', { class: 'row' }, h('span', { role: 'status', text: `${DOES[state] || state}${note ? `, ${note}` : ''} …` }),
      h('span', { class: 'bar', role: 'progressbar', 'aria-label': 'Judging', 'aria-valuenow': done || 0, 'aria-valuemax': total || 1 }, h('span', { class: 'fill', style: { width: `${100 * (done || 0) / (total || 1)}%` } })),
      h('button', { class: 'btn quiet', type: 'button', text: 'Cancel', onclick: event => this.cancel(event.target) }))];
  }

  found({ state, text, findings, signs, step, trained, gone, pictures }) {
    const shown = this.isWhole ? pictures : pictures.slice(0, SHOWN);
    const line = (mark, title, said) => h('li', { class: mark }, h('span', { class: 'mark', text: MARKS[mark][0], 'aria-label': MARKS[mark][1] }), h('span', {}, h('strong', { text: `${title}. ` }), said));
    return [
      h('p', { class: `answer ${TONES[state] || ''}`, role: 'status', text }),
      h('ul', { class: 'findings' }, findings.map(each => line(each.state, each.title, each.text))),
      h('details', {}, h('summary', { text: 'How copies are told: three signs' }),
        h('ul', { class: 'findings' }, signs.map(sign => line(sign.is_found === null ? 'unknown' : sign.is_found ? 'doubt' : 'good', sign.title, sign.text)))),
      h('p', { class: 'muted', text: `At step ${step}: the base, the adapted picture from the same noise, and the nearest of ${trained} trained pictures${gone ? ` (${gone} more are gone)` : ''}, mirror images and crops among them.` }),
      h('ul', { class: 'pairs' }, shown.map((each, i) => this.pair(pictures, each, i))),
      pictures.length > SHOWN && h('button', { class: 'btn quiet', type: 'button', text: this.isWhole ? 'Fewer' : `All ${pictures.length}`, onclick: () => { this.isWhole = !this.isWhole; this.draw(); } })];
  }

  pair(pictures, each, i) {
    const images = this.sides(each).map(({ src, alt, kind }) => h('img', { src, alt, class: `pixelated ${kind}`, loading: 'lazy' }));
    return h('li', { class: each.is_suspect ? 'is-suspect' : '' },
      h('button', { type: 'button', 'aria-label': `Pictures of seed ${each.seed}${each.is_suspect ? ', nearly a copy' : ''}, larger`, onclick: () => lightbox.open(this.large(pictures, i, 1)) }, images),
      h('span', { class: 'mono muted', title: 'Likeness of adapted and trained: of what is shown, of the pixels; 1 = the same', text: `${each.shown.toFixed(2)} ${each.pixels.toFixed(2)}` }));
  }

  sides(each) {
    const at = file => `/studio/judgements/${this.told.id}/pictures/${file}`, name = each.source || each.trained;
    return [
      { kind: 'base', src: at(each.base), alt: `base, seed ${each.seed}` },
      { kind: 'adapted', src: at(each.file), alt: `adapted, seed ${each.seed}; likeness to ${name}: ${each.shown.toFixed(3)} shown, ${each.pixels.toFixed(3)} pixels` },
      { kind: 'trained', src: `/studio/samples/${each.sample}`, alt: `trained: ${name}` }];
  }

  // The three of a seed in turn, then those of the next.
  large(pictures, i, side) {
    const { src, alt } = this.sides(pictures[i])[side], step = 3 * i + side;
    const turn = to => (to >= 0 && to < 3 * pictures.length ? () => this.large(pictures, Math.floor(to / 3), to % 3) : null);
    return { src, alt, caption: alt, next: turn(step + 1), previous: turn(step - 1) };
  }
}
