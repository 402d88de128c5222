// Which noise levels training draws: a small histogram from clean pictures to pure noise, with what it says in words.

import { h, clear } from './dom.js';

const WORDS = { uniform: 'every noise level alike', 'logit-normal': 'middle noise levels most' };

export function mount({ root, props, watch }) {
  const show = () => draw(root, props.value || {});
  watch('value', show);
  show();
}

function draw(root, value) {
  const shares = value.shares || [];
  root.hidden = !shares.length;
  root.dataset.state = shares.length ? 'ready' : 'empty';
  if (!shares.length) return clear(root);
  const most = Math.max(...shares), half = shares.length / 2;
  const noisy = Math.round(100 * shares.slice(half).reduce((sum, share) => sum + share, 0));
  const shift = value.shift === value.own_shift ? `shift ${value.shift}, the model's own` : `shift ${value.shift}; the model's own is ${value.own_shift}`;
  const said = `${WORDS[value.kind] || value.kind} (${value.kind}), ${shift}; ${noisy} % in the noisier half`;
  const bars = shares.map((share, i) => h('span', {
    title: `noise ${Math.round(100 * i / shares.length)} to ${Math.round(100 * (i + 1) / shares.length)} %: ${(100 * share).toFixed(1)} % of samples`,
    style: { height: `${Math.max(1, 100 * share / most)}%` },
  }));
  clear(root,
    h('h3', { text: 'Noise levels that training draws' }),
    h('div', { class: 'bars', role: 'img', 'aria-label': `Histogram of noise levels: ${said}` }, bars),
    h('div', { class: 'ends muted', 'aria-hidden': 'true' }, h('span', { text: 'clean' }), h('span', { text: 'noise' })),
    h('p', { class: 'muted', text: said }));
}
