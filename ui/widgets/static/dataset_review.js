// Pictures that show the same, group by group and side by side: a proposal is marked, and a person decides; nothing goes without that.

import * as api from './api.js';
import { clear, fmt, h, single, toast } from './dom.js';
import { announce, offerUndo, path } from './dataset_state.js';
import { reviewTurns } from './dataset_upright.js';

// Open the groups of a finding; keys: 1 to 9 keep or exclude a picture, Enter does as marked, K keeps all, arrows step.
export const review = single(async (dataset, check) => {
  const view = { dataset, check, at: 0, out: new Set() };
  try {
    view.told = await api.get(path(dataset, `/doctor/${check}`));
    if (view.told.groups[0]?.turns) { reviewTurns(dataset, view.told); return; }
  } catch (error) {
    toast(api.said(error), { kind: 'error' });
    return;
  }
  view.where = h('p', { class: 'mono muted', role: 'status' });
  view.why = h('p', { class: 'muted' });
  view.pictures = h('div', { class: 'side-by-side' });
  view.apply = h('button', { class: 'btn primary', type: 'button', onclick: () => decide(view, true) });
  view.back = h('button', { class: 'btn quiet', type: 'button', text: '‹', 'aria-label': 'Previous group', onclick: () => step(view, -1) });
  view.forth = h('button', { class: 'btn quiet', type: 'button', text: '›', 'aria-label': 'Next group', onclick: () => step(view, 1) });
  view.element = h('dialog', { class: 'studio-dialog dataset-dialog dataset-review', 'aria-label': view.told.title },
    h('div', { class: 'row' }, h('h3', { text: view.told.title }), h('span', { class: 'spring' }), view.back, view.where, view.forth), view.why, view.pictures,
    h('div', { class: 'row end' }, h('small', { class: 'muted', text: '1–9 choose · Enter as marked · K keep all · ← → step' }), h('span', { class: 'spring' }),
      h('button', { class: 'btn', type: 'button', text: 'Close', onclick: () => view.element.close() }),
      h('button', { class: 'btn', type: 'button', text: 'Keep all', onclick: () => decide(view, false) }), view.apply));
  view.element.addEventListener('keydown', event => onKey(view, event));
  view.element.addEventListener('close', () => { view.element.remove(); announce(dataset); });
  document.body.append(view.element);
  view.element.showModal();
  show(view);
});

function show(view) {
  const group = view.told.groups[view.at];
  if (!group) { view.element.close(); return; }
  view.out = new Set(group.files.filter(item => item.file !== group.best).map(item => item.file));
  view.where.textContent = `${view.at + 1} of ${view.told.groups.length}`;
  view.why.textContent = group.why;
  view.back.disabled = view.at === 0;
  view.forth.disabled = view.at >= view.told.groups.length - 1;
  view.cards = group.files.map((item, at) => one(view, item, at, item.file === group.best, isLargest(item, group)));
  clear(view.pictures, view.cards.map(card => card.element));
  mark(view);
  view.apply.focus();
}

const isLargest = (item, group) => group.files.every(other => other === item || other.width * other.height < item.width * item.height);

function one(view, item, at, isBest, isLargest) {
  const facts = [`${item.width}×${item.height} px`, item.blur === null ? '' : `sharpness ${fmt.number(1 - item.blur, 2)}`, item.split === 'held_out' ? 'held out' : 'train'];
  const state = h('span', { class: 'chip' });
  const element = h('button', { class: 'twin', type: 'button', 'aria-label': `${at + 1}: ${item.source}`, onclick: () => toggle(view, item.file) },
    h('img', { src: item.view, alt: item.caption || item.source, loading: 'lazy' }),
    h('span', { class: 'row' }, h('span', { class: 'mono muted', text: at + 1 }), state, isBest ? h('span', { class: 'chip adapted', text: isLargest ? 'proposal: largest' : 'proposal' }) : null),
    h('span', { class: 'mono', text: item.source }), h('span', { class: 'muted', text: facts.filter(Boolean).join(' · ') }), h('span', { class: 'words', text: item.caption || 'No caption' }));
  return { element, state, file: item.file };
}

function toggle(view, file) {
  if (view.out.has(file)) view.out.delete(file);
  else view.out.add(file);
  mark(view);
}

function mark(view) {
  for (const card of view.cards) {
    const isOut = view.out.has(card.file);
    card.element.classList.toggle('out', isOut);
    card.element.setAttribute('aria-pressed', String(!isOut));
    card.state.textContent = isOut ? 'exclude' : 'keep';
    card.state.className = isOut ? 'chip problem' : 'chip adapted';
  }
  view.apply.textContent = view.out.size ? `Exclude ${view.out.size}, keep ${view.cards.length - view.out.size}` : 'Keep all';
}

function step(view, way) {
  const next = view.at + way;
  if (next < 0 || next >= view.told.groups.length) return;
  view.at = next;
  show(view);
}

// What stays of the group is noted as right; what does not is taken out, which can be undone.
async function decide(view, isAsMarked) {
  if (view.apply.disabled) return; // the answer for this group is under way
  const group = view.told.groups[view.at], out = isAsMarked ? [...view.out] : [];
  const left = group.files.map(item => item.file).filter(file => !out.includes(file));
  view.apply.disabled = true;
  try {
    const undone = [];
    if (left.length > 1) undone.push(await api.post(path(view.dataset, '/doctor/fix'), { check: view.check, mend: 'keep', files: left }));
    if (out.length) undone.push(await api.post(path(view.dataset, '/remove'), { files: out }));
    offerUndo(view.dataset, undone.map(told => told.text).join('; '), ...undone.map(told => told.undo));
    view.told.groups.splice(view.at, 1);
    view.at = Math.min(view.at, Math.max(0, view.told.groups.length - 1));
    announce(view.dataset);
  } catch (error) {
    toast(api.said(error), { kind: 'error' });
  }
  view.apply.disabled = false;
  show(view);
}

function onKey(view, event) {
  const number = Number(event.key);
  if (number >= 1 && number <= view.cards.length) { event.preventDefault(); toggle(view, view.cards[number - 1].file); }
  else if (event.key === 'ArrowRight') step(view, 1);
  else if (event.key === 'ArrowLeft') step(view, -1);
  else if (event.key.toLowerCase() === 'k') decide(view, false);
}
