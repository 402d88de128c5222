// What the adapter changed, pixel by pixel: |adapted − base|, averaged over the colours, as a heat map.

import { h } from './dom.js';

// Dark violet to yellow, even to the eye (after matplotlib's "inferno").
const STOPS = [[0, 0, 4], [31, 12, 72], [85, 15, 109], [136, 34, 106], [186, 54, 85], [227, 89, 51], [249, 140, 10], [249, 201, 50], [252, 255, 164]];

export function colour(share) {
  const at = Math.min(1, Math.max(0, share)) * (STOPS.length - 1), i = Math.min(STOPS.length - 2, Math.floor(at)), t = at - i;
  return STOPS[i].map((from, c) => from + (STOPS[i + 1][c] - from) * t);
}

async function pixels(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  const { naturalWidth: width, naturalHeight: height } = image;
  const canvas = Object.assign(document.createElement('canvas'), { width, height });
  const pen = canvas.getContext('2d', { willReadFrequently: true });
  pen.drawImage(image, 0, 0);
  return pen.getImageData(0, 0, width, height);
}

// {canvas, mean, top}: mean and the brightest colour's value, both as shares of the full range; null where sizes differ.
export async function difference(baseUrl, adaptedUrl) {
  const [base, adapted] = await Promise.all([pixels(baseUrl), pixels(adaptedUrl)]);
  if (base.width !== adapted.width || base.height !== adapted.height) return null;
  const n = base.width * base.height, values = new Float32Array(n);
  let sum = 0;
  for (let i = 0, k = 0; i < n; i += 1, k += 4) {
    values[i] = (Math.abs(adapted.data[k] - base.data[k]) + Math.abs(adapted.data[k + 1] - base.data[k + 1]) + Math.abs(adapted.data[k + 2] - base.data[k + 2])) / 765;
    sum += values[i];
  }
  const top = scaleOf(values);
  const canvas = Object.assign(document.createElement('canvas'), { width: base.width, height: base.height });
  const pen = canvas.getContext('2d'), out = pen.createImageData(base.width, base.height);
  const table = Array.from({ length: 256 }, (_, i) => colour(i / 255));
  for (let i = 0, k = 0; i < n; i += 1, k += 4) {
    const [r, g, b] = table[Math.min(255, Math.round(255 * values[i] / top))];
    out.data[k] = r; out.data[k + 1] = g; out.data[k + 2] = b; out.data[k + 3] = 255;
  }
  pen.putImageData(out, 0, 0);
  return { canvas, mean: sum / n, top };
}

// The value that gets the brightest colour: the 99.5th percentile, rounded up to a readable number.
function scaleOf(values) {
  const sorted = Float32Array.from(values).sort(), high = sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * 0.995))];
  return Math.max(0.05, Math.ceil(high * 20) / 20);
}

export function legend({ mean, top }) {
  const stops = STOPS.map(([r, g, b]) => `rgb(${r},${g},${b})`).join(', ');
  return h('div', { class: 'legend' },
    h('span', { class: 'mono', text: '0' }),
    h('span', { class: 'scale', style: { background: `linear-gradient(90deg, ${stops})` }, 'aria-hidden': 'true' }),
    h('span', { class: 'mono', text: `${Math.round(top * 100)} %` }),
    h('span', { class: 'mean' }, 'mean difference ', h('strong', { class: 'mono', text: `${(100 * mean).toFixed(2)} %` }), ' of the full range'));
}
