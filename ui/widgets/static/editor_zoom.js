// A stage whose canvas can be looked at closely: the wheel zooms around the pointer, + - and 0 by keys, the stage scrolls.

const MOST = 8, STEP = 1.25, LARGEST_PX = 4096;

// `draw()` draws the canvas again; returns {fit(width, height), by(way), reset()}: fit tells the size on the page.
export function zoom(root, canvas, draw) {
  let times = 1;
  root.addEventListener('wheel', event => {
    event.preventDefault();
    set(times * (event.deltaY < 0 ? STEP : 1 / STEP), [event.clientX, event.clientY]);
  }, { passive: false });
  root.addEventListener('keydown', event => {
    if (event.ctrlKey || event.metaKey || event.altKey || !['+', '=', '-', '0'].includes(event.key)) return;
    event.preventDefault();
    if (event.key === '0') reset(); else by(event.key === '-' ? -1 : 1);
  });
  return { fit, by, reset };

  function fit(width, height) {
    const scale = Math.min(root.offsetWidth / width, root.offsetHeight / height) * times, size = [width, height].map(side => Math.max(1, Math.round(side * scale)));
    return { size, scale, ratio: Math.min(window.devicePixelRatio || 1, LARGEST_PX / Math.max(...size)) };
  }

  function by(way) {
    const { left, top, width, height } = root.getBoundingClientRect();
    set(times * STEP ** way, [left + width / 2, top + height / 2]);
  }

  function reset() { set(1, [0, 0]); }

  // What lies under a place of the page stays there.
  function set(value, [x, y]) {
    const next = Math.min(MOST, Math.max(1, value < 1.05 ? 1 : value));
    if (next === times) return;
    const before = canvas.getBoundingClientRect(), share = [(x - before.left) / before.width, (y - before.top) / before.height];
    times = next;
    root.dataset.zoomed = String(times > 1);
    draw();
    const now = canvas.getBoundingClientRect();
    root.scrollLeft += now.left + share[0] * now.width - x;
    root.scrollTop += now.top + share[1] * now.height - y;
  }
}
