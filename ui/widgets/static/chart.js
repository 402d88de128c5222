// A line chart on a plain canvas: as sharp as the screen, fast with 100,000 points, still when nothing changes.
//
//   const chart = new Chart(element, { series: [{ key, label, colour: '--adapted', width, faint, dashed, dots }], yScale, xLabel, title });
//   chart.setData('loss', [[1, 0.5], [2, null], …]);  chart.append('loss', [[3, 0.4]]);  chart.markers([{ x: 240, label: 'best' }]);

import { h, clear, fmt } from './dom.js';
import { Points, range } from './chart_scale.js';
import { GAP, paintGrid, paintLine, paintMarkers } from './chart_paint.js';

const FONT = '11px "IBM Plex Mono", ui-monospace, monospace';
const shown = new Set();

function watchLook() {
  const redraw = () => { for (const chart of [...shown]) chart.canvas.isConnected ? chart.draw() : shown.delete(chart); };
  const observer = new MutationObserver(redraw);
  for (const element of [document.documentElement, document.body]) observer.observe(element, { attributes: true, attributeFilter: ['class', 'style'] });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
  document.fonts?.ready.then(redraw);
}

export class Chart {
  constructor(place, { series = [], yScale = 'linear', xLabel = 'step', title = 'Chart', legend = true, onCursor = null } = {}) {
    const given = place instanceof HTMLCanvasElement;
    this.canvas = given ? place : h('canvas');
    this.frame = h('div', { class: 'frame' });
    this.legend = h('div', { class: 'legend', hidden: !legend });
    this.readout = h('div', { class: 'readout mono', hidden: true });
    this.cross = h('div', { class: 'cross', hidden: true });
    this.told = h('div', { class: 'visually-hidden', 'aria-live': 'polite' });
    const host = h('div', { class: 'chart' });
    if (given) place.replaceWith(host); else clear(place, host);
    host.append(this.legend, this.frame);
    this.frame.append(this.canvas, this.cross, this.readout, this.told);
    Object.assign(this, { host, yScale, xLabel, title, onCursor, data: new Map(), hidden: new Set(), marked: [], xRange: null, cursor: null, wanted: 0, stale: true });
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute('role', 'img');
    this.setSeries(series);
    this.listen();
    if (!shown.size) watchLook();
    shown.add(this);
  }

  // Replace the list of series; data of keys that stay are kept.
  setSeries(series) {
    this.series = series;
    for (const key of [...this.data.keys()]) if (!series.some(s => s.key === key)) this.data.delete(key);
    for (const { key } of series) if (!this.data.has(key)) this.data.set(key, new Points());
    this.drawnLegend = '';
    this.changed();
  }

  setData(key, points) {
    const data = this.data.get(key);
    data.clear();
    data.append(points);
    this.changed();
  }

  append(key, points) {
    if (!points.length) return;
    this.data.get(key).append(points);
    this.changed();
  }

  markers(list) {
    this.marked = list;
    this.changed();
  }

  setScale(yScale) {
    this.yScale = yScale;
    this.changed();
  }

  // Show at least the steps from `low` to `high`; null = as far as the data goes (at that end).
  setRange(low, high) {
    const wanted = [low ?? Infinity, high ?? -Infinity];
    if (String(wanted) === String(this.xRange)) return;
    this.xRange = wanted;
    this.changed();
  }

  changed() {
    this.stale = true;
    this.draw();
  }

  // Ask for a new drawing in the next frame; several wishes make one drawing.
  draw() {
    if (!this.wanted) this.wanted = requestAnimationFrame(() => { this.wanted = 0; this.paint(); });
  }

  visible() {
    return this.series.filter(s => !this.hidden.has(s.key) && this.data.get(s.key).length);
  }

  measure() {
    const list = this.visible().map(s => this.data.get(s.key)), log = this.yScale === 'log';
    const { lo, hi } = range(list, log);
    let first = Math.min(...list.map(d => d.xs[0])), last = Math.max(...list.map(d => d.xs[d.length - 1]));
    if (this.xRange) [first, last] = [Math.min(first, this.xRange[0]), Math.max(last, this.xRange[1])];
    if (!isFinite(first) || !isFinite(last)) [first, last] = [0, 1];
    this.bounds = { lo, hi, first, last: last > first ? last : first + 1, log };
    this.stale = false;
    this.fillLegend();
    this.summarise();
  }

  paint() {
    const width = this.frame.clientWidth, height = this.frame.clientHeight;
    if (!width || !height) return;
    if (this.stale) this.measure();
    const ratio = window.devicePixelRatio || 1;
    const [w, v] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (this.canvas.width !== w || this.canvas.height !== v) Object.assign(this.canvas, { width: w, height: v });
    this.box = { left: GAP.left, top: GAP.top, right: width - GAP.right, bottom: height - GAP.bottom };
    const context = this.canvas.getContext('2d'), style = getComputedStyle(this.canvas);
    const colour = name => (name.startsWith('--') ? style.getPropertyValue(name).trim() : name) || '#888';
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    context.font = FONT;
    paintGrid(context, this, colour);
    context.save();
    context.beginPath();
    context.rect(this.box.left - 3, this.box.top - 8, this.box.right - this.box.left + 6, this.box.bottom - this.box.top + 11);
    context.clip();
    for (const series of this.visible()) paintLine(context, this, series, colour(series.colour));
    context.restore();
    paintMarkers(context, this, colour);
    this.placeCross();
  }

