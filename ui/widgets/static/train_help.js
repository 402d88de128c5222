// Beside the choice of a method: what the methods are, and advice for who is not sure.

import { h, clear } from './dom.js';
import { openAdvisor } from './advisor.js';
import { openCards } from './method_cards.js';

export function mount({ root, trigger }) {
  const chosen = () => window.studio?.chosen || {};
  clear(root, h('button', { class: 'btn quiet', type: 'button', text: 'About these methods', title: 'What each is, who published it, when to use it', onclick: () => openCards(chosen().recipe) }),
    h('button', {
      class: 'btn quiet', type: 'button', text: 'Not sure?', title: 'Advice for these pictures, with reasons',
      onclick: () => openAdvisor({ dataset: chosen().dataset || '', base: chosen().base || 'starter' }, ({ recipe, preset, settings }) => trigger('advice', { recipe, preset, settings })),
    }));
  root.dataset.state = 'ready';
}
