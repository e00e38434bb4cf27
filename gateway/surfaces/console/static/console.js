// Progressive enhancement: the pages work without this file. It keeps the regions marked `data-live` fresh while somebody looks:
// the gateway says by server-sent events that something changed. A list comes with its event; another page is loaded again.
"use strict";

const live = document.querySelector("[data-events]");
let pending = null;

function isBusy(region) {
  // Nobody loses a half-written reason, an opened part, or the place of the keyboard.
  const focused = document.activeElement;
  return region.contains(focused) && focused.matches("input, textarea, select, button");
}

function show(fresh) {
  writeLocal(fresh);
  for (const region of document.querySelectorAll("[data-live]")) {
    const next = fresh.getElementById(region.id);
    if (!next || next.innerHTML === region.innerHTML) continue;
    if (isBusy(region)) {
      schedule();
      continue;
    }
    // The keyboard stays at its link. A link that would go keeps the region as it is until the keyboard has left.
    const place = region.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    const kept = place && [...next.querySelectorAll("a[href]")].find((link) => link.getAttribute("href") === place);
    if (place && !kept) continue;
    region.replaceWith(document.adoptNode(next));
    if (kept) kept.focus({ preventScroll: true });
  }
}

function parse(text) {
  return new DOMParser().parseFromString(text, "text/html");
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
  if (response.ok) show(parse(await response.text()));
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
    if (!("pushed" in live.dataset)) schedule();
  });
  source.addEventListener("region", (event) => show(parse(JSON.parse(event.data))));
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

// Times come in UTC, and stand here as the reader's clock has them; the pointer shows UTC. What is left of a question counts down.
function writeLocal(root) {
  for (const place of root.querySelectorAll("time[datetime]:not([title])")) {
    const at = new Date(place.dateTime);
    if (Number.isNaN(at.getTime()) || "until" in place.dataset) continue;
    place.title = `${at.toISOString().slice(0, 19).replace("T", " ")} UTC`;
    // Swedish writes the date and the time as ISO 8601 does, in an order that sorts.
    place.textContent = at.toLocaleString("sv-SE");
  }
}

function writeLeft(place) {
  const until = new Date(place.dataset.until);
  const left = Math.max(0, Math.floor((until - Date.now()) / 1000));
  const [hours, minutes, seconds] = [Math.floor(left / 3600), Math.floor(left / 60) % 60, left % 60];
  const told = hours ? `${hours} h ${minutes} min` : minutes ? `${minutes} min ${seconds} s` : `${seconds} s`;
  const text = `${told} left, until ${until.toLocaleTimeString([], { timeZoneName: "short" })}`;
  if (place.textContent !== text) place.textContent = text;
}

function countDown() {
  for (const place of document.querySelectorAll("[data-until]")) writeLeft(place);
}

writeLocal(document);
countDown();
setInterval(countDown, 1000);
