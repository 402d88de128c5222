// Cropping a picture: drag the box by its handles, the focal point inside it; what its shape keeps is framed in teal.

import { h } from './dom.js';
import { zoom } from './editor_zoom.js';
import { boxToSeen, boxToStored, drawSeen, kept, toSeen, toStored } from './framing_geometry.js';

const REACH = 14, SMALLEST = 0.02, STEP = 0.01;
const EDGES = [[0, 0], [0.5, 0], [1, 0], [0, 0.5], [1, 0.5], [0, 1], [0.5, 1], [1, 1]]; // of the box: places of its handles

// `on.change(edit, isDone)`: called while something is dragged, and when it is let go. Returns {root, show(image, edit, shape), edit}.
export function cropStage(on) { return new CropStage(on); }

class CropStage {
  constructor(on) {
    this.on = on;
    this.view = { image: null, edit: null, shape: null, held: null };
    this.canvas = h('canvas', { tabindex: 0, role: 'img', 'aria-label': 'Picture: arrow keys move the focal point, with Alt the right and lower edge of the crop, with Alt and Shift the left and upper', onpointerdown: event => this.grab(event), onpointermove: event => this.drag(event), onpointerup: () => this.drop(), onpointercancel: () => this.drop(), onkeydown: event => this.onKey(event), onkeyup: event => this.onKeyUp(event) });
    this.root = h('div', { class: 'stage' }, this.canvas);
    this.look = zoom(this.root, this.canvas, () => this.draw());
    new ResizeObserver(() => this.draw()).observe(this.root);
  }

  focus() { this.canvas.focus(); }

  show(image, edit, shape) {
    if (this.view.held) return;
    if (this.view.image && this.view.src !== image.src) this.look.reset();
    this.view.src = image.src;
    Object.assign(this.view, { image, edit, shape });
    this.draw();
  }

  sizes() {
    const { image, edit } = this.view, isTurned = edit.turns % 2;
    return isTurned ? [image.naturalHeight, image.naturalWidth] : [image.naturalWidth, image.naturalHeight];
  }

  draw() {
    const { image, edit, shape } = this.view;
    if (!image || !this.root.clientWidth) return;
    const { size: [width, height], scale, ratio } = this.look.fit(...this.sizes());
    Object.assign(this.canvas.style, { width: `${width}px`, height: `${height}px` });
    Object.assign(this.canvas, { width: width * ratio, height: height * ratio });
    const context = this.canvas.getContext('2d'), box = this.seenBox();
    context.scale(ratio, ratio);
    context.imageSmoothingEnabled = scale * ratio < 3;
    drawSeen(context, image, edit, width, height);
    shade(context, box, width, height, 'rgba(10, 14, 20, .72)');
    if (shape) {
      const part = kept(box, this.seenFocus(), shape, ...this.sizes());
      shade(context, part, width, height, 'rgba(10, 14, 20, .38)', box);
      outline(context, part, width, height, '#2dd4bf', 2);
    }
    outline(context, box, width, height, '#ffffff', 1);
    for (const [x, y] of EDGES) square(context, (box[0] + x * (box[2] - box[0])) * width, (box[1] + y * (box[3] - box[1])) * height);
    if (edit.focus) cross(context, ...this.seenFocus().map((value, i) => value * [width, height][i]));
  }

  seenBox() { return boxToSeen(this.view.edit, this.view.edit.crop || [0, 0, 1, 1]); }

  seenFocus() { return this.view.edit.focus ? toSeen(this.view.edit, this.view.edit.focus) : null; }

  at(event) {
    const place = this.canvas.getBoundingClientRect();
    return [(event.clientX - place.left) / place.width, (event.clientY - place.top) / place.height].map(value => Math.min(1, Math.max(0, value)));
  }

  grab(event) {
    if (!this.view.edit || event.button) return;
    event.preventDefault();
    this.canvas.focus();
    this.canvas.setPointerCapture(event.pointerId);
    const [x, y] = this.at(event), box = this.seenBox(), { width, height } = this.canvas.getBoundingClientRect();
    const near = EDGES.find(([ex, ey]) => Math.hypot((box[0] + ex * (box[2] - box[0]) - x) * width, (box[1] + ey * (box[3] - box[1]) - y) * height) < REACH);
    if (near) this.view.held = { edge: near, box };
    else if (x >= box[0] && x <= box[2] && y >= box[1] && y <= box[3]) this.view.held = { focus: true };
    else this.view.held = { from: [x, y] };
    this.drag(event);
  }

