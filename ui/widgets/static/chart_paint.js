// What a chart draws on its canvas: grid, lines thinned to the pixels there are, marks. `chart` gives px, py, box, bounds and data.

import { ticks, logTicks, tickText } from './chart_scale.js';

const TEXT_PX = 13;
export const GAP = { top: 20, right: 12, bottom: 24, left: 52 };

export function paintGrid(context, chart, colour) {
  const { left, right, top, bottom } = chart.box, { lo, hi, first, last, log } = chart.bounds;
  const rows = log ? logTicks(lo, hi) : ticks(lo, hi, Math.max(2, (bottom - top) / 48));
  const columns = ticks(first, last, Math.max(2, (right - left) / 90), true);
  const step = rows.length > 1 && (!log || rows[1] / rows[0] < 2) ? rows[1] - rows[0] : 0;
  let said = Infinity; // where the last number stands: one that has no room below it is left out
  context.lineWidth = 1;
  context.strokeStyle = colour('--line');
  context.fillStyle = colour('--ink-2');
  context.textBaseline = 'middle';
  context.textAlign = 'right';
  context.beginPath();
  for (const value of rows) {
    const y = Math.round(chart.py(value)) + 0.5;
    context.moveTo(left, y);
    context.lineTo(right, y);
    if (said - y < TEXT_PX) continue;
    context.fillText(tickText(value, step), left - 8, y);
    said = y;
  }
  context.stroke();
  context.textAlign = 'center';
  context.textBaseline = 'top';
  for (const value of columns) {
    const text = `${tickText(value, columns.length > 1 ? columns[1] - columns[0] : 0)}`, half = context.measureText(text).width / 2;
    context.fillText(text, Math.min(chart.px(value), right + GAP.right - half), bottom + 8);
  }
}

// One line; where several points share a pixel column, its first, lowest, highest and last are drawn.
export function paintLine(context, chart, series, colour) {
  const data = chart.data.get(series.key), { lo, hi, log } = chart.bounds, clipped = [];
  context.strokeStyle = context.fillStyle = colour;
  context.globalAlpha = series.faint ? 0.4 : 1;
  context.lineWidth = series.width || (series.faint ? 1 : 2);
  context.lineJoin = 'round';
  context.setLineDash(series.dashed ? [5, 4] : []);
  context.beginPath();
  let column = null, open = false, low = 0, high = 0, last = 0, at = 0;
  const go = (x, y) => { if (open) context.lineTo(x, y); else { context.moveTo(x, y); open = true; } };
  const flush = () => {
    if (column !== null && low !== high) { go(at, low); go(at, high); }
    if (column !== null) go(at, last);
    column = null;
  };
  for (let i = 0; i < data.length; i += 1) {
    const value = data.ys[i];
    if (!isFinite(value) || (log && value <= 0)) { flush(); open = false; continue; }
    const x = chart.px(data.xs[i]);
    if (value > hi || value < lo) clipped.push([x, value > hi]);
    const y = chart.py(Math.min(hi, Math.max(lo, value))), here = Math.floor(x * 2);
    if (here !== column) {
      flush();
      [column, low, high, at] = [here, y, y, x];
      go(x, y);
    }
    low = Math.min(low, y);
    high = Math.max(high, y);
    last = y;
  }
  flush();
  context.stroke();
  context.setLineDash([]);
  if (series.dots) paintDots(context, chart, data);
  context.globalAlpha = 1;
  paintClipped(context, chart, clipped);
}

function paintDots(context, chart, data) {
  if (data.length > 200) return;
  for (let i = 0; i < data.length; i += 1) {
    if (!isFinite(data.ys[i]) || (chart.bounds.log && data.ys[i] <= 0)) continue;
    context.beginPath();
    context.arc(chart.px(data.xs[i]), chart.py(Math.min(chart.bounds.hi, Math.max(chart.bounds.lo, data.ys[i]))), 3, 0, 7);
    context.fill();
  }
}

// A small triangle at the edge for what lies beyond it, at most one in eight pixels.
function paintClipped(context, chart, clipped) {
  const { top, bottom } = chart.box;
  let last = { true: -Infinity, false: -Infinity };
  for (const [x, above] of clipped) {
    if (x - last[above] < 8) continue;
    last[above] = x;
    const [tip, foot] = above ? [top - 7, top - 2] : [bottom + 2, bottom - 3];
    context.beginPath();
    context.moveTo(x, tip);
    context.lineTo(x - 3.5, foot);
    context.lineTo(x + 3.5, foot);
    context.fill();
  }
}

export function paintMarkers(context, chart, colour) {
  const { top, bottom, right, left } = chart.box;
  for (const { x, label, colour: name } of chart.marked) {
    if (x < chart.bounds.first || x > chart.bounds.last) continue;
    const at = Math.round(chart.px(x)) + 0.5;
    context.strokeStyle = context.fillStyle = colour(name || '--held-out');
    context.setLineDash([2, 3]);
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(at, top);
    context.lineTo(at, bottom);
    context.stroke();
    context.setLineDash([]);
    context.textBaseline = 'bottom';
    context.textAlign = at > (left + right) / 2 ? 'right' : 'left';
    context.fillText(label, at + (context.textAlign === 'right' ? 4 : -4), top - 5);
  }
}
