// Does a run copy its pictures? What it draws, each beside the trained picture that lies nearest, and what three signs come to.

import * as api from './api.js';
import * as lightbox from './lightbox.js';
import { h, clear, toast } from './dom.js';
import { OVER } from './states.js';

const EVERY_MS = 700, FEW = 24, MANY = 96, SHOWN = 8;
const TONES = { none: 'good', signs: 'held-out', copies: 'problem', unknown: '' };
const DOES = { waiting: 'Waiting', loading: 'Loading the base model', drawing: 'Drawing', comparing: 'Comparing with every trained picture' };

export class Copies {
  constructor() {
    Object.assign(this, { run: '', told: null, isAsking: false, isWhole: false, drawn: '' });
    this.button = h('button', { class: 'btn', type: 'button', onclick: () => this.ask() });
    this.body = h('div', { class: 'found' });
    this.element = h('section', { class: 'panel copies', 'aria-label': 'Copies', hidden: true },
      h('div', { class: 'row' }, h('h3', { text: 'Copies of trained pictures' }), h('span', { class: 'spring' }), this.button), this.body);
    this.polling = api.poll(() => this.follow(), EVERY_MS, this.element);
  }

  // The run that is shown, and whether it has something to draw with.
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
    const told = await api.get(`/studio/copy-checks?run=${encodeURIComponent(run)}`);
    if (run === this.run) this.take(told);
  }

  async ask() {
    const { run } = this;
    this.isAsking = true;
    this.draw();
    try {
      const told = await api.post('/studio/copy-checks', { run, count: this.count });
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
    try { await api.post(`/studio/copy-checks/${this.told.id}/cancel`); } catch (error) { button.disabled = false; toast(error.message, { kind: 'error' }); }
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
    this.button.textContent = told?.result ? `Look again, ${this.count} pictures` : 'Look for copies';
    this.element.dataset.state = !told ? 'loading' : isAtWork ? 'busy' : told.result ? told.result.level : 'ready';
    const failed = told?.status && ['failed', 'interrupted'].includes(told.status.state);
    clear(this.body, isAtWork ? this.working() : told?.result ? this.found(told.result) : [
      failed && h('p', { class: 'chip problem', role: 'alert', text: told.status.error }),
      h('p', { class: 'muted', text: `Draws ${FEW} pictures with captions that were trained on, and finds the trained picture that is nearest to each.` })]);
  }

  working() {
    const { state, done, total, note } = this.told.status;
    return [h('div', { class: 'row' }, h('span', { role: 'status', text: `${DOES[state] || state}${note ? `, ${note}` : ''} …` }),
      h('span', { class: 'bar', role: 'progressbar', 'aria-label': 'Looking for copies', 'aria-valuenow': done || 0, 'aria-valuemax': total || 1 }, h('span', { class: 'fill', style: { width: `${100 * (done || 0) / (total || 1)}%` } })),
      h('button', { class: 'btn quiet', type: 'button', text: 'Cancel', onclick: event => this.cancel(event.target) }))];
  }

  found({ level, text, signs, step, trained, gone, pictures }) {
    const marks = { true: ['!', 'found'], false: ['✓', 'not found'], null: ['–', 'cannot be told'] };
    const shown = this.isWhole ? pictures : pictures.slice(0, SHOWN);
    return [
      h('p', { class: `answer ${TONES[level] || ''}`, role: 'status', text }),
      h('ul', { class: 'signs' }, signs.map(sign => h('li', { class: sign.is_found ? 'is-found' : '' },
        h('span', { class: 'mark', text: marks[sign.is_found][0], 'aria-label': marks[sign.is_found][1] }), h('span', {}, h('strong', { text: `${sign.title}. ` }), sign.text)))),
      h('p', { class: 'muted', text: `Drawn at step ${step}, above; below each, the nearest of ${trained} trained pictures${gone ? ` (${gone} more are gone)` : ''}, mirror images and crops among them.` }),
      h('ul', { class: 'pairs' }, shown.map((each, i) => h('li', { class: each.is_suspect ? 'is-suspect' : '' },
        h('button', { type: 'button', 'aria-label': `Pair ${i + 1}${each.is_suspect ? ', nearly the same' : ''}: drawn from seed ${each.seed}, and ${each.source || each.trained}; larger`, onclick: () => lightbox.open(this.large(pictures, i, 0)) },
          h('img', { src: this.drawnAt(each), alt: `Drawn from seed ${each.seed}`, class: 'pixelated', loading: 'lazy' }),
          h('img', { src: trainedAt(each), alt: `Trained picture ${each.source || each.trained}`, class: 'pixelated', loading: 'lazy' })),
        h('span', { class: 'mono muted', title: 'Likeness of what is shown, and of the pixels; 1 = the same', text: `${each.shown.toFixed(2)} ${each.pixels.toFixed(2)}` })))),
      pictures.length > SHOWN && h('button', { class: 'btn quiet', type: 'button', text: this.isWhole ? 'Fewer' : `All ${pictures.length}`, onclick: () => { this.isWhole = !this.isWhole; this.draw(); } })];
  }

  drawnAt(each) { return `/studio/copy-checks/${this.told.id}/pictures/${each.file}`; }

  // Drawn and trained in turn, pair after pair.
  large(pictures, i, side) {
    const each = pictures[i], name = each.source || each.trained, next = side ? [i + 1, 0] : [i, 1], last = side ? [i, 0] : [i - 1, 1];
    const turn = ([k, s]) => (pictures[k] ? () => this.large(pictures, k, s) : null);
    const caption = side ? `trained: ${name}` : `drawn from seed ${each.seed}; likeness to ${name}: ${each.shown.toFixed(3)} shown, ${each.pixels.toFixed(3)} pixels`;
    return { src: side ? trainedAt(each) : this.drawnAt(each), alt: caption, caption, next: turn(next), previous: turn(last) };
  }
}

const trainedAt = each => `/studio/samples/${each.sample}`;
