// Painting a mask over a picture: what is red is left out of training. Brush, eraser, fill, invert and undo; by mouse, finger or keys.

import { h } from './dom.js';
import { zoom } from './editor_zoom.js';
import { drawSeen, toStored } from './framing_geometry.js';

const LONGEST = 1024, UNDOS = 12, SAVE_MS = 400, RED = '#e5484d';

// `on.save(blob or null)` keeps the mask (null: none); returns {root, tools, show(image, edit), load(src or ''), flush(), undo()}.
export function maskStage(on) {
  const view = { image: null, edit: null, isEmpty: true, tool: 'learn', past: [], future: [], at: [0.5, 0.5], timer: 0, last: null };
  const paper = document.createElement('canvas'); // in the stored orientation; its alpha is what is left out
  const canvas = h('canvas', { tabindex: 0, role: 'img', 'aria-label': 'Mask: arrow keys move the brush, Space paints, X changes the tool', onpointerdown: grab, onpointermove: drag, onpointerup: drop, onpointercancel: drop, onpointerleave: () => { view.isOver = false; draw(); }, onkeydown: onKey });
  const root = h('div', { class: 'stage' }, canvas);
  const size = slider('Brush', 1, 40, 10), opacity = slider('Shade', 10, 100, 60);
  const learn = tool('learn', 'Learn', 'Brush over what is to be learned (X changes the tool)'), leave = tool('leave', 'Leave out', 'Erase from training');
  const undoButton = act('Undo', 'Undo the last stroke (Ctrl+Z)', undo), redoButton = act('Redo', 'Do what was undone again (Ctrl+Y)', redo);
  const tools = h('div', { class: 'row tools', role: 'toolbar', 'aria-label': 'Mask' }, learn, leave, size.root, opacity.root,
    act('Fill', 'Fill the whole picture with the chosen tool', () => change(fill)), act('Invert', 'Exchange what is learned and left out (I)', () => change(invert)),
    act('No mask', 'Remove the mask: the whole picture counts', () => change(empty)), undoButton, redoButton);
  const look = zoom(root, canvas, draw);
  new ResizeObserver(draw).observe(root);
  choose('learn');
  return { root, tools, show, load, flush, undo, redo, remember, look, focus: () => canvas.focus() };

  function tool(name, text, label) {
    return h('button', { class: 'btn', type: 'button', text, title: label, 'aria-label': label, dataset: { tool: name }, onclick: () => choose(name) });
  }

  function act(text, label, onclick) { return h('button', { class: 'btn', type: 'button', text, title: label, 'aria-label': label, onclick }); }

  function slider(text, min, max, value) {
    const input = h('input', { type: 'range', min, max, value, 'aria-label': text, oninput: () => draw() });
    return { input, root: h('label', { class: 'slide' }, h('span', { text }), input) };
  }

  function choose(name) {
    view.tool = name;
    for (const each of [learn, leave]) each.setAttribute('aria-pressed', String(each.dataset.tool === name));
    draw();
  }

  function show(image, edit) {
    const isOther = view.image?.src !== image.src;
    Object.assign(view, { image, edit });
    if (isOther || !paper.width) {
      const scale = Math.min(1, LONGEST / Math.max(image.naturalWidth, image.naturalHeight));
      paper.width = Math.max(1, Math.round(image.naturalWidth * scale));
      paper.height = Math.max(1, Math.round(image.naturalHeight * scale));
      view.past = view.future = [];
      view.isEmpty = true;
      look.reset();
    }
    draw();
  }

  // Show the mask at `src`, or none; what is painted and not yet kept stays.
  async function load(src) {
    if (view.timer || view.last) return;
    if (!src) { empty(); draw(); return; }
    const mask = new Image();
    mask.src = src;
    await mask.decode();
    if (view.timer || view.last) return;
    const context = paper.getContext('2d', { willReadFrequently: true });
    context.globalCompositeOperation = 'copy';
    context.drawImage(mask, 0, 0, paper.width, paper.height);
    const pixels = context.getImageData(0, 0, paper.width, paper.height), { data } = pixels;
    for (let i = 0; i < data.length; i += 4) { data[i + 3] = 255 - data[i]; data[i] = 229; data[i + 1] = 72; data[i + 2] = 77; }
    context.putImageData(pixels, 0, 0);
    view.isEmpty = false;
    draw();
  }

  function draw() {
    const { image, edit } = view;
    undoButton.disabled = !view.past.length;
    redoButton.disabled = !view.future.length;
    if (!image?.naturalWidth || !root.clientWidth) return;
    const [w, h0] = edit.turns % 2 ? [image.naturalHeight, image.naturalWidth] : [image.naturalWidth, image.naturalHeight];
    const { size: [width, height], scale, ratio } = look.fit(w, h0);
    Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
    Object.assign(canvas, { width: width * ratio, height: height * ratio });
    const context = canvas.getContext('2d');
    context.scale(ratio, ratio);
    context.imageSmoothingEnabled = scale * ratio < 3;
    drawSeen(context, image, edit, width, height);
    context.globalAlpha = Number(opacity.input.value) / 100;
    drawSeen(context, paper, edit, width, height);
    context.globalAlpha = 1;
    if (!view.isOver && document.activeElement !== canvas) return;
    const [x, y] = view.at, radius = Number(size.input.value) / 200 * Math.max(width, height);
    for (const [colour, line] of [['#17202b', 3], [view.tool === 'learn' ? '#2dd4bf' : RED, 1.5]]) {
      Object.assign(context, { strokeStyle: colour, lineWidth: line });
      context.beginPath();
      context.arc(x * width, y * height, radius, 0, 2 * Math.PI);
      context.stroke();
    }
  }

  function place(event) {
    const box = canvas.getBoundingClientRect();
    view.at = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height].map(value => Math.min(1, Math.max(0, value)));
    view.isOver = true;
  }

  function grab(event) {
    if (!view.image || !event.isPrimary || event.button) return;
    event.preventDefault();
    canvas.focus();
    canvas.setPointerCapture(event.pointerId);
    place(event);
    remember();
    begin();
    stroke();
  }

  function drag(event) {
    if (!event.isPrimary) return;
    place(event);
    if (view.last) stroke(); else draw();
  }

  function drop() {
    if (!view.last) return;
    view.last = null;
    keep();
  }

  // The first stroke with the brush on a picture without a mask: the rest is left out.
  function begin() {
    if (view.isEmpty && view.tool === 'learn') cover();
    view.isEmpty = false;
    view.last = inPaper();
  }

  function inPaper() { return toStored(view.edit, view.at).map((value, i) => value * [paper.width, paper.height][i]); }

  function stroke() {
    const context = paper.getContext('2d', { willReadFrequently: true }), next = inPaper();
    Object.assign(context, { globalCompositeOperation: view.tool === 'learn' ? 'destination-out' : 'source-over', strokeStyle: RED, lineCap: 'round', lineJoin: 'round',
      lineWidth: Number(size.input.value) / 100 * Math.max(paper.width, paper.height) });
    context.beginPath();
    context.moveTo(...view.last);
    context.lineTo(next[0] + 0.01, next[1]);
    context.stroke();
    view.last = next;
    draw();
  }

  function cover() {
    const context = paper.getContext('2d', { willReadFrequently: true });
    Object.assign(context, { globalCompositeOperation: 'copy', fillStyle: RED });
    context.fillRect(0, 0, paper.width, paper.height);
  }

  function empty() {
    paper.getContext('2d', { willReadFrequently: true }).clearRect(0, 0, paper.width, paper.height);
    view.isEmpty = true;
  }

  function fill() {
    empty();
    view.isEmpty = false;
    if (view.tool === 'leave') cover();
  }

  function invert() {
    const context = paper.getContext('2d', { willReadFrequently: true });
    Object.assign(context, { globalCompositeOperation: 'source-out', fillStyle: RED });
    context.fillRect(0, 0, paper.width, paper.height);
    view.isEmpty = false;
  }

  function change(make) {
    if (!view.image) return;
    remember();
    make();
    draw();
    keep();
  }

  function now() {
    return { pixels: paper.getContext('2d', { willReadFrequently: true }).getImageData(0, 0, paper.width, paper.height), isEmpty: view.isEmpty };
  }

  function remember() {
    view.past = [...view.past.slice(1 - UNDOS), now()];
    view.future = [];
  }

  function undo() { exchange(view.past, view.future); }
  function redo() { exchange(view.future, view.past); }

  function exchange(from, to) {
    const other = from.pop();
    if (!other) return;
    to.push(now());
    paper.getContext('2d', { willReadFrequently: true }).putImageData(other.pixels, 0, 0);
    view.isEmpty = other.isEmpty;
    draw();
    keep();
  }

  function keep() {
    clearTimeout(view.timer);
    view.timer = setTimeout(flush, SAVE_MS);
    draw();
  }

  // Keep what is painted now, if that has not been done; resolves when it is.
  async function flush() {
    if (!view.timer) return;
    clearTimeout(view.timer);
    view.timer = 0;
    await on.save(view.isEmpty ? null : await grey());
  }

  function grey() {
    const out = document.createElement('canvas');
    Object.assign(out, { width: paper.width, height: paper.height });
    const context = out.getContext('2d');
    context.drawImage(paper, 0, 0);
    Object.assign(context, { globalCompositeOperation: 'source-in', fillStyle: '#000000' });
    context.fillRect(0, 0, out.width, out.height);
    Object.assign(context, { globalCompositeOperation: 'destination-over', fillStyle: '#ffffff' });
    context.fillRect(0, 0, out.width, out.height);
    return new Promise(resolve => out.toBlob(resolve, 'image/png'));
  }

  function onKey(event) {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key], key = event.key.toLowerCase();
    const step = Number(size.input.value) / 200;
    if (way) {
      view.at = view.at.map((value, i) => Math.min(1, Math.max(0, value + way[i] * step)));
      if (event.shiftKey) dab(); else draw();
    } else if (key === ' ' || key === 'enter') dab();
    else if (key === '[' || key === ']') { size.input.value = Number(size.input.value) + (key === ']' ? 2 : -2); draw(); } else if (key === 'x') choose(view.tool === 'learn' ? 'leave' : 'learn');
    else if (key === 'i') change(invert);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  function dab() {
    remember();
    begin();
    stroke();
    view.last = null;
    keep();
  }
}
