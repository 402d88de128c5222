// The reference cards of the methods, in a dialog: what each is, who published it, when to use it and when not.

import * as api from './api.js';
import { h, clear, single, toast } from './dom.js';

// Open the cards at `recipe`, by default at the first one.
export const openCards = single(async (recipe = '') => {
  let cards;
  try {
    cards = [...await api.get('/studio/methods')];
  } catch (error) {
    toast(api.said(error), { kind: 'error' });
    return;
  }
  const body = h('article', { class: 'card', role: 'tabpanel', tabIndex: 0 });
  const tabs = h('div', { class: 'names', role: 'tablist', 'aria-label': 'Methods', 'aria-orientation': 'vertical' });
  const dialog = h('dialog', { class: 'studio-dialog method-cards', 'aria-label': 'Method cards' }, h('div', { class: 'row' }, h('h3', { text: 'Method cards' }), h('span', { class: 'spring' }),
    h('button', { class: 'btn quiet', type: 'button', 'aria-label': 'Close', text: '✕', onclick: () => dialog.close() })), h('div', { class: 'two' }, tabs, body));
  const show = (name, focus = false) => {
    const card = cards.find(c => c.recipe === name) || cards[0];
    for (const tab of tabs.children) {
      const isChosen = tab.dataset.recipe === card.recipe;
      tab.setAttribute('aria-selected', String(isChosen));
      tab.tabIndex = isChosen ? 0 : -1;
      if (isChosen && focus) tab.focus();
    }
    body.setAttribute('aria-label', card.title);
    fill(body, card, show);
  };
  clear(tabs, cards.map(card => h('button', { type: 'button', role: 'tab', dataset: { recipe: card.recipe }, text: card.title, onclick: () => show(card.recipe) })));
  tabs.addEventListener('keydown', event => {
    const at = cards.findIndex(c => c.recipe === event.target.dataset.recipe), last = cards.length - 1;
    const next = { ArrowDown: at + 1, ArrowRight: at + 1, ArrowUp: at - 1, ArrowLeft: at - 1, Home: 0, End: last }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    show(cards[(next + cards.length) % cards.length].recipe, true);
  });
  dialog.addEventListener('click', event => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener('close', () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  show(recipe, true);
});

function fill(body, card, show) {
  const related = card.related.map(r => h('button', { class: 'btn quiet', type: 'button', text: r.title, onclick: () => show(r.recipe, true) }));
  const facts = [
    ['Use it when', card.use_when], ['Not when', card.not_when], ['Family', card.family], ['Published', [card.year, card.creators].filter(Boolean).join(', ')],
    ['Source', card.source], ['Also called', card.other_names.join(', ')], ['Related', related.length ? related : ''],
  ];
  clear(body, h('h3', { text: card.title }), h('p', { text: card.what }), h('dl', {}, facts.filter(([, value]) => value).flatMap(([name, value]) => [h('dt', { text: name }), h('dd', {}, value)])));
}
