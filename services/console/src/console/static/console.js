// What moves: parts of a page that ask for themselves again, while somebody looks.
// No script stands in a page (see its Content-Security-Policy), so that this is all there is.
"use strict";

const due = new WeakMap();

setInterval(() => {
  if (document.hidden) return;
  for (const part of document.querySelectorAll("[data-live]")) {
    const now = Date.now();
    if (due.has(part)) {
      if (now < due.get(part)) continue;
      htmx.trigger(part, "live");
    }
    due.set(part, now + Number(part.dataset.live) * 1000);
  }
}, 250);

// Who comes back sees how things stand now.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  for (const part of document.querySelectorAll("[data-live]")) htmx.trigger(part, "live");
});
