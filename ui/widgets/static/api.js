// Talking to the studio's own routes: JSON in and out, one line for an error, polling that rests in hidden pages.

const GONE = 'The studio does not answer. Start it again (python launch.py); this page then goes on by itself.';
const SLOW = 'The studio has not answered for a while: try again, or look into its terminal.';
const CUT = 'The answer of the studio did not come whole: try again.';
const PATIENCE_MS = 60000; // for what is only read; what changes something takes the time that it takes

async function call(method, path, body, patience = method === 'GET' ? PATIENCE_MS : 0) {
  const options = { method, headers: {}, cache: 'no-store', ...(patience ? { signal: AbortSignal.timeout(patience) } : {}) };
  if (body instanceof Blob) options.body = body;
  else if (body !== undefined) {
    options.headers['Content-Type'] = 'application/json';
    options.body = JSON.stringify(body);
  }
  let response, text;
  try {
    response = await fetch(path, options);
    text = response.status === 401 ? '' : await response.text();
  } catch (error) {
    throw new Error(error.name === 'TimeoutError' ? SLOW : response ? CUT : GONE);
  }
  if (response.status === 401) {
    location.reload();
    throw new Error('Please log in again.');
  }
  let value = null;
  try {
    value = text ? JSON.parse(text) : null;
  } catch {
    if (response.ok) throw new Error(CUT);
  }
  if (!response.ok) throw Object.assign(new Error(value?.error || `The studio refused this (${response.status}).`), { status: response.status });
  return value;
}

// One line for what went wrong. What fails on an answer that is not as it should be is no concern of who reads it: another version answers.
export function said(error) {
  if (!(error instanceof TypeError)) return error.message;
  console.error(error);
  return 'The studio answered what this page does not understand: reload the page.';
}

export const get = (path, patience) => call('GET', path, undefined, patience);
export const post = (path, body = {}) => call('POST', path, body);
export const put = (path, body = {}) => call('PUT', path, body);
export const send = (path, blob) => call('PUT', path, blob);
export const del = (path, body) => call('DELETE', path, body);

// Call async `fn` now and every `ms`, a fifth as often in a hidden page, never twice at once, until `root` leaves the document.
export function poll(fn, ms, root) {
  let timer = 0, busy = false, again = false, stopped = false;
  async function turn() {
    if (stopped || (root && !root.isConnected)) return;
    if (busy) { again = true; return; }
    clearTimeout(timer);
    busy = true;
    try { await fn(); } catch (error) { console.debug(error); }
    busy = false;
    if (again) { again = false; turn(); return; }
    timer = setTimeout(turn, document.hidden ? ms * 5 : ms);
  }
  const onShown = () => { if (!document.hidden) turn(); };
  document.addEventListener('visibilitychange', onShown);
  turn();
  return {
    now: turn,
    stop() { stopped = true; clearTimeout(timer); document.removeEventListener('visibilitychange', onShown); },
  };
}
