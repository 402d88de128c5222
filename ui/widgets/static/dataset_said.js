// What a captioner said of a picture: who wrote the caption and how sure, and what else it may be, each a click away.

import { clear, h } from './dom.js';

const percent = chance => `${Math.round(100 * chance)} %`;

// The element for one card; `choose(caption)` takes another one. Returns {root, draw(said, caption)}.
export function saidOf(choose) {
  const summary = h('summary'), body = h('div', { class: 'choices' });
  const root = h('details', { class: 'said', hidden: true }, summary, body);
  let drawn = null;
  return { root, draw };

  function draw(said, caption) {
    const key = JSON.stringify([said, caption]);
    if (key === drawn) return;
    drawn = key;
    root.hidden = !said;
    if (!said) { root.open = false; return; }
    const isSilent = said.chance === null && !caption;
    summary.textContent = isSilent ? `${said.by} does not know` : said.chance === null ? said.by : `${said.by}, ${percent(said.chance)}`;
    root.classList.toggle('plain', !isSilent && !said.choices.length);
    const others = said.choices.filter(([text]) => text !== caption);
    clear(body, said.reason && !caption ? h('p', { class: 'muted', text: said.reason }) : null,
      others.map(([text, chance]) => h('button', { class: 'btn quiet', type: 'button', title: `Take: ${text}`, onclick: () => { root.open = false; choose(text); } },
        h('span', { text }), h('span', { class: 'mono muted', text: percent(chance) }))));
  }
}
