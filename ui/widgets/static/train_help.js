// Beside the choice of a method: what the methods are, and advice for who is not sure. Links, for they set nothing.

import * as place from './place.js';
import { h, clear } from './dom.js';
import { openAdvisor } from './advisor.js';
import { openCards } from './method_cards.js';

export function mount({ root, trigger }) {
  const chosen = () => window.studio?.chosen || { dataset: place.get().dataset, base: place.get().base };
  const act = {
    methods: () => openCards(chosen().recipe),
    advice: () => openAdvisor({ dataset: chosen().dataset || '', base: chosen().base || 'starter' }, ({ recipe, preset, settings }) => trigger('advice', { recipe, preset, settings })),
  };
  const link = (name, text, title) => h('a', { href: `?tab=train&help=${name}`, text, title, onclick: event => { event.preventDefault(); act[name](); } });
  clear(root, link('methods', 'About these methods', 'What each is, who published it, when to use it'), link('advice', 'Not sure?', 'Advice for these pictures, with reasons'));
  root.dataset.state = 'ready';
  const { tab, help } = place.get();
  if (tab === 'train' && Object.hasOwn(act, help || '')) act[help]();
  if (help) place.set({ help: null });
}
