// The editor of one picture: cropped, turned and masked on the left, as it is trained on the right; saved at once, and everything can be undone.

import * as api from './api.js';
import { clear, h, toast } from './dom.js';
import { share } from './dataset_buckets.js';
import { cropStage } from './dataset_crop.js';
import { maskStage } from './dataset_mask.js';
import { base, shapeMenu } from './dataset_shapes.js';
import { announce, path } from './dataset_state.js';
import { turned } from './framing_geometry.js';

const PLAIN = { crop: null, focus: null, turns: 0, mirror: false };
const HINTS = {
  crop: 'Drag the handles to crop, drag inside to set the focal point. The teal frame is what its shape keeps. Arrows move the focal point, Alt and arrows the crop, the wheel looks closer. The file itself is never changed.',
  mask: 'Brush over what is to be learned: the rest turns red and counts little (Mask floor, on Train). Or leave out parts of a picture that counts otherwise.',
};

// `items` are the pictures of the page, `at` the one to begin with, `mode` "crop" or "mask".
export function openEditor(dataset, items, at, mode = 'crop') {
  const view = { dataset, items, at, told: null, undos: [], redos: [], saving: Promise.resolve(), wanted: null, asked: 0 };
  const stage = cropStage({ change: (edit, isDone) => { view.edit = edit; if (isDone) save(view, edit); } });
  view.mask = maskStage({ save: blob => saveMask(view, blob) });
  view.hint = h('p', { class: 'muted' });
  view.modes = Object.entries({ crop: 'Crop', mask: 'Mask' }).map(([name, text]) => h('button', { type: 'button', role: 'radio', text, dataset: { mode: name }, onclick: () => choose(name) }));
  view.image = h('img', { alt: '' });
  view.title = h('h3', {});
  view.samples = h('div', { class: 'samples' });
  view.told = h('p', { class: 'muted', role: 'status' });
  view.undo = button('Undo', 'Undo the last change here (Ctrl+Z)', () => undo(view));
  view.redo = button('Redo', 'Do what was undone here again (Ctrl+Y)', () => redo(view));
  view.back = button('‹', 'Previous picture', () => go(view, -1));
  view.forth = button('›', 'Next picture', () => go(view, 1));
  view.tools = h('div', { class: 'row tools', role: 'toolbar', 'aria-label': 'Crop and turn' },
    button('⟲', 'Turn left (L)', () => turn('left')), button('⟳', 'Turn right (R)', () => turn('right')), button('⇋', 'Mirror (F)', () => turn('mirror')),
    button('Whole picture', 'Take the crop and the focal point back', () => save(view, { ...view.edit, crop: null, focus: null })),
    button('Reset', 'Take everything back', () => save(view, PLAIN)), view.undo, view.redo);
  const dialog = h('dialog', { class: 'studio-editor', 'aria-label': 'Crop, turn and mask', onkeydown: onKey },
    h('div', { class: 'row head' }, view.back, view.title, view.forth, h('span', { class: 'spring' }), h('div', { class: 'seg', role: 'radiogroup', 'aria-label': 'Tool' }, view.modes), h('span', { class: 'spring' }), button('−', 'Smaller (-)', () => look().by(-1)), button('+', 'Larger (+, or the wheel)', () => look().by(1)), button('✕', 'Close', () => dialog.close(), 'btn quiet close')),
    h('div', { class: 'body' }, h('div', { class: 'left' }, view.tools, view.mask.tools, stage.root, view.mask.root, view.hint),
      h('aside', { class: 'right' }, h('h3', { text: 'As trained' }), shapeMenu(() => load(view)), view.told, view.samples)));
  view.stage = stage;
  view.dialog = dialog;
  view.image.addEventListener('load', async () => { if (view.framing) await drawMask(view); draw(view); });
  dialog.addEventListener('close', () => { view.mask.flush(); dialog.remove(); });
  document.body.append(dialog);
  dialog.showModal();
  choose(mode);
  go(view, 0);
  return dialog;

  function choose(name) {
    view.mode = name;
    const isMask = name === 'mask';
    for (const [part, isShown] of [[view.tools, !isMask], [stage.root, !isMask], [view.mask.tools, isMask], [view.mask.root, isMask]]) part.hidden = !isShown;
    for (const each of view.modes) each.setAttribute('aria-checked', String(each.dataset.mode === name));
    view.hint.textContent = HINTS[name];
    if (view.framing) draw(view);
    (isMask ? view.mask : stage).focus();
  }

  function look() { return (view.mode === 'mask' ? view.mask : stage).look; }

  function turn(action) { if (view.edit) save(view, turned(view.edit, action)); }

  function onKey(event) {
    if (event.target.matches('input, textarea, select')) return;
    const action = { l: 'left', r: 'right', f: 'mirror' }[event.key.toLowerCase()];
    const key = event.key.toLowerCase(), isBack = key === 'z' && !event.shiftKey, isForth = key === 'y' || (key === 'z' && event.shiftKey);
    if ((event.ctrlKey || event.metaKey) && (isBack || isForth)) {
      event.preventDefault();
      const here = view.mode === 'mask' ? view.mask : { undo: () => undo(view), redo: () => redo(view) };
      if (isBack) here.undo(); else here.redo();
    } else if (action && !event.ctrlKey && !event.metaKey) turn(action);
    else if (event.key === 'PageDown') go(view, 1);
    else if (event.key === 'PageUp') go(view, -1);
  }
}

