// A drawing's pictures as a table: a row per seed and prompt, a column per base, adapter, strength or snapshot; and their names.

const MINUS = '\u2212';

export function number(x) {
  return String(Math.round(x * 1000) / 1000).replace('-', MINUS);
}

function columnKey(picture) {
  if (picture.kind === 'base') return 'base';
  return [picture.adapter ?? 'all', picture.snapshot ?? 'chosen', picture.strength ?? ''].join('|');
}

// {columns: [{key, kind, adapter, snapshot, strength, name, detail}], rows: [{seed, prompt, cells: [picture | undefined]}]}
export function tabulate(drawing) {
  const columns = new Map(), rows = new Map();
  for (const picture of drawing?.pictures || []) {
    const key = columnKey(picture), at = `${picture.seed}|${picture.prompt}`;
    if (!columns.has(key)) columns.set(key, { key, ...describe(picture, drawing) });
    if (!rows.has(at)) rows.set(at, { seed: picture.seed, prompt: picture.prompt, byKey: new Map() });
    rows.get(at).byKey.set(key, picture);
  }
  const order = [...columns.values()].sort((a, b) => (a.kind === 'base' ? 0 : 1) - (b.kind === 'base' ? 0 : 1));
  return { columns: order, rows: [...rows.values()].map(row => ({ seed: row.seed, prompt: row.prompt, cells: order.map(c => row.byKey.get(c.key)) })) };
}

function describe(picture, drawing) {
  const about = { kind: picture.kind, adapter: picture.adapter, snapshot: picture.snapshot, strength: picture.strength };
  if (picture.kind === 'base') return { ...about, name: 'base', detail: '' };
  const { strip, adapters } = drawing.request, several = adapters.length > 1;
  if (picture.adapter === null || picture.adapter === undefined) return { ...about, name: 'all together', detail: '' };
  const use = adapters[picture.adapter] || {}, own = use.label || use.run || picture.label;
  if (strip === 'strength') return { ...about, name: `strength ${number(picture.strength)}`, detail: several ? own : '' };
  if (strip === 'snapshots') {
    const change = drawing.changes?.[picture.adapter]?.[picture.snapshot];
    const percent = change === undefined || change === null ? '' : `${change > 0 ? '+' : ''}${number(change)} %`;
    const told = [several ? own : '', percent && `held-out ${percent}`].filter(Boolean).join(' · ');
    return { ...about, name: `step ${picture.snapshot}`, detail: told, change: percent };
  }
  const step = use.snapshot !== null && use.snapshot !== undefined || drawing.preview ? `step ${picture.snapshot}` : '';
  const strength = picture.strength === 1 ? '' : `strength ${number(picture.strength)}`;
  const repeated = several && adapters.filter(a => (a.label || a.run) === own).length > 1;
  return { ...about, name: several ? own : 'adapted', detail: [step, strength || (repeated ? 'strength 1' : '')].filter(Boolean).join(' · ') };
}

export function title(column) {
  return [column.name, column.detail].filter(Boolean).join(' · ');
}

export function altText(column, row) {
  return `${title(column)}, seed ${row.seed}`;
}

// Waits until all pictures are whole and can be shown without a flicker, and takes over their true sizes.
export async function preload(pictures) {
  const kept = [];
  await Promise.all(pictures.map(async picture => {
    const image = new Image();
    image.src = picture.url;
    kept.push(image);
    await image.decode();
    Object.assign(picture, { width: image.naturalWidth, height: image.naturalHeight });
  }));
  return kept;
}
