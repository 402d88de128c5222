// Arithmetic of the chart, without a canvas: growing series, ranges that spikes do not spoil, ticks at round numbers.

const SAMPLE = 2000; // values looked at for the range of a long series

// Points sorted by x, in typed arrays; NaN in y is a gap.
export class Points {
  constructor() { this.clear(); }

  clear() {
    this.length = 0;
    this.xs = new Float64Array(64);
    this.ys = new Float64Array(64);
  }

  // Add [[x, y | null], …]; they replace all points from their first x on, as a resumed run replaces what came after its step.
  append(points) {
    if (!points.length) return;
    this.length = this.indexOf(points[0][0]);
    const needed = this.length + points.length;
    if (needed > this.xs.length) {
      const size = Math.max(needed, 2 * this.xs.length);
      for (const name of ['xs', 'ys']) {
        const larger = new Float64Array(size);
        larger.set(this[name].subarray(0, this.length));
        this[name] = larger;
      }
    }
    for (const [x, y] of points) {
      this.xs[this.length] = x;
      this.ys[this.length] = y === null || y === undefined ? NaN : y;
      this.length += 1;
    }
  }

  // The first index whose x is not below `x`.
  indexOf(x) {
    let low = 0, high = this.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.xs[middle] < x) low = middle + 1; else high = middle;
    }
    return low;
  }

  // The index of the point nearest to `x`, -1 where there is none.
  nearest(x) {
    const right = Math.min(this.indexOf(x), this.length - 1);
    return right > 0 && x - this.xs[right - 1] < this.xs[right] - x ? right - 1 : right;
  }
}

// {lo, hi} over several series: all of their bulk, and of what sticks out no more than once the bulk's height.
export function range(list, log) {
  let lo = Infinity, hi = -Infinity;
  for (const points of list) {
    const values = sample(points, log);
    if (!values.length) continue;
    const low = values[Math.floor(0.02 * (values.length - 1))], high = values[Math.ceil(0.98 * (values.length - 1))];
    const span = high - low;
    lo = Math.min(lo, Math.max(values[0], low - span));
    hi = Math.max(hi, Math.min(values[values.length - 1], high + span));
  }
  if (lo > hi) return log ? { lo: 0.1, hi: 1 } : { lo: 0, hi: 1 };
  if (hi - lo < 1e-12 * Math.max(Math.abs(hi), 1e-300)) return log ? { lo: lo / 2, hi: hi * 2 } : { lo: lo - (Math.abs(lo) || 1) / 2, hi: hi + (Math.abs(hi) || 1) / 2 };
  if (log) return { lo, hi };
  const margin = 0.06 * (hi - lo);
  return { lo: lo >= 0 ? Math.max(0, lo - margin) : lo - margin, hi: hi + margin };
}

function sample(points, log) {
  const values = [], stride = Math.max(1, Math.floor(points.length / SAMPLE));
  for (let i = 0; i < points.length; i += stride) {
    const y = points.ys[i];
    if (isFinite(y) && (!log || y > 0)) values.push(y);
  }
  return Float64Array.from(values).sort();
}

// About `count` round numbers in [lo, hi].
export function ticks(lo, hi, count, whole = false) {
  if (!(hi > lo)) return [lo];
  const rough = (hi - lo) / Math.max(1, count), power = 10 ** Math.floor(Math.log10(rough));
  let step = [1, 2, 5, 10].find(f => f * power >= rough * 0.999) * power;
  if (whole) step = Math.max(1, Math.round(step));
  const found = [];
  for (let i = Math.ceil(lo / step - 1e-9); i * step <= hi + step * 1e-9; i += 1) found.push(i * step);
  return found;
}

// Round numbers of a logarithmic axis: powers of ten, and 2 and 5 between them where there is room; of a short axis as of a linear one.
export function logTicks(lo, hi) {
  const first = Math.floor(Math.log10(lo)), last = Math.ceil(Math.log10(hi));
  const factors = last - first > 3 ? [1] : [1, 2, 5], found = [];
  for (let power = first; power <= last; power += 1) {
    for (const factor of factors) {
      const value = factor * 10 ** power;
      if (value >= lo * 0.999 && value <= hi * 1.001) found.push(value);
    }
  }
  return found.length > 1 ? found : ticks(lo, hi, 3);
}

// A tick as text, with the digits its neighbours need.
export function tickText(value, step) {
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(3))}M`;
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(4))}k`;
  if (size < 1e-3) return value.toExponential(size / (step || size) > 9.5 ? 1 : 0);
  const digits = step ? Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) : 0;
  return step ? value.toFixed(Math.min(digits, 6)) : String(Number(value.toPrecision(2)));
}
