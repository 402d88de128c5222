// Where this page is: the address says it all (tab, dataset, run, …), so that links, reloads and second pages agree.

export const LOOK = 'look'; // the wish of who opens Train for the sake of its run
const listeners = new Set(), wishes = new Map();
let opener = null;

export function get() {
  const place = Object.fromEntries(new URLSearchParams(location.search));
  place.runs = place.runs ? place.runs.split(',').filter(Boolean) : [];
  return place;
}

export function set(change) {
  const url = new URL(location.href);
  let changed = false;
  for (const [key, value] of Object.entries(change)) {
    const text = Array.isArray(value) ? value.join(',') : value === null || value === undefined ? '' : String(value);
    if ((url.searchParams.get(key) || '') === text) continue;
    if (text) url.searchParams.set(key, text); else url.searchParams.delete(key);
    changed = true;
  }
  if (!changed) return;
  history.replaceState(history.state, '', url);
  for (const listener of [...listeners]) listener(get());
}

export function on(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

// Go to a tab, with whatever else is to be shown there. `wish` is for that tab alone, once: an address could come from anywhere.
export function open(tab, change = {}, wish = '') {
  wishes.set(tab, wish);
  set({ ...change, tab });
  opener?.(tab); // also where the address says so: it may not have heard yet that another was opened
}

export function takeWish(tab) {
  const wish = wishes.get(tab) || '';
  wishes.delete(tab);
  return wish;
}

export function setOpener(fn) { opener = fn; }
