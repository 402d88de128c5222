// The base for which shapes and samples are shown: chosen once for the whole Dataset screen, at first the one of the Train form.

import * as api from './api.js';
import { clear, h } from './dom.js';

let chosen = '', known = null;

export const chosenBase = () => chosen || window.studio?.chosen?.base || ''; // nothing where nobody has chosen one yet
export const base = () => chosenBase() || 'starter';

// A menu of bases with the size each trains at; `on` is called when another is chosen, here or in another menu.
export function shapeMenu(on) {
  const menu = h('select', { class: 'studio-input', 'aria-label': 'Base model the shapes are for', onchange: () => { chosen = menu.value; window.dispatchEvent(new CustomEvent('studio:shape')); } });
  const heard = () => { if (!menu.isConnected) { window.removeEventListener('studio:shape', heard); return; } menu.value = base(); on(); };
  fill();
  return menu;

  async function fill() {
    try {
      known ||= await api.get('/studio/shapes');
    } catch {
      known = null;
    }
    clear(menu, (known || [{ base: base(), size_px: '' }]).map(each => h('option', { value: each.base, text: `${each.base} · ${each.size_px} px` })));
    menu.value = base();
    window.addEventListener('studio:shape', heard);
  }
}
