// One picture, large, in a dialog: arrow keys step, Escape closes.

import { h } from './dom.js';

// {src, alt, caption, next, previous}: next and previous return such an object for the neighbour, or nothing.
export function open(picture) {
  let current = picture;
  const image = h('img', { class: 'lightbox-picture' });
  const caption = h('figcaption');
  const back = h('button', { class: 'btn quiet', type: 'button', 'aria-label': 'Previous picture', text: '‹', onclick: () => step('previous') });
  const forth = h('button', { class: 'btn quiet', type: 'button', 'aria-label': 'Next picture', text: '›', onclick: () => step('next') });
  const dialog = h('dialog', { class: 'studio-lightbox', 'aria-label': 'Large picture' },
    h('div', { class: 'row' }, back, h('figure', {}, image, caption), forth),
    h('button', { class: 'btn quiet close', type: 'button', 'aria-label': 'Close', text: '✕', onclick: () => dialog.close() }));
  function show(next) {
    current = next;
    image.classList.remove('pixelated');
    image.onload = () => image.classList.toggle('pixelated', image.naturalWidth < 400);
    image.src = next.src;
    image.alt = next.alt || '';
    if (next.caption instanceof Node) caption.replaceChildren(next.caption);
    else caption.textContent = next.caption || '';
    back.hidden = !next.previous;
    forth.hidden = !next.next;
  }
  function step(way) {
    const neighbour = current[way]?.();
    if (neighbour) show(neighbour);
  }
  dialog.addEventListener('keydown', event => {
    if (event.target.matches('input, textarea')) return;
    if (event.key === 'ArrowRight') step('next');
    if (event.key === 'ArrowLeft') step('previous');
  });
  dialog.addEventListener('click', event => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener('close', () => dialog.remove());
  document.body.append(dialog);
  show(picture);
  dialog.showModal();
  return dialog;
}
