// What has been deleted: bring it back, or free its space for good.

import * as api from './api.js';
import { h, clear, single, toast, confirm, fmt } from './dom.js';

export const openTrash = single(async onChange => {
  const list = h('ul', { class: 'trash-list' }), note = h('p', { class: 'muted' });
  const empty = h('button', { class: 'btn danger', type: 'button', text: 'Empty trash', onclick: () => emptyIt() });
  const dialog = h('dialog', { class: 'studio-dialog runs-trash', 'aria-label': 'Trash' }, h('h3', { text: 'Trash' }), note, list,
    h('div', { class: 'row end' }, empty, h('button', { class: 'btn', type: 'button', text: 'Close', onclick: () => dialog.close() })));
  dialog.addEventListener('close', () => dialog.remove());

  async function act(call) {
    for (const button of dialog.querySelectorAll('.trash-list button')) button.disabled = true;
    try {
      await call();
      await fill();
      onChange();
    } catch (error) {
      toast(api.said(error), { kind: 'error' });
      dialog.close();
    }
  }

  async function emptyIt() {
    if (!await confirm('Delete all that is in the trash for good? There is no way back.', 'Delete for good')) return;
    act(async () => {
      const { freed } = await api.post('/studio/trash/empty', { confirm: true });
      toast(`${fmt.bytes(freed)} freed.`);
    });
  }

  async function fill() {
    const { items, size } = await api.get('/studio/trash');
    note.textContent = items.length ? `${items.length} thing${items.length === 1 ? '' : 's'}, ${fmt.bytes(size)}.` : size ? `Leftovers of ${fmt.bytes(size)}.` : 'Nothing is in the trash.';
    empty.disabled = !size;
    clear(list, items.map(item => h('li', { class: 'row' },
      h('span', { class: 'what' }, h('strong', { text: item.title }), h('span', { class: 'muted', text: ` ${item.kind}, ${fmt.time(item.time)}` })),
      h('button', {
        class: 'btn', type: 'button', text: 'Bring back', 'aria-label': `Bring back ${item.title}`,
        onclick: () => act(() => api.post(`/studio/trash/${encodeURIComponent(item.token)}/restore`)),
      }))));
  }

  try {
    await fill();
    document.body.append(dialog);
    dialog.showModal();
  } catch (error) {
    toast(api.said(error), { kind: 'error' });
  }
});
