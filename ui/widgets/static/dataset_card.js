// One picture of the grid: thumbnail, badges, and its caption, edited in place and saved when left.

import * as api from './api.js';
import { unreadNote } from './captions_read.js';
import { clear, h } from './dom.js';
import { saidOf } from './dataset_said.js';
import { announce, path } from './dataset_state.js';

const LOOK = { 'held out': 'chip held-out', problem: 'chip problem', note: 'chip', edited: 'chip adapted', 'no caption': 'chip', framed: 'chip adapted', masked: 'chip adapted' };
const SIGN = { framed: '✂', masked: '◐' };
const draftKey = (dataset, file) => `studio.draft:${dataset}/${file}`;

// `on` is {open(file), pick(file, event)}; returns {root, file, update(item), picked(isPicked), flush()}.
export function card(dataset, item, on) { return new Card(dataset, item, on); }

class Card {
  constructor(dataset, item, on) {
    Object.assign(this, { dataset, item, on });
    this.file = this.item.file;
    this.box = h('input', { type: 'checkbox', 'aria-label': `Select ${this.item.source}`, onclick: event => this.on.pick(this.file, event) });
    this.image = h('img', { loading: 'lazy', decoding: 'async', width: this.item.width, height: this.item.height });
    this.thumb = h('button', { class: 'thumb', type: 'button', 'aria-label': `Open ${this.item.source}`, onclick: event => this.onThumb(event), onkeydown: event => this.onKey(event) }, this.image);
    this.badges = h('div', { class: 'badges' });
    this.text = h('textarea', { class: 'studio-input', rows: 2, 'aria-label': `Caption of ${this.item.source}`, placeholder: 'No caption yet', spellcheck: true });
    this.told = h('div', { class: 'told', role: 'status' });
    this.unread = unreadNote(this.text);
    this.said = saidOf(caption => { this.text.value = caption; this.save(); });
    this.root = h('article', { class: 'card', dataset: { file: this.file } }, this.thumb, h('label', { class: 'pick' }, this.box),
      h('div', { class: 'name mono muted', title: this.item.source }, h('bdi', { text: this.item.source })), this.text, this.unread.root, this.said.root, h('div', { class: 'foot' }, this.badges, this.told));
    this.saved = this.item.caption;
    this.force = false;
    this.saving = null;
    const draft = sessionStorage.getItem(draftKey(this.dataset, this.file));
    this.text.value = draft ?? this.saved;
    if (draft !== null && draft !== this.saved) this.tell('unsaved', 'Not saved yet');
    this.text.addEventListener('input', () => { this.keep(); this.tell('unsaved', this.text.value === this.saved ? '' : 'Not saved yet'); });
    this.text.addEventListener('blur', () => this.save());
    this.text.addEventListener('keydown', event => {
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) { event.preventDefault(); this.save(); }
      else if (event.key === 'Enter') event.preventDefault(); // a caption is one line
      if (event.key === 'Escape') { this.text.value = this.saved; this.keep(); this.tell('', ''); this.text.blur(); }
    });
    this.image.addEventListener('error', () => { this.thumb.classList.add('broken'); this.image.alt = `${this.item.source} cannot be shown`; });
    this.update(this.item);
  }

  onThumb(event) {
    if (event.shiftKey || event.ctrlKey || event.metaKey) this.on.pick(this.file, event);
    else this.on.open(this.file);
  }

  onKey(event) {
    if (event.key !== ' ') return;
    event.preventDefault();
    this.on.pick(this.file, event);
  }

  keep() {
    if (this.text.value === this.saved) sessionStorage.removeItem(draftKey(this.dataset, this.file));
    else try { sessionStorage.setItem(draftKey(this.dataset, this.file), this.text.value); } catch { /* the text stays in its box */ }
  }

  tell(state, words) {
    this.root.dataset.caption = state;
    clear(this.told, words || '', state === 'failed' ? h('button', { class: 'btn quiet', type: 'button', text: 'Try again', onclick: () => this.save() }) : null);
    if (state === 'saved') setTimeout(() => { if (this.root.dataset.caption === 'saved' && this.told.textContent === words) this.tell('', ''); }, 4000);
  }

  async save() {
    if (this.saving) return;
    if (this.text.value === this.saved) {
      this.text.value = this.saved = this.item.caption;
      if (this.root.dataset.caption === 'unsaved') this.tell('', '');
      return;
    }
    const sent = this.text.value;
    this.tell('saving', 'Saving …');
    try {
      this.saving = api.put(path(this.dataset, '/caption'), { file: this.file, caption: sent, ...(this.force ? {} : { before: this.saved }) });
      const answer = await this.saving;
      this.force = false;
      this.saved = this.item.caption = answer.caption;
      if (this.text.value === sent) this.text.value = this.saved;
      this.keep();
      this.tell('saved', answer.note ? `Saved; ${answer.note}` : 'Saved');
      announce(this.dataset);
    } catch (error) {
      this.force = error.message.includes('save again');
      this.tell('failed', `Not saved: ${api.said(error)}`);
    }
    this.saving = null;
    if (this.text.value !== this.saved && this.text.value !== sent && document.activeElement !== this.text) this.save();
  }

  // The page goes away: what was typed is sent without waiting for an answer.
  flush() {
    if (this.text.value !== this.saved && !this.saving) {
      fetch(path(this.dataset, '/caption'), { method: 'PUT', keepalive: true, headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ file: this.file, caption: this.text.value, before: this.saved }) }).catch(() => null);
    }
  }

  update(next) {
    this.item = next;
    if (this.image.getAttribute('src') !== next.thumb) this.image.src = next.thumb;
    this.image.classList.toggle('pixelated', Math.max(next.width, next.height) < 192);
    this.image.alt = next.caption || next.source;
    this.thumb.title = [`${next.width}×${next.height} px`, next.note].filter(Boolean).join(' · ');
    clear(this.badges, next.badges.map(name => h('span', { class: LOOK[name] || 'chip', text: SIGN[name] || name, title: name === 'framed' ? next.framed : name === 'masked' ? 'A mask says what is learned' : ['problem', 'note', 'text'].includes(name) ? next.note : null })));
    this.said.draw(next.said, next.caption);
    if (this.text.value === this.saved && !this.saving && document.activeElement !== this.text) this.text.value = this.saved = next.caption;
    this.unread.judge();
  }

  picked(isPicked) {
    this.box.checked = isPicked;
    this.root.classList.toggle('picked', isPicked);
  }
}
