// Building elements: text is always text, never markup. Toasts, questions, and numbers as people read them.

const PROPERTIES = new Set(['value', 'checked', 'disabled', 'hidden', 'selected', 'indeterminate', 'readOnly', 'open', 'tabIndex', 'draggable']);

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === undefined || value === null || value === false) {
      if (PROPERTIES.has(name) && value === false) element[name] = false;
    } else if (name === 'class') element.className = value;
    else if (name === 'text') element.textContent = value;
    else if (name === 'dataset') Object.assign(element.dataset, value);
    else if (name === 'style') Object.assign(element.style, value);
    else if (name.startsWith('on')) element.addEventListener(name.slice(2).toLowerCase(), value);
    else if (PROPERTIES.has(name)) element[name] = value;
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat().filter(child => child !== null && child !== undefined && child !== false));
  return element;
}

export function clear(element, ...children) {
  element.replaceChildren(...children.flat().filter(child => child !== null && child !== undefined && child !== false));
  return element;
}

// Messages lie in the topmost open dialog, since all below it is out of reach, and outlive it.
function shelf() {
  const element = document.getElementById('studio-toasts') || h('div', { id: 'studio-toasts', role: 'status', 'aria-live': 'polite' });
  const top = [...document.querySelectorAll('dialog:modal')].pop() || document.body;
  if (element.parentElement !== top) {
    top.append(element);
    if (top !== document.body) top.addEventListener('close', () => document.body.append(element), { once: true });
  }
  return element;
}

// A short message at the bottom; {kind: 'info' | 'error' | 'undo', label, action}. Returns a function that takes it away.
export function toast(text, { kind = 'info', action, label = 'Undo' } = {}) {
  const item = h('div', { class: `studio-toast ${kind}` }, h('span', { text }));
  const close = () => item.remove();
  if (action) item.append(h('button', { class: 'btn quiet', type: 'button', text: label, onclick: () => { close(); action(); } }));
  item.append(h('button', { class: 'btn quiet close', type: 'button', 'aria-label': 'Dismiss', text: '✕', onclick: close }));
  shelf().append(item);
  if (kind === 'error') item.setAttribute('role', 'alert');
  setTimeout(close, action ? 10000 : kind === 'error' ? 15000 : 5000);
  return close;
}

// `act` once at a time: who calls it again before it is through, a double click say, gets what is under way.
export function single(act) {
  let busy = null;
  return (...given) => (busy ||= Promise.resolve(act(...given)).finally(() => { busy = null; }));
}

// Ask before something is done; resolves to whether the verb was chosen.
export function confirm(text, verb = 'Delete') {
  return new Promise(resolve => {
    const dialog = h('dialog', { class: 'studio-dialog' },
      h('p', { text }),
      h('div', { class: 'row end' },
        h('button', { class: 'btn', type: 'button', text: 'Cancel', onclick: () => dialog.close('') }),
        h('button', { class: 'btn danger', type: 'button', text: verb, onclick: () => dialog.close('yes') })));
    dialog.addEventListener('close', () => { dialog.remove(); resolve(dialog.returnValue === 'yes'); });
    document.body.append(dialog);
    dialog.showModal();
  });
}

const two = n => String(n).padStart(2, '0');

export const fmt = {
  seconds(s) {
    if (s === null || s === undefined || !isFinite(s)) return '–';
    s = Math.max(0, Math.round(s));
    if (s < 60) return `0:${two(s)}`;
    if (s < 3600) return `${Math.floor(s / 60)}:${two(s % 60)}`;
    return `${Math.floor(s / 3600)} h ${two(Math.floor((s % 3600) / 60))} min`;
  },
  bytes(n) {
    if (n === null || n === undefined) return '–';
    const units = ['B', 'KB', 'MB', 'GB', 'TB'];
    let i = 0;
    while (n >= 1000 && i < units.length - 1) { n /= 1000; i += 1; }
    return `${n >= 100 || i === 0 ? Math.round(n) : n.toFixed(1)} ${units[i]}`;
  },
  number(x, digits = 4) {
    if (x === null || x === undefined || !isFinite(x)) return '–';
    if (x === 0) return '0';
    const size = Math.abs(x);
    return size >= 1e5 || size < 1e-3 ? x.toExponential(1) : Number(x.toPrecision(digits)).toString();
  },
  percent(x, digits = 0) {
    if (x === null || x === undefined || !isFinite(x)) return '–';
    return `${x < 0 ? '−' : '+'}${Math.abs(x).toFixed(digits)} %`;
  },
  time(unix) {
    if (!unix) return '–';
    const date = new Date(unix * 1000), today = new Date();
    const clock = `${two(date.getHours())}:${two(date.getMinutes())}`;
    if (date.toDateString() === today.toDateString()) return clock;
    return `${date.toLocaleDateString(undefined, { day: 'numeric', month: 'short', year: date.getFullYear() === today.getFullYear() ? undefined : 'numeric' })}, ${clock}`;
  },
};
