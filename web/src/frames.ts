// Drawing by frames: what has changed is drawn in the next frame, each thing once, and no more in one
// frame than leaves time for the rest. What did not fit is drawn first in the frame after it.
//
// The trap: drawing costs more than its script, for what was drawn is painted afterwards, by the CPU
// where there is no graphics card. So a frame that came late lowers how many things a frame draws: plots
// are drawn less often then, and the page stays as quick to answer as it is.

export interface Drawn {
  draw(): void;
}

const BUDGET = 6; // ms of script in one frame, of 16.7
const LATE = 21; // ms between two frames, above which one was missed
const LEAST = 2; // things drawn in one frame
const MOST = 40;
const SLOWER = 0.8; // of what was drawn, after a frame that was late
const FASTER = 0.04; // things more, after one that was not

const waiting = new Set<Drawn>();
let asked = 0;
let last = 0;
let allowed = MOST / 2;

/** Draws it soon. */
export function drawSoon(drawn: Drawn): void {
  waiting.add(drawn);
  if (asked === 0) asked = requestAnimationFrame(frame);
}

/** Does not draw it any more. */
export function forget(drawn: Drawn): void {
  waiting.delete(drawn);
}

function frame(now: number): void {
  asked = 0;
  if (last > 0) {
    allowed =
      now - last > LATE ? Math.max(LEAST, allowed * SLOWER) : Math.min(MOST, allowed + FASTER);
  }
  const end = performance.now() + BUDGET;
  let left = Math.floor(allowed);
  for (const drawn of waiting) {
    waiting.delete(drawn);
    drawn.draw();
    left -= 1;
    if (left <= 0 || performance.now() >= end) break;
  }
  last = waiting.size > 0 ? now : 0; // else the next frame comes when there is something to draw
  if (waiting.size > 0 && asked === 0) asked = requestAnimationFrame(frame);
}