  px(x) {
    const { first, last } = this.bounds, { left, right } = this.box;
    return left + (x - first) / (last - first) * (right - left);
  }

  py(y) {
    const { lo, hi, log } = this.bounds, { top, bottom } = this.box;
    const share = log ? Math.log(y / lo) / Math.log(hi / lo) : (y - lo) / (hi - lo);
    return bottom - share * (bottom - top);
  }

  fillLegend() {
    const list = this.series.filter(s => this.data.get(s.key).length);
    const text = JSON.stringify(list.map(s => [s.key, s.label, this.hidden.has(s.key)]));
    if (text === this.drawnLegend) return;
    this.drawnLegend = text;
    const focused = this.legend.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    clear(this.legend, list.map(s => h('button', {
      type: 'button', dataset: { key: s.key }, 'aria-pressed': String(!this.hidden.has(s.key)), title: 'Show or hide this curve', onclick: () => this.toggle(s.key),
    }, h('span', { class: `swatch${s.dashed ? ' dashed' : ''}${s.faint ? ' faint' : ''}`, style: { borderColor: s.colour.startsWith('--') ? `var(${s.colour})` : s.colour } }), s.label)));
    if (focused !== null) this.legend.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  }

  toggle(key) {
    if (!this.hidden.delete(key)) this.hidden.add(key);
    this.changed();
  }

  listen() {
    new ResizeObserver(() => this.draw()).observe(this.frame);
    this.canvas.addEventListener('pointermove', event => this.point(event));
    this.canvas.addEventListener('pointerdown', event => this.point(event));
    this.canvas.addEventListener('pointerleave', () => { if (document.activeElement !== this.canvas) this.setCursor(null, true); });
    this.canvas.addEventListener('blur', () => this.setCursor(null, true));
    this.canvas.addEventListener('keydown', event => this.key(event));
  }

  point(event) {
    if (!this.box) return;
    const x = event.clientX - this.canvas.getBoundingClientRect().left, { left, right } = this.box;
    const { first, last } = this.bounds;
    this.setCursor(first + Math.min(1, Math.max(0, (x - left) / (right - left))) * (last - first), true);
  }

  // The series that the cursor follows: the longest one that is shown.
  guide() {
    return this.visible().map(s => this.data.get(s.key)).reduce((a, b) => (a && a.length >= b.length ? a : b), null);
  }

  key(event) {
    const guide = this.guide(), strides = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 };
    if (!guide) return;
    let index = this.cursor === null ? guide.length - 1 : guide.nearest(this.cursor);
    if (event.key === 'Escape') return this.setCursor(null, true);
    if (event.key in strides) index += strides[event.key] * (event.shiftKey ? 10 : 1) * Math.max(1, Math.round(guide.length / 400));
    else if (event.key === 'Home') index = 0;
    else if (event.key === 'End') index = guide.length - 1;
    else return;
    event.preventDefault();
    this.setCursor(guide.xs[Math.min(guide.length - 1, Math.max(0, index))], true);
    this.told.textContent = this.readout.textContent;
  }

  // Put the crosshair at the point nearest to `x`, null = away; `own` = moved here, so that linked charts are told.
  setCursor(x, own = false) {
    const guide = this.guide();
    this.cursor = x === null || !guide ? null : guide.xs[guide.nearest(x)];
    this.placeCross();
    if (own) this.onCursor?.(this.cursor);
  }

  placeCross() {
    const off = this.cursor === null || !this.box;
    this.cross.hidden = this.readout.hidden = off;
    if (off) return;
    const values = this.valuesAt(this.cursor), at = this.px(this.cursor);
    clear(this.readout,
      h('span', { class: 'at', text: `${this.xLabel} ${Math.round(this.cursor)}` }),
      values.map(([series, value]) => h('span', { style: { color: series.colour.startsWith('--') ? `var(${series.colour})` : series.colour }, text: ` ${series.label} ${fmt.number(value)}` })));
    this.cross.style.transform = `translateX(${Math.round(at)}px)`;
    Object.assign(this.cross.style, { top: `${this.box.top}px`, height: `${this.box.bottom - this.box.top}px` });
    const right = at > (this.box.left + this.box.right) / 2;
    Object.assign(this.readout.style, { left: right ? '' : `${at + 10}px`, right: right ? `${this.frame.clientWidth - at + 10}px` : '' });
  }

  // What each shown series says at step x: its nearest point, if that is near enough to be meant.
  valuesAt(x) {
    const reach = Math.max(1, (this.bounds.last - this.bounds.first) / 60);
    return this.visible().flatMap(series => {
      const data = this.data.get(series.key), i = data.nearest(x);
      const between = i >= 0 && (Math.abs(data.xs[i] - x) <= reach || series.dashed);
      return between && isFinite(data.ys[i]) ? [[series, data.ys[i]]] : [];
    });
  }

  summarise() {
    const parts = this.visible().filter(s => !s.faint).map(s => {
      const data = this.data.get(s.key), i = data.length - 1;
      return `${s.label} ${fmt.number(data.ys[i])} at ${this.xLabel} ${data.xs[i]}`;
    });
    this.canvas.setAttribute('aria-label', `${this.title}: ${parts.join(', ') || 'no points yet'}. Arrow keys read the values.`);
  }
}
