// Before any script of Gradio's: what its page asks for frame by frame, what it copies, and how it takes a question that is not answered.

// Its loading sign counts seconds, also when it is long gone: no page would ever rest.
(() => {
  const frame = window.requestAnimationFrame.bind(window), isCounting = act => /performance\.now\(\)-[^;]*1e3/.test(act);
  window.requestAnimationFrame = act => (isCounting(act) ? 0 : frame(act));
})();

// Each answer, it copies every value of every control, also numbers and texts, which are copies of themselves.
(() => {
  const copy = window.structuredClone.bind(window);
  window.structuredClone = (value, ...options) =>
    typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' || value == null ? value : copy(value, ...options);
})();

// A question that the studio does not answer, or not whole, is an error like another, and told as one: Gradio would take no more clicks,
// and load the page anew once the studio is back, with all that was typed in it.
(() => {
  const fetch = window.fetch.bind(window), PATIENCE_MS = 60000;
  const SLOW = 'The studio has not answered for a while: try again, or look into its terminal.';
  const GONE = 'The studio did not answer: what was asked of it last may not be done. Try again once it is back.';
  window.fetch = async (what, how) => {
    if (!/\/gradio_api\/run\//.test(String(what?.url ?? what))) return fetch(what, how);
    let problem = '';
    try {
      const answer = await fetch(what, { ...how, signal: AbortSignal.timeout(PATIENCE_MS) }), { status, headers } = answer;
      const text = await answer.text(), told = JSON.parse(text);
      if (answer.ok) return new Response(text, { status, headers });
      problem = told.error || `The studio refused this (${status}).`;
    } catch (error) {
      problem = error.name === 'TimeoutError' ? SLOW : GONE;
    }
    window.dispatchEvent(new CustomEvent('studio:lost', { detail: problem }));
    return new Response(JSON.stringify({ error: problem }), { status: 503, headers: { 'Content-Type': 'application/json' } });
  };
})();
