// One run as it is now, or as it was: the same view for a run that goes on, one that has ended, and one started elsewhere.

import * as api from './api.js';
import * as place from './place.js';
import { h, clear, toast, fmt } from './dom.js';
import { Chart } from './chart.js';
import { Previews } from './live_run_previews.js';
import { LIVING } from './states.js';
import { Verdict } from './verdict.js';

const STATES = {
  queued: 'queued', starting: 'starting', preparing: 'preparing', running: 'training', parked: 'holding for pictures', finishing: 'choosing the adapter',
  finished: 'finished', stopped: 'stopped', failed: 'failed', interrupted: 'interrupted', damaged: 'damaged',
};
const TONES = { finished: 'good', failed: 'problem', interrupted: 'problem', damaged: 'problem', stopped: 'held-out' };
const SERIES = [
  { key: 'raw', label: 'loss, raw', colour: '--adapted', faint: true },
  { key: 'smooth', label: 'loss, smoothed', colour: '--adapted' },
  { key: 'base', label: 'held-out, base', colour: '--base', dashed: true },
  { key: 'held', label: 'held-out', colour: '--held-out', dots: true },
  { key: 'seen', label: 'trained pictures, measured alike', colour: '--adapted', dots: true, width: 1 },
];
const LOOK_EVERY = 5; // polls between looks for a newer run, while none is chosen

export function mount({ root, props, trigger, watch }) {
  const view = new View(root, trigger);
  watch('value', () => {
    if (!props.value?.run) return;
    view.isWanted = true;
    place.set({ run: props.value.run });
  });
  tellPlace(trigger);
  view.isWanted = place.takeWish('train') === place.LOOK;
  const leave = place.on(() => {
    if (!root.isConnected) return leave();
    tellPlace(trigger);
    view.isWanted ||= place.takeWish('train') === place.LOOK;
    view.poll?.now();
  });
  view.poll = api.poll(() => view.refresh(), 1000, root);
}

let toldDataset = '';

function tellPlace(trigger) {
  const { dataset, base } = place.get();
  if (base || (dataset && dataset !== toldDataset)) trigger('place', { dataset: toldDataset = dataset || '', base: base || '' });
  if (base) place.set({ base: null }); // asked for once; from now on the form says
}

class View {
  constructor(root, trigger) {
    Object.assign(this, { root, trigger, run: null, cursor: '0', turn: 0, scores: [], drawnButtons: '', isWanted: false });
    this.build();
  }

  build() {
    this.title = h('h2');
    this.chip = h('span', { class: 'chip' });
    this.buttons = h('div', { class: 'row actions' });
    this.bar = h('div', { class: 'bar', role: 'progressbar', 'aria-label': 'Steps', 'aria-valuemin': 0 }, h('div', { class: 'fill' }));
    this.facts = h('dl', { class: 'facts' });
    this.verdict = h('p', { class: 'verdict', hidden: true });
    this.spoken = h('div', { class: 'visually-hidden', role: 'status', 'aria-live': 'polite' });
    this.note = h('p', { class: 'note muted', hidden: true });
    this.log = h('ol', { class: 'happened', tabindex: 0, 'aria-label': 'What happened' });
    this.curves = h('div', { class: 'curves' });
    this.rate = h('div', { class: 'rate' });
    this.scale = h('button', { class: 'btn quiet', type: 'button', 'aria-pressed': 'true', text: 'Log scale', onclick: () => this.switchScale() });
    this.previews = new Previews();
    this.judged = new Verdict();
    this.reading = h('p', { class: 'note muted', hidden: true, text: 'Held-out and trained pictures are measured alike, at fixed noise: where they part, pictures are learned by heart. The training loss weighs noise levels otherwise: its height stands alone.' });
    this.body = h('div', { class: 'run' },
      h('section', { class: 'panel head', 'aria-label': 'Run' }, h('div', { class: 'row' }, this.title, this.chip, h('span', { class: 'spring' }), this.buttons), this.bar, this.facts, this.verdict, this.note, this.spoken),
      h('section', { class: 'panel', 'aria-label': 'Curves' }, h('div', { class: 'row' }, h('h3', { text: 'Loss' }), h('span', { class: 'spring' }), this.scale), this.curves, this.reading, this.rate),
      h('section', { class: 'panel', 'aria-label': 'Previews' }, h('h3', { text: 'Previews' }), this.previews.element),
      this.judged.element,
      h('section', { class: 'panel', 'aria-label': 'Events' }, h('h3', { text: 'What happened' }), this.log));
    this.empty = h('div', { class: 'empty' });
    clear(this.root, this.empty, this.body);
    this.chart = new Chart(this.curves, { series: SERIES, title: 'Loss', yScale: 'log', onCursor: x => this.rates.setCursor(x) });
    this.rates = new Chart(this.rate, { series: [{ key: 'lr', label: 'learning rate', colour: '--ink-2', width: 1.5 }], title: 'Learning rate', onCursor: x => this.chart.setCursor(x) });
    this.body.hidden = true;
  }

