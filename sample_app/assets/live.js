"use strict";

// Keeps every element with data-live up to date, until what it shows carries data-final.
const INTERVAL = 1000;
const LONGEST_INTERVAL = 15000;

function watch(area) {
  let delay = INTERVAL;

  async function refresh() {
    if (!document.hidden) {
      try {
        const response = await fetch(area.dataset.live, { signal: AbortSignal.timeout(8000) });
        // A redirect leads to the sign-in page: not what belongs here.
        if (!response.ok || response.redirected) throw new Error(`status ${response.status}`);
        area.innerHTML = await response.text();
        area.classList.remove("stale");
        delay = INTERVAL;
      } catch {
        area.classList.add("stale");
        delay = Math.min(delay * 2, LONGEST_INTERVAL);
      }
    }
    schedule();
  }

  function schedule() {
    if (!area.querySelector("[data-final]")) setTimeout(refresh, delay);
  }

  schedule();
}

document.querySelectorAll("[data-live]").forEach(watch);
