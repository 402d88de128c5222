// Painting a mask over a picture: what is red is left out of training. Brush, eraser, fill, invert and undo; by mouse, finger or keys.

import { h } from './dom.js';
import { zoom } from './editor_zoom.js';
import { drawSeen, toStored } from './framing_geometry.js';

const LONGEST = 1024, UNDOS = 12, SAVE_MS = 400, RED = '#e5484d';

// `on.save(blob or null)` keeps the mask (null: none); returns {root, tools, show(image, edit), load(src or ''), flush(), undo()}.
export function maskStage(on) { return new MaskStage(on); }

class MaskStage {
  constructor(on) {
    this.on = on;
    this.view = { image: null, edit: null, isEmpty: true, tool: 'learn', past: [], future: [], at: [0.5, 0.5], timer: 0, last: null };
    this.paper = document.createElement('canvas'); // in the stored orientation; its alpha is what is left out
    this.canvas = h('canvas', { tabindex: 0, role: 'img', 'aria-label': 'Mask: arrow keys move the brush, Space paints, X changes the tool', onpointerdown: event => this.grab(event), onpointermove: event => this.drag(event), onpointerup: () => this.drop(), onpointercancel: () => this.drop(), onpointerleave: () => { this.view.isOver = false; this.draw(); }, onkeydown: event => this.onKey(event) });
    this.root = h('div', { class: 'stage' }, this.canvas);
    this.size = this.slider('Brush', 1, 40, 10);
    this.opacity = this.slider('Shade', 10, 100, 60);
    this.learn = this.tool('learn', 'Learn', 'Brush over what is to be learned (X changes the tool)');
    this.leave = this.tool('leave', 'Leave out', 'Erase from training');
    this.undoButton = this.act('Undo', 'Undo the last stroke (Ctrl+Z)', () => this.undo());
    this.redoButton = this.act('Redo', 'Do what was undone again (Ctrl+Y)', () => this.redo());
    this.tools = h('div', { class: 'row tools', role: 'toolbar', 'aria-label': 'Mask' }, this.learn, this.leave, this.size.root, this.opacity.root,
      this.act('Fill', 'Fill the whole picture with the chosen tool', () => this.change(() => this.fill())), this.act('Invert', 'Exchange what is learned and left out (I)', () => this.change(() => this.invert())),
      this.act('No mask', 'Remove the mask: the whole picture counts', () => this.change(() => this.empty())), this.undoButton, this.redoButton);
    this.look = zoom(this.root, this.canvas, () => this.draw());
    new ResizeObserver(() => this.draw()).observe(this.root);
    this.choose('learn');
  }

  focus() { this.canvas.focus(); }

  tool(name, text, label) {
    return h('button', { class: 'btn', type: 'button', text, title: label, 'aria-label': label, dataset: { tool: name }, onclick: () => this.choose(name) });
  }

  act(text, label, onclick) { return h('button', { class: 'btn', type: 'button', text, title: label, 'aria-label': label, onclick }); }

  slider(text, min, max, value) {
    const input = h('input', { type: 'range', min, max, value, 'aria-label': text, oninput: () => this.draw() });
    return { input, root: h('label', { class: 'slide' }, h('span', { text }), input) };
  }

  choose(name) {
    this.view.tool = name;
    for (const each of [this.learn, this.leave]) each.setAttribute('aria-pressed', String(each.dataset.tool === name));
    this.draw();
  }

  show(image, edit) {
    const isOther = this.view.image?.src !== image.src;
    Object.assign(this.view, { image, edit });
    if (isOther || !this.paper.width) {
      const scale = Math.min(1, LONGEST / Math.max(image.naturalWidth, image.naturalHeight));
      this.paper.width = Math.max(1, Math.round(image.naturalWidth * scale));
      this.paper.height = Math.max(1, Math.round(image.naturalHeight * scale));
      this.view.past = this.view.future = [];
      this.view.isEmpty = true;
      this.look.reset();
    }
    this.draw();
  }

  // Show the mask at `src`, or none; what is painted and not yet kept stays.
  async load(src) {
    if (this.view.timer || this.view.last) return;
    if (!src) { this.empty(); this.draw(); return; }
    const mask = new Image();
    mask.src = src;
    await mask.decode();
    if (this.view.timer || this.view.last) return;
    const context = this.paper.getContext('2d', { willReadFrequently: true });
    context.globalCompositeOperation = 'copy';
    context.drawImage(mask, 0, 0, this.paper.width, this.paper.height);
    const pixels = context.getImageData(0, 0, this.paper.width, this.paper.height), { data } = pixels;
    for (let i = 0; i < data.length; i += 4) { data[i + 3] = 255 - data[i]; data[i] = 229; data[i + 1] = 72; data[i + 2] = 77; }
    context.putImageData(pixels, 0, 0);
    this.view.isEmpty = false;
    this.draw();
  }

