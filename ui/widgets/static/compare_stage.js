// The stage: one or several panes that share zoom and pan, with pixel-crisp pictures and the wipe between base and adapted.

import { h } from './dom.js';

const MAX_ZOOM = 40, STEP = 1.25, NEAR_HANDLE_PX = 22;

// Pictures are enlarged by whole factors, so that every pixel is as large as its neighbour; shrunk as needed.
function fitFactor(width, height, box) {
  const factor = Math.min(box.width / width, box.height / height);
  return factor >= 1 ? Math.floor(factor) : factor;
}

export function createStage(given) { return new Stage(given); }

class Stage {
  constructor({ onWipe = () => {} } = {}) {
    this.onWipe = onWipe;
    this.host = h('div', { class: 'stage', tabindex: 0, role: 'group', 'aria-label': 'Pictures: plus and minus zoom, 0 fits' });
    this.zoom = { scale: 1, x: 0.5, y: 0.5 };
    this.panes = [];
    this.wipe = 0.5;
    this.pointers = new Map();
    this.dragging = null;
    this.host.addEventListener('keydown', event => {
      if (event.ctrlKey || event.metaKey || event.altKey || !this.panes.length) return;
      const pane = this.panes[0], middle = { x: pane.element.clientWidth / 2, y: pane.element.clientHeight / 2 };
      if (event.key === '+' || event.key === '=') this.zoomAt(pane, middle, STEP);
      else if (event.key === '-') this.zoomAt(pane, middle, 1 / STEP);
      else if (event.key === '0') this.reset();
      else return;
      event.preventDefault();
    });
    new ResizeObserver(() => this.layout()).observe(this.host);
  }

  // panes: [{layers: [{element, kind, label}], size: {width, height}, wipe: bool}]
  show(list) {
    this.panes = list.map(pane => this.buildPane(pane));
    this.host.style.setProperty('--columns', this.columnsFor(list.length));
    this.host.replaceChildren(...this.panes.map(p => p.element));
    this.layout();
  }

  columnsFor(n) {
    if (n <= 1) return 1;
    const wide = this.host.clientWidth || 900;
    return Math.max(1, Math.min(n, wide < 520 ? 2 : n <= 3 ? n : n === 4 ? 4 : Math.ceil(n / 2)));
  }

  buildPane(pane) {
    const layers = pane.layers.map(layer => h('div', { class: `layer ${layer.kind}` }, layer.element));
    const element = h('div', { class: pane.wipe ? 'pane wiping' : 'pane' }, layers,
      pane.layers.map((layer, i) => layer.label ? h('span', { class: `chip ${layer.kind} ${i ? 'right' : 'left'}`, text: layer.label }) : null));
    const built = { ...pane, element, boxes: layers, handle: null, range: null };
    if (pane.wipe) this.addHandle(built);
    element.addEventListener('pointerdown', event => this.onDown(event, built));
    element.addEventListener('pointermove', event => this.onMove(event, built));
    for (const name of ['pointerup', 'pointercancel']) element.addEventListener(name, event => this.onUp(event));
    element.addEventListener('wheel', event => {
      event.preventDefault();
      this.zoomAt(built, this.pointIn(built, event), Math.exp(-Math.sign(event.deltaY) * Math.min(60, Math.abs(event.deltaY)) * 0.004));
    }, { passive: false });
    element.addEventListener('dblclick', () => this.reset());
    return built;
  }

  addHandle(pane) {
    pane.range = h('input', {
      type: 'range', min: 0, max: 100, step: 1, value: String(Math.round(this.wipe * 100)), class: 'visually-hidden', 'aria-label': 'Wipe between base and adapted',
      oninput: () => this.setWipe(Number(pane.range.value) / 100),
    });
    pane.handle = h('div', { class: 'handle', 'aria-hidden': 'true' }, h('span', { class: 'grip' }, '◂▸'));
    pane.element.append(pane.range, pane.handle);
  }

  setWipe(share) {
    this.wipe = Math.min(1, Math.max(0, share));
    for (const pane of this.panes) if (pane.range) pane.range.value = String(Math.round(this.wipe * 100));
    this.onWipe(this.wipe);
    this.layout();
  }

  frame(pane) {
    const box = { width: pane.element.clientWidth, height: pane.element.clientHeight }, { width, height } = pane.size;
    const scale = fitFactor(width, height, box) * this.zoom.scale, w = width * scale, t = height * scale;
    const hold = (share, inner, outer) => inner <= outer ? 0.5 : Math.min(1 - outer / 2 / inner, Math.max(outer / 2 / inner, share));
    const left = Math.round(box.width / 2 - hold(this.zoom.x, w, box.width) * w), top = Math.round(box.height / 2 - hold(this.zoom.y, t, box.height) * t);
    return { box, scale, w, h: t, left, top };
  }

