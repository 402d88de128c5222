// Files from anywhere on any screen: dropped, pasted, or chosen; folders are read to the bottom.

import * as place from './place.js';
import { h } from './dom.js';
import { add, resume } from './dataset_import.js';
import { labelOf, openDataset } from './dataset_state.js';

const JUNK = new Set(['.DS_Store', 'Thumbs.db', 'desktop.ini', '__MACOSX']);
let installed = false;

export function install() {
  if (installed) return;
  installed = true;
  const overlay = h('div', { class: 'dataset-drop-overlay', hidden: true, 'aria-hidden': 'true' }, h('div', {}, h('strong'), h('span')));
  document.body.append(overlay);
  let depth = 0;
  const hide = () => { depth = 0; overlay.hidden = true; };
  window.addEventListener('dragenter', event => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    depth += 1;
    if (overlay.hidden) tell(overlay);
    overlay.hidden = false;
  });
  window.addEventListener('dragover', event => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = 'copy';
  });
  window.addEventListener('dragleave', event => { if (hasFiles(event) && (depth -= 1) <= 0) hide(); });
  window.addEventListener('drop', event => {
    hide();
    if (!hasFiles(event) || event.defaultPrevented) return;
    event.preventDefault();
    take(event.dataTransfer);
  });
  window.addEventListener('paste', event => {
    const files = [...(event.clipboardData?.files || [])];
    if (!files.length) return;
    event.preventDefault();
    give(files.map(file => ({ file, path: file.name })));
  });
  resume();
}

const hasFiles = event => [...(event.dataTransfer?.types || [])].includes('Files');

function tell(overlay) {
  const dataset = openDataset();
  overlay.querySelector('strong').textContent = dataset ? `Drop to add to ${labelOf(dataset)}` : 'Drop to make a new dataset';
  overlay.querySelector('span').textContent = (place.get().tab || '') === 'compare'
    ? 'One of our pictures, or an exported adapter, restores its settings.'
    : 'Images, folders, and .txt captions or metadata.jsonl beside them.';
}

// What was dropped must be asked for at once; reading folders may take its time.
async function take(data) {
  const items = [...data.items].filter(item => item.kind === 'file').map(item => ({ entry: item.webkitGetAsEntry?.() ?? null, file: item.getAsFile() }));
  if (!items.some(item => item.entry?.isDirectory)) {
    give(items.filter(item => item.file).map(({ file }) => ({ file, path: file.name })));
    return;
  }
  const found = [];
  for (const { entry, file } of items) {
    if (entry) await walk(entry, '', found);
    else if (file) found.push({ file, path: file.name });
  }
  add(found);
}

async function walk(entry, prefix, found) {
  if (prefix && (JUNK.has(entry.name) || entry.name.startsWith('.'))) return;
  const path = prefix + entry.name;
  if (entry.isDirectory) {
    const reader = entry.createReader();
    for (;;) {
      const part = await new Promise(resolve => reader.readEntries(resolve, () => resolve([])));
      if (!part.length) return;
      for (const child of part) await walk(child, `${path}/`, found);
    }
  }
  const file = await new Promise(resolve => entry.file(resolve, () => resolve(null)));
  found.push(file ? { file, path } : { path, reason: 'cannot be opened: check its permissions' });
}

// Offer files to the screen that is shown; what it does not take becomes pictures of a dataset.
function give(found) {
  const offer = new CustomEvent('studio:files', { cancelable: true, detail: { files: found.map(({ file }) => file) } });
  if (found.length && window.dispatchEvent(offer)) add(found);
}

// Let the person choose files, or a folder.
export function choose(isFolder = false) {
  const input = h('input', { type: 'file', multiple: true, webkitdirectory: isFolder, hidden: true, 'aria-label': isFolder ? 'Choose a folder' : 'Choose files' });
  input.addEventListener('change', () => {
    const found = [...input.files].map(file => ({ file, path: file.webkitRelativePath || file.name }));
    input.remove();
    add(found.filter(({ path }) => !path.includes('/') || !path.split('/').some(part => JUNK.has(part) || part.startsWith('.'))));
  });
  input.addEventListener('cancel', () => input.remove());
  document.body.append(input);
  input.click();
}