const button = (text, label, onclick, look = 'btn') => h('button', { class: look, type: 'button', text, title: label, 'aria-label': label, onclick });

async function go(view, way) {
  const item = view.items[view.at + way];
  if (!item) return;
  await view.mask.flush();
  view.at += way;
  view.edit = view.framing = view.kept = view.keptMask = null;
  view.undos = [];
  view.redos = [];
  view.title.textContent = item.source;
  view.title.title = `${item.file} · ${item.width}×${item.height} px`;
  view.back.disabled = view.at === 0;
  view.forth.disabled = view.at === view.items.length - 1;
  tellUndo(view);
  clear(view.samples);
  view.told.textContent = '';
  view.image.src = item.view;
  view.image.alt = item.caption || item.source;
  load(view);
}

const fileOf = view => view.items[view.at].file;

// Ask how the picture is framed now, and for the samples that come of it. After an undoing that is known here (`isKnown`) at once:
// a change that already waits builds on it.
async function load(view, isKnown = false) {
  const turn = (view.asked += 1), file = fileOf(view);
  try {
    const answer = await api.get(path(view.dataset, `/framing?file=${encodeURIComponent(file)}&base=${encodeURIComponent(base())}`));
    const { edit: { turns: _ }, bucket: [__] } = answer; // what is drawn again and again is looked at before it is kept
    if (isKnown && file === fileOf(view)) view.kept = answer.edit;
    if (turn !== view.asked || view.wanted) return;
    view.framing = answer;
    view.edit = view.kept = answer.edit;
    view.keptMask = answer.mask;
    if (view.image.complete) await drawMask(view);
    draw(view);
  } catch (error) {
    if (turn === view.asked) { view.told.textContent = api.said(error); view.dialog.dataset.state = 'error'; }
  }
}

const maskOf = (view, more = '') => path(view.dataset, `/mask?file=${encodeURIComponent(fileOf(view))}${more}`);

// The mask as it is kept now, on the picture it belongs to.
async function drawMask(view) {
  if (!view.image.naturalWidth) return;
  view.mask.show(view.image, view.edit);
  if (view.shown === `${fileOf(view)} ${view.framing.mask}`) return;
  view.shown = `${fileOf(view)} ${view.framing.mask}`;
  if (view.isOurs === fileOf(view)) return; // it was painted here: the stage shows it already
  try {
    await view.mask.load(view.framing.mask ? maskOf(view, `&v=${view.framing.mask}`) : '');
  } catch {
    toast('The mask cannot be shown: paint it again, or remove it', { kind: 'error' });
  }
}