  switchScale() {
    const log = this.chart.yScale !== 'log';
    this.chart.setScale(log ? 'log' : 'linear');
    this.scale.setAttribute('aria-pressed', String(log));
  }

  async refresh() {
    if (!this.root.offsetParent) return; // another tab is open
    const run = await this.choose();
    if (run !== this.run) [this.run, this.cursor] = [run, '0'];
    if (!run) return this.showNone();
    let answer;
    try {
      answer = await api.get(`/studio/runs/${encodeURIComponent(run)}/live?after=${encodeURIComponent(this.cursor)}`);
    } catch (error) {
      return this.showTrouble(error);
    }
    if (run === (place.get().run || this.run)) this.show(answer);
    if (this.isWanted) this.bring();
  }

  // Into sight, where a long form or a narrow page has it out of sight: what was pressed has begun here.
  bring() {
    if (document.querySelector('.train-note')?.dataset.state === 'loading') return; // the form is still growing
    this.isWanted = false;
    const { top } = this.root.getBoundingClientRect();
    if (top < 0 || top > innerHeight / 2) this.root.scrollIntoView({ block: 'start' });
  }

  // The run of the address; else the newest that goes on, else the newest.
  async choose() {
    const wanted = place.get().run;
    if (wanted) return wanted;
    this.turn += 1;
    if (this.run && (this.isAlive || this.turn % LOOK_EVERY)) return this.run;
    try {
      const rows = await api.get('/studio/runs');
      return (rows.find(r => LIVING.has(r.state) && r.state !== 'queued') || rows[0])?.run || null;
    } catch {
      return this.run;
    }
  }

  showNone() {
    const button = document.getElementById('train-button');
    if (!window.studio?.chosen?.dataset || !button) return this.showEmpty('No runs yet. Choose a dataset and press “Train adapter”.', 'Go to Dataset', () => place.open('dataset'));
    return this.showEmpty('No runs yet. Everything is preset: “Train adapter” starts the first one.', 'Start with these settings', () => button.click());
  }

  showEmpty(text, label, action) {
    if (this.root.dataset.state === 'empty' && this.empty.firstChild?.textContent === text) return;
    clear(this.empty, h('p', { text }), h('button', { class: 'btn', type: 'button', text: label, onclick: action }));
    this.empty.hidden = false;
    this.body.hidden = true;
    this.root.dataset.state = 'empty';
  }

  showTrouble(error) {
    if (error.status) {
      this.cursor = '0';
      this.showEmpty(api.said(error), 'All runs', () => place.open('runs', { run: null }));
      return;
    }
    this.note.textContent = `${api.said(error)} A run goes on without it.`;
    this.note.hidden = false;
    this.root.dataset.state = 'error';
  }

  show(answer) {
    const wasAlive = this.isAlive;
    this.isAlive = LIVING.has(answer.state);
    if (wasAlive && !this.isAlive) window.studio?.askAgain?.(); // a run that has ended tells what the next one takes
    if (answer.full) this.start(answer);
    this.cursor = answer.cursor;
    this.empty.hidden = true;
    this.body.hidden = false;
    this.showHead(answer);
    this.showCurves(answer);
    this.previews.add(answer.previews);
    this.judged.show(answer.run, answer.has_adapter && !this.isAlive);
    this.tell(answer.events);
    this.root.dataset.state = 'ready';
    this.root.dataset.run = answer.run;
    this.root.dataset.runState = answer.state;
  }

  // A run from its beginning: everything drawn before is replaced.
  start(answer) {
    this.scores = [];
    for (const { key } of SERIES) this.chart.setData(key, []);
    this.reading.hidden = true;
    this.rates.setData('lr', []);
    this.previews.start(answer.run, answer.prompts || [], answer.preview_steps || []);
    clear(this.log);
    this.title.textContent = answer.name || answer.run;
    this.title.title = answer.run;
    this.settings = [answer.run, answer.dataset && `on ${answer.dataset}`, answer.base && `from ${answer.base.split(/[\\/]/).pop()}`, answer.preset].filter(Boolean).join(' · ');
  }

  showHead(answer) {
    const { state, step, steps, stopping, behind } = answer;
    const said = stopping && state !== 'finishing' ? 'stopping' : state === 'queued' && behind ? `queued behind ${behind}` : STATES[state] || state;
    if (this.chip.textContent !== said) {
      this.chip.textContent = this.spoken.textContent = said;
      this.chip.className = `chip ${TONES[state] || 'adapted'}`;
    }
    this.bar.firstChild.style.width = `${steps ? Math.min(100, 100 * step / steps) : 0}%`;
    this.bar.setAttribute('aria-valuemax', steps || 0);
    this.bar.setAttribute('aria-valuenow', step);
    this.showFacts(answer);
    this.verdict.hidden = !answer.verdict;
    if (this.verdict.textContent !== answer.verdict) {
      this.verdict.textContent = answer.verdict;
      this.verdict.className = `verdict ${TONES[state] || ''}`;
      if (answer.verdict) this.spoken.textContent = answer.verdict;
    }
    const note = answer.error && state !== 'failed' ? answer.error : this.settings;
    this.note.textContent = note || '';
    this.note.hidden = !note;
    this.showButtons(answer);
  }

