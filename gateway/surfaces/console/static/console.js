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

// A form with `data-passkey` needs one: the gateway says what it is for, the browser asks the person, and the answer goes with the form.
function readBytes(text) {
  return Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (letter) => letter.charCodeAt(0));
}

function writeBytes(buffer) {
  const text = String.fromCharCode(...new Uint8Array(buffer));
  return btoa(text).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

function readDescriptors(found) {
  return (found || []).map((one) => ({ ...one, id: readBytes(one.id) }));
}

async function askAuthenticator(options) {
  const challenge = readBytes(options.challenge);
  if (options.user) {
    const user = { ...options.user, id: readBytes(options.user.id) };
    const excludeCredentials = readDescriptors(options.excludeCredentials);
    return navigator.credentials.create({ publicKey: { ...options, challenge, user, excludeCredentials } });
  }
  const allowCredentials = readDescriptors(options.allowCredentials);
  return navigator.credentials.get({ publicKey: { ...options, challenge, allowCredentials } });
}

function writeCredential(made) {
  const response = {};
  for (const part of ["clientDataJSON", "attestationObject", "authenticatorData", "signature"]) {
    if (made.response[part]) response[part] = writeBytes(made.response[part]);
  }
  return JSON.stringify({ id: made.id, rawId: made.id, type: made.type, response });
}

function addField(form, name, value) {
  const field = document.createElement("input");
  Object.assign(field, { type: "hidden", name, value });
  form.append(field);
}

async function sendWithPasskey(form, button) {
  const body = new URLSearchParams(new FormData(form));
  if (button && button.name) body.set(button.name, button.value);
  const response = await fetch(form.dataset.passkey, { method: "POST", body, credentials: "same-origin" });
  const found = await response.json();
  if (!response.ok) throw new Error(`${found.message} ${found.remedy}`);
  const made = await askAuthenticator(found);
  if (button && button.name) addField(form, button.name, button.value);
  addField(form, "signature", writeCredential(made));
  form.submit();
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!("passkey" in form.dataset)) return;
  event.preventDefault();
  const place = form.querySelector("[data-problem]");
  place.hidden = true;
  sendWithPasskey(form, event.submitter).catch((error) => {
    place.textContent = `The passkey did not answer: ${error.message}`;
    place.hidden = false;
  });
});