function draw(view) {
  const { framing, image, edit } = view;
  if (!framing || !image.complete || !image.naturalWidth) return;
  view.stage.show(image, edit, framing.bucket);
  view.mask.show(image, edit);
  const [width, height] = framing.bucket, more = framing.samples.length - 1;
  view.told.textContent = [`${width} × ${height} px`, `${share(framing.cut_percent)} cut away`, framing.said, framing.mask ? 'masked: what is dark counts little' : ''].filter(Boolean).join(' · ');
  clear(view.samples, framing.samples.map((sample, i) => h('figure', {},
    h('div', { class: 'layers' }, h('img', { src: sample.src, alt: i ? `Further crop ${i}` : 'As trained', class: Math.max(width, height) < 192 ? 'pixelated' : '' }),
      framing.mask ? h('img', { class: 'veil', alt: '', src: maskOf(view, `&v=${framing.mask}&frame=${sample.frame}`) }) : null),
    i ? null : h('figcaption', { class: 'muted', text: words(framing.split, more) }))));
  view.dialog.dataset.state = 'ready';
}

function words(split, more) {
  if (split === 'held_out') return 'Held out: measured like this, never trained on.';
  return more ? 'Around the focal point; further crops for variety:' : 'It fits its shape: no further crops.';
}

function tellUndo(view) {
  view.undo.disabled = !view.undos.length;
  view.redo.disabled = !view.redos.length;
}

// Save what was decided, one after the other; of several that wait, the last counts. What another window has changed is not overwritten.
function save(view, edit, isAgain = false) {
  const file = fileOf(view);
  if (!isAgain) view.redos = [];
  view.edit = edit;
  view.wanted = { file, edit };
  view.dialog.dataset.state = 'saving';
  view.saving = view.saving.then(async () => {
    const wanted = view.wanted;
    view.wanted = null;
    if (!wanted) return;
    try {
      const answer = await api.put(path(view.dataset, '/framing'), { ...wanted, before: wanted.file === fileOf(view) ? view.kept : null });
      if (answer.undo && wanted.file === fileOf(view)) view.undos.push(answer.undo);
      if (wanted.file === fileOf(view)) view.kept = wanted.edit;
      announce(view.dataset);
    } catch (error) {
      toast(api.said(error), { kind: 'error' });
    }
    tellUndo(view);
    await load(view);
  });
  if (view.framing && view.image.naturalWidth) view.stage.show(view.image, edit, view.framing.bucket);
}

function undo(view) {
  view.saving = view.saving.then(async () => {
    const last = view.undos.pop();
    if (!last) return;
    try {
      const now = view.edit;
      await api.post(path(view.dataset, '/undo'), { undo: last });
      view.redos.push(now);
      announce(view.dataset);
    } catch (error) {
      toast(api.said(error), { kind: 'error' });
    }
    tellUndo(view);
    await load(view, true);
  });
}

function redo(view) {
  const next = view.redos.pop();
  if (next) save(view, next, true);
}

// Keep a painted mask (a PNG), or none; its strokes are undone on the stage, and later by the history.
function saveMask(view, blob) {
  const file = fileOf(view);
  view.dialog.dataset.state = 'saving';
  view.saving = view.saving.then(async () => {
    const address = path(view.dataset, `/mask?file=${encodeURIComponent(file)}&before=${file === fileOf(view) ? view.keptMask || 'none' : ''}`);
    let isKept = false;
    try {
      const answer = blob ? await api.send(address, blob) : await api.del(address);
      if (file === fileOf(view)) view.keptMask = answer.mask;
      isKept = true;
      announce(view.dataset);
    } catch (error) {
      toast(api.said(error), { kind: 'error' });
    }
    if (file !== fileOf(view)) return;
    if (!isKept) { view.mask.remember(); view.shown = ''; } // what was painted comes back by undoing; what is kept is shown
    view.isOurs = isKept ? file : '';
    await load(view);
    view.isOurs = '';
  });
  return view.saving;
}