  showFacts(answer) {
    const { memory, caching, now } = answer, gib = x => `${x.toFixed(x < 10 ? 2 : 1)}`;
    const used = this.isAlive ? memory.used_gib ?? memory.peak_gib : memory.peak_gib;
    const facts = [
      caching && !answer.step ? [caching.what, `${caching.done}/${caching.total}`] : ['step', `${answer.step}/${answer.steps ?? '?'}`],
      ['loss', now ? fmt.number(now.loss, 3) : '–'],
      ['speed', answer.speed ? `${fmt.number(answer.speed, 2)} it/s` : '–'],
      this.isAlive ? ['left', fmt.seconds(answer.seconds_left)] : ['took', fmt.seconds(answer.seconds)],
      [this.isAlive ? memory.kind : `${memory.kind}, peak`, used ? `${gib(used)}/${Math.round(memory.total_gib)} GiB` : '–'],
    ];
    if (answer.best !== null) facts.push(['best held-out', `step ${answer.best}`]);
    if (this.facts.children.length !== facts.length) clear(this.facts, facts.map(() => h('div', {}, h('dt'), h('dd', { class: 'mono' }))));
    facts.forEach(([name, value], i) => {
      const [term, detail] = this.facts.children[i].children;
      if (term.textContent !== name) term.textContent = name;
      if (detail.textContent !== value) detail.textContent = value;
    });
  }

  showButtons(answer) {
    const { state, stopping, has_adapter: ready, run } = answer;
    const list = [];
    if (this.isAlive) list.push([stopping ? 'Stopping' : 'Stop', 'Ends after this step; it can be resumed', () => this.ask('stop'), stopping || state === 'finishing']);
    else {
      if (ready) list.push(['Compare', 'Base and adapted side by side', () => place.open('compare', { run }), false, state === 'finished']);
      if (ready) list.push(['Export', 'A file for other programs', () => place.open('export', { run })]);
      if (state !== 'finished') list.push(['Resume', 'Continue from the newest resume point', () => this.ask('resume'), false, true]);
      if (ready) list.push(['Extend', 'A new run that continues from this adapter', () => this.fill('extend')]);
    }
    list.push(['Clone', 'A new run with these settings', () => this.fill('clone')]);
    const shape = JSON.stringify([run, list.map(([label, , , off]) => [label, off])]);
    if (shape === this.drawnButtons) return;
    this.drawnButtons = shape;
    clear(this.buttons, list.map(([label, title, onclick, off, accent]) => h('button', { class: `btn${accent ? ' accent' : ''}`, type: 'button', text: label, title, onclick, disabled: Boolean(off) })));
  }

  async ask(what) {
    for (const button of this.buttons.children) button.disabled = true;
    try {
      await api.post(`/studio/runs/${encodeURIComponent(this.run)}/${what}`);
    } catch (error) {
      toast(api.said(error), { kind: 'error' });
    }
    this.drawnButtons = '';
    this.poll.now();
  }

  fill(what) {
    this.trigger(what, { run: this.run });
    document.getElementById('train-form')?.scrollIntoView({ block: 'nearest', behavior: 'smooth' });
  }

  showCurves(answer) {
    const { points, scores, step, steps } = answer;
    this.chart.append('raw', points.raw);
    this.chart.append('smooth', points.smooth);
    this.rates.append('lr', points.lr);
    if (scores.length) {
      this.scores = [...this.scores.filter(s => !scores.some(n => n.step === s.step)), ...scores].sort((a, b) => a.step - b.step);
      this.chart.setData('held', [[0, this.scores[0].base], ...this.scores.map(s => [s.step, s.loss])]);
      const seen = this.scores.filter(s => s.seen !== null);
      if (seen.length) this.chart.setData('seen', [[0, seen[0].seen_base], ...seen.map(s => [s.step, s.seen])]);
      this.reading.hidden = false;
    }
    if (this.scores.length) this.chart.setData('base', [[0, this.scores[0].base], [Math.max(step, 1), this.scores[0].base]]);
    const end = this.isAlive ? steps : null;
    for (const chart of [this.chart, this.rates]) chart.setRange(0, end);
    const marked = answer.chosen?.step ? [{ x: answer.chosen.step, label: `${answer.state === 'stopped' ? 'kept' : 'chosen'}: step ${answer.chosen.step}`, colour: '--adapted' }]
      : answer.best ? [{ x: answer.best, label: `best held-out: step ${answer.best}` }] : [];
    if (JSON.stringify(marked) !== JSON.stringify(this.chart.marked)) this.chart.markers(marked);
  }

  tell(events) {
    if (!events.length) return;
    const atEnd = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 24;
    this.log.append(...events.map(event => h('li', { class: event.tone },
      h('time', { class: 'mono', text: fmt.time(event.time), title: event.time ? new Date(event.time * 1000).toLocaleString() : '' }), h('span', { text: event.text }))));
    if (atEnd) this.log.scrollTop = this.log.scrollHeight;
  }
}
