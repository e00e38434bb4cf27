// Progressive enhancement: the pages work without this file. It keeps the regions marked `data-live` fresh while somebody looks:
// the gateway says by server-sent events that something changed, and the same page is then loaded again, region by region.
"use strict";

const live = document.querySelector("[data-events]");
let pending = null;

function isBusy(region) {
  // Nobody loses a half-written reason, an opened part, or the place of the keyboard.
  const focused = document.activeElement;
  return region.contains(focused) && focused.matches("input, textarea, select, button");
}

async function refresh() {
  pending = null;
  if (document.hidden) {
    document.addEventListener("visibilitychange", schedule, { once: true });
    return;
  }
  const response = await fetch(location.href, { credentials: "same-origin" });
  if (response.redirected) {
    location.assign(response.url);
    return;
  }
  if (!response.ok) return;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const region of document.querySelectorAll("[data-live]")) {
    const next = fresh.getElementById(region.id);
    if (next && next.innerHTML !== region.innerHTML) {
      if (isBusy(region)) {
        schedule();
      } else {
        region.replaceWith(document.adoptNode(next));
      }
    }
  }
}

function schedule() {
  // Pages that hear of a change at the same moment do not all ask at once.
  if (pending === null) pending = setTimeout(() => refresh().catch(() => {}), 200 + Math.random() * 800);
}

if (live && "EventSource" in window) {
  const source = new EventSource(live.dataset.events);
  const state = document.getElementById("live-state");
  const tell = (text) => {
    if (state) state.textContent = text;
  };
  source.addEventListener("open", () => {
    tell("live");
    schedule();
  });
  source.addEventListener("changed", schedule);
  source.addEventListener("ended", () => {
    source.close();
    location.reload();
  });
  // A gateway that is away is asked again by the browser; one that refuses is not.
  source.addEventListener("error", () =>
    tell(source.readyState === EventSource.CLOSED ? "not connected: load the page again" : "not connected"),
  );
}