  layout() {
    for (const pane of this.panes) {
      if (!pane.element.clientWidth) continue;
      const f = this.frame(pane);
      for (const layer of pane.boxes) {
        Object.assign(layer.style, { left: `${f.left}px`, top: `${f.top}px`, width: `${f.w}px`, height: `${f.h}px` });
        layer.classList.toggle('pixelated', f.scale > 1);
      }
      if (pane.wipe) this.placeWipe(pane, f);
      this.placeNames(pane, f);
    }
    this.host.dataset.zoom = this.zoom.scale.toFixed(3);
  }

  // Names stand beside the picture where there is room, else in its corners.
  placeNames(pane, f) {
    const right = f.box.width - f.left - f.w, inset = f.w < 200 ? 4 : 10;
    for (const chip of pane.element.querySelectorAll(':scope > .chip')) {
      const side = chip.classList.contains('right') ? 'right' : 'left', room = side === 'left' ? f.left : right;
      const beside = room > 120, width = beside ? room - 16 : Math.max(64, Math.min(f.box.width, f.w) / pane.layers.length - 20);
      chip.style.maxWidth = `${width}px`;
      chip.style.top = `${Math.max(0, f.top) + (beside ? 0 : inset)}px`;
      chip.style[side] = `${beside ? room - chip.offsetWidth - 8 : Math.max(0, room) + inset}px`;
    }
  }

  visible(f) {
    return { from: Math.max(0, f.left), to: Math.min(f.box.width, f.left + f.w) };
  }

  placeWipe(pane, f) {
    const { from, to } = this.visible(f), x = from + this.wipe * (to - from), cut = Math.min(f.w, Math.max(0, x - f.left));
    pane.boxes[0].style.clipPath = `inset(0 ${f.w - cut}px 0 0)`;
    pane.boxes[1].style.clipPath = `inset(0 0 0 ${cut}px)`;
    Object.assign(pane.handle.style, { left: `${x}px`, top: `${Math.max(0, f.top)}px`, height: `${Math.min(f.box.height, f.h)}px` });
  }

  pointIn(pane, event) {
    const box = pane.element.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  zoomAt(pane, point, factor) {
    const before = this.frame(pane), scale = Math.min(MAX_ZOOM, Math.max(1, this.zoom.scale * factor));
    const u = (point.x - before.left) / before.w, v = (point.y - before.top) / before.h, grow = scale / this.zoom.scale;
    this.zoom.scale = scale;
    this.zoom.x = (before.box.width / 2 - (point.x - u * before.w * grow)) / (before.w * grow);
    this.zoom.y = (before.box.height / 2 - (point.y - v * before.h * grow)) / (before.h * grow);
    this.settle(pane);
  }

  settle(pane) {
    const f = this.frame(pane);
    this.zoom.x = (f.box.width / 2 - f.left) / f.w;
    this.zoom.y = (f.box.height / 2 - f.top) / f.h;
    this.layout();
  }

  reset() {
    Object.assign(this.zoom, { scale: 1, x: 0.5, y: 0.5 });
    this.layout();
  }

  onDown(event, pane) {
    if (event.button > 0) return;
    const point = this.pointIn(pane, event);
    this.pointers.set(event.pointerId, point);
    pane.element.setPointerCapture(event.pointerId);
    const handleX = pane.handle ? parseFloat(pane.handle.style.left) : NaN;
    const wipes = pane.wipe && (this.zoom.scale === 1 || Math.abs(point.x - handleX) < NEAR_HANDLE_PX);
    this.dragging = { pane, kind: this.pointers.size > 1 ? 'pinch' : wipes ? 'wipe' : 'pan', last: point, spread: this.spread() };
    if (this.dragging.kind === 'wipe') this.wipeTo(pane, point);
    (pane.range || this.host).focus({ preventScroll: true });
    event.preventDefault();
  }

  wipeTo(pane, point) {
    const { from, to } = this.visible(this.frame(pane));
    this.setWipe((point.x - from) / Math.max(1, to - from));
  }

  spread() {
    const [a, b] = [...this.pointers.values()];
    return b ? Math.hypot(a.x - b.x, a.y - b.y) : 0;
  }

  onMove(event, pane) {
    if (!this.dragging || !this.pointers.has(event.pointerId)) return;
    const point = this.pointIn(pane, event);
    this.pointers.set(event.pointerId, point);
    if (this.dragging.kind === 'pinch') {
      const [a, b] = [...this.pointers.values()], now = this.spread();
      if (b && this.dragging.spread) this.zoomAt(pane, { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 }, now / this.dragging.spread);
      this.dragging.spread = now;
    } else if (this.dragging.kind === 'wipe') {
      this.wipeTo(pane, point);
    } else {
      const f = this.frame(pane);
      this.zoom.x -= (point.x - this.dragging.last.x) / f.w;
      this.zoom.y -= (point.y - this.dragging.last.y) / f.h;
      this.settle(pane);
    }
    this.dragging.last = point;
  }

  onUp(event) {
    this.pointers.delete(event.pointerId);
    if (!this.pointers.size) this.dragging = null;
  }

  wipeAt() { return this.wipe; }
}