  draw() {
    const { image, edit } = this.view;
    this.undoButton.disabled = !this.view.past.length;
    this.redoButton.disabled = !this.view.future.length;
    if (!image?.naturalWidth || !this.root.clientWidth) return;
    const [w, h0] = edit.turns % 2 ? [image.naturalHeight, image.naturalWidth] : [image.naturalWidth, image.naturalHeight];
    const { size: [width, height], scale, ratio } = this.look.fit(w, h0);
    Object.assign(this.canvas.style, { width: `${width}px`, height: `${height}px` });
    Object.assign(this.canvas, { width: width * ratio, height: height * ratio });
    const context = this.canvas.getContext('2d');
    context.scale(ratio, ratio);
    context.imageSmoothingEnabled = scale * ratio < 3;
    drawSeen(context, image, edit, width, height);
    context.globalAlpha = Number(this.opacity.input.value) / 100;
    drawSeen(context, this.paper, edit, width, height);
    context.globalAlpha = 1;
    if (!this.view.isOver && document.activeElement !== this.canvas) return;
    const [x, y] = this.view.at, radius = Number(this.size.input.value) / 200 * Math.max(width, height);
    for (const [colour, line] of [['#17202b', 3], [this.view.tool === 'learn' ? '#2dd4bf' : RED, 1.5]]) {
      Object.assign(context, { strokeStyle: colour, lineWidth: line });
      context.beginPath();
      context.arc(x * width, y * height, radius, 0, 2 * Math.PI);
      context.stroke();
    }
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    this.view.at = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height].map(value => Math.min(1, Math.max(0, value)));
    this.view.isOver = true;
  }

  grab(event) {
    if (!this.view.image || !event.isPrimary || event.button) return;
    event.preventDefault();
    this.canvas.focus();
    this.canvas.setPointerCapture(event.pointerId);
    this.place(event);
    this.remember();
    this.begin();
    this.stroke();
  }

  drag(event) {
    if (!event.isPrimary) return;
    this.place(event);
    if (this.view.last) this.stroke(); else this.draw();
  }

  drop() {
    if (!this.view.last) return;
    this.view.last = null;
    this.keep();
  }

  // The first stroke with the brush on a picture without a mask: the rest is left out.
  begin() {
    if (this.view.isEmpty && this.view.tool === 'learn') this.cover();
    this.view.isEmpty = false;
    this.view.last = this.inPaper();
  }

  inPaper() { return toStored(this.view.edit, this.view.at).map((value, i) => value * [this.paper.width, this.paper.height][i]); }

  stroke() {
    const context = this.paper.getContext('2d', { willReadFrequently: true }), next = this.inPaper();
    Object.assign(context, { globalCompositeOperation: this.view.tool === 'learn' ? 'destination-out' : 'source-over', strokeStyle: RED, lineCap: 'round', lineJoin: 'round',
      lineWidth: Number(this.size.input.value) / 100 * Math.max(this.paper.width, this.paper.height) });
    context.beginPath();
    context.moveTo(...this.view.last);
    context.lineTo(next[0] + 0.01, next[1]);
    context.stroke();
    this.view.last = next;
    this.draw();
  }

  cover() {
    const context = this.paper.getContext('2d', { willReadFrequently: true });
    Object.assign(context, { globalCompositeOperation: 'copy', fillStyle: RED });
    context.fillRect(0, 0, this.paper.width, this.paper.height);
  }

  empty() {
    this.paper.getContext('2d', { willReadFrequently: true }).clearRect(0, 0, this.paper.width, this.paper.height);
    this.view.isEmpty = true;
  }

  fill() {
    this.empty();
    this.view.isEmpty = false;
    if (this.view.tool === 'leave') this.cover();
  }

  invert() {
    const context = this.paper.getContext('2d', { willReadFrequently: true });
    Object.assign(context, { globalCompositeOperation: 'source-out', fillStyle: RED });
    context.fillRect(0, 0, this.paper.width, this.paper.height);
    this.view.isEmpty = false;
  }

  change(make) {
    if (!this.view.image) return;
    this.remember();
    make();
    this.draw();
    this.keep();
  }

  now() {
    return { pixels: this.paper.getContext('2d', { willReadFrequently: true }).getImageData(0, 0, this.paper.width, this.paper.height), isEmpty: this.view.isEmpty };
  }

  remember() {
    this.view.past = [...this.view.past.slice(1 - UNDOS), this.now()];
    this.view.future = [];
  }

  undo() { this.exchange(this.view.past, this.view.future); }

  redo() { this.exchange(this.view.future, this.view.past); }

  exchange(from, to) {
    const other = from.pop();
    if (!other) return;
    to.push(this.now());
    this.paper.getContext('2d', { willReadFrequently: true }).putImageData(other.pixels, 0, 0);
    this.view.isEmpty = other.isEmpty;
    this.draw();
    this.keep();
  }

  keep() {
    clearTimeout(this.view.timer);
    this.view.timer = setTimeout(() => this.flush(), SAVE_MS);
    this.draw();
  }

  // Keep what is painted now, if that has not been done; resolves when it is.
  async flush() {
    if (!this.view.timer) return;
    clearTimeout(this.view.timer);
    this.view.timer = 0;
    await this.on.save(this.view.isEmpty ? null : await this.grey());
  }

  grey() {
    const out = document.createElement('canvas');
    Object.assign(out, { width: this.paper.width, height: this.paper.height });
    const context = out.getContext('2d');
    context.drawImage(this.paper, 0, 0);
    Object.assign(context, { globalCompositeOperation: 'source-in', fillStyle: '#000000' });
    context.fillRect(0, 0, out.width, out.height);
    Object.assign(context, { globalCompositeOperation: 'destination-over', fillStyle: '#ffffff' });
    context.fillRect(0, 0, out.width, out.height);
    return new Promise(resolve => out.toBlob(resolve, 'image/png'));
  }

  onKey(event) {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key], key = event.key.toLowerCase();
    const step = Number(this.size.input.value) / 200;
    if (way) {
      this.view.at = this.view.at.map((value, i) => Math.min(1, Math.max(0, value + way[i] * step)));
      if (event.shiftKey) this.dab(); else this.draw();
    } else if (key === ' ' || key === 'enter') this.dab();
    else if (key === '[' || key === ']') { this.size.input.value = Number(this.size.input.value) + (key === ']' ? 2 : -2); this.draw(); } else if (key === 'x') this.choose(this.view.tool === 'learn' ? 'leave' : 'learn');
    else if (key === 'i') this.change(() => this.invert());
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  dab() {
    this.remember();
    this.begin();
    this.stroke();
    this.view.last = null;
    this.keep();
  }
}