  drag(event) {
    if (!this.view.held) return;
    const [x, y] = this.at(event), { edge, from, box } = this.view.held;
    if (this.view.held.focus) this.change({ focus: toStored(this.view.edit, [x, y]) });
    else if (from) { if (Math.abs(x - from[0]) > SMALLEST && Math.abs(y - from[1]) > SMALLEST) this.setBox([Math.min(x, from[0]), Math.min(y, from[1]), Math.max(x, from[0]), Math.max(y, from[1])]); }
    else {
      const next = [...box];
      if (edge[0] === 0) next[0] = Math.min(x, box[2] - SMALLEST);
      if (edge[0] === 1) next[2] = Math.max(x, box[0] + SMALLEST);
      if (edge[1] === 0) next[1] = Math.min(y, box[3] - SMALLEST);
      if (edge[1] === 1) next[3] = Math.max(y, box[1] + SMALLEST);
      this.setBox(next);
    }
  }

  drop() {
    if (!this.view.held) return;
    this.view.held = null;
    this.on.change(this.view.edit, true);
  }

  setBox(seen) {
    const box = boxToStored(this.view.edit, seen), isWhole = box[0] <= 0.002 && box[1] <= 0.002 && box[2] >= 0.998 && box[3] >= 0.998;
    const focus = this.view.edit.focus, isInside = focus && focus[0] >= box[0] && focus[0] <= box[2] && focus[1] >= box[1] && focus[1] <= box[3];
    this.change({ crop: isWhole ? null : box, focus: isInside ? focus : null });
  }

  change(values) {
    this.view.edit = { ...this.view.edit, ...values };
    this.draw();
    this.on.change(this.view.edit, false);
  }

  onKey(event) {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!way || !this.view.edit) return;
    event.preventDefault();
    event.stopPropagation();
    if (event.altKey) { this.moveEdge(way, event.shiftKey); return; }
    const box = this.seenBox(), step = STEP * (event.shiftKey ? 5 : 1), [x, y] = this.seenFocus() || [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
    this.change({ focus: toStored(this.view.edit, [Math.min(box[2], Math.max(box[0], x + step * way[0])), Math.min(box[3], Math.max(box[1], y + step * way[1]))]) });
    this.view.moved = true;
  }

  // The right or lower edge of the crop, or the left or upper one, a step further that way.
  moveEdge([x, y], isFirst) {
    const box = this.seenBox(), [i, j] = isFirst ? [0, 1] : [2, 3], low = isFirst ? [0, 0] : [box[0] + SMALLEST, box[1] + SMALLEST], high = isFirst ? [box[2] - SMALLEST, box[3] - SMALLEST] : [1, 1];
    box[i] = Math.min(high[0], Math.max(low[0], box[i] + STEP * x));
    box[j] = Math.min(high[1], Math.max(low[1], box[j] + STEP * y));
    this.setBox(box);
    this.view.moved = true;
  }

  onKeyUp(event) {
    if (!this.view.moved || !event.key.startsWith('Arrow')) return;
    this.view.moved = false;
    this.on.change(this.view.edit, true);
  }
}

function shade(context, [l, t, r, b], width, height, colour, [ol, ot, or, ob] = [0, 0, 1, 1]) {
  context.fillStyle = colour;
  context.beginPath();
  context.rect(ol * width, ot * height, (or - ol) * width, (ob - ot) * height);
  context.rect(l * width, t * height, (r - l) * width, (b - t) * height);
  context.fill('evenodd');
}

function outline(context, [l, t, r, b], width, height, colour, line) {
  context.strokeStyle = colour;
  context.lineWidth = line;
  context.strokeRect(l * width + line / 2, t * height + line / 2, Math.max(1, (r - l) * width - line), Math.max(1, (b - t) * height - line));
}

function square(context, x, y) {
  context.fillStyle = '#ffffff';
  context.strokeStyle = '#17202b';
  context.lineWidth = 1;
  context.beginPath();
  context.rect(x - 4, y - 4, 8, 8);
  context.fill();
  context.stroke();
}

function cross(context, x, y) {
  for (const [colour, line] of [['#17202b', 4], ['#ffffff', 2]]) {
    Object.assign(context, { strokeStyle: colour, lineWidth: line });
    context.beginPath();
    context.arc(x, y, 9, 0, 2 * Math.PI);
    context.moveTo(x - 14, y); context.lineTo(x + 14, y);
    context.moveTo(x, y - 14); context.lineTo(x, y + 14);
    context.stroke();
  }
}
