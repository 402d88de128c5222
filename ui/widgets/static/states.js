// The backend's words for how far things are: in which states a run goes on, and in which what was asked for is over.

export const LIVING = new Set(['queued', 'starting', 'preparing', 'running', 'parked', 'finishing']);
export const OVER = new Set(['finished', 'failed', 'cancelled', 'interrupted']);
