// Drawing by frames: what has changed is drawn in the next frame, each thing once, and no more in one
// frame than leaves time for the rest. What did not fit is drawn first in the frame after it.

export interface Drawn {
  draw(): void;
}

const BUDGET = 6; // ms of one frame, of 16.7

const waiting = new Set<Drawn>();
let asked = 0;

/** Draws it soon. */
export function drawSoon(drawn: Drawn): void {
  waiting.add(drawn);
  if (asked === 0) asked = requestAnimationFrame(frame);
}

/** Does not draw it any more. */
export function forget(drawn: Drawn): void {
  waiting.delete(drawn);
}

function frame(): void {
  asked = 0;
  const end = performance.now() + BUDGET;
  for (const drawn of waiting) {
    waiting.delete(drawn);
    drawn.draw();
    if (performance.now() >= end) break;
  }
  if (waiting.size > 0 && asked === 0) asked = requestAnimationFrame(frame);
}
