/* Own what moves on a page of the control room. Everything here can be done without it, by links and forms.

   data-live="URL" [data-live-every="5"]  asked for again and again; what has an id in the answer replaces what has it here
   data-live-append                       on an element with an id inside: new children are added, its data-after goes along as ?after=
   data-live-done                         in an answer: it was the last one
   data-live-summary="CODE"               in an answer: spoken when the code is another one, at most every 30 s
   data-preview="URL" data-fields="a b"   the fields of these names of the form around it go along, 300 ms after the last key
   data-copy="#id"                        a button that copies the text of an element
   data-section                           on a <details> with an id: whether it is closed is remembered by the page's hash */

const bar = document.getElementById("bg-live");
const parts = [...document.querySelectorAll("[data-live]")].map(element => {
  const pause = Math.max(2, Number(element.dataset.liveEvery) || 5) * 1000;
  return { element, url: element.dataset.live, pause, next: Date.now() + pause, trouble: 0, at: "" };
});
const address = new URL(location);
const stored = localStorage.getItem("background.live") === "0" && !address.searchParams.has("live");
const IDLE = 30 * 60_000, LATE = 3_000, LONGEST = 60_000, SPOKEN = 30_000, JUST = 1_000;
let paused = stored || address.searchParams.get("live") === "0";
const now = Date.now;
let out = false, active = now(), opened = 0, said = 0;
let meaning = document.querySelector("[data-live-summary]")?.dataset.liveSummary;

/* ---- when nothing is asked for */

const inField = () => document.activeElement?.matches("input:not([type=checkbox], [type=radio], [type=submit], [type=button]), textarea, select, [contenteditable]");
const ticked = () => document.querySelector("input.action-select:checked, [data-live-hold]:checked");
const selecting = () => getSelection().type === "Range";
const idle = () => now() - active > IDLE;
const held = () => out || paused || document.hidden || idle() || ticked() || inField() || selecting() || now() - opened < JUST;

/* ---- asking */

async function ask(url, part, signal) {
  const headers = { "X-Background-Live": "1" };
  if (part.etag) headers["If-None-Match"] = part.etag;
  const answer = await fetch(url, { headers, signal, redirect: "manual", credentials: "same-origin", cache: "no-store" });
  if (answer.type === "opaqueredirect" || answer.status === 401 || answer.status === 403) { out = true; throw new Error("signed out"); }
  if (!answer.headers.get("X-Background-Fragment")) throw new Error("not a fragment");
  if (answer.status === 503) part.note = await answer.text();
  if (!answer.ok && answer.status !== 304) throw new Error(`status ${answer.status}`);
  return answer;
}

async function refresh(part) {
  const url = new URL(part.url, location);
  const tail = part.element.querySelector("[data-live-append]");  // of a log, only what is new
  if (tail?.dataset.after) url.searchParams.set("after", tail.dataset.after);
  part.busy = true;
  const late = setTimeout(() => { part.late = true; show(); }, LATE);
  try {
    const answer = await ask(url, part, AbortSignal.timeout(4 * LATE));
    const body = answer.status === 304 ? null : await answer.text();
    if (body !== null && !held()) {  // a box may have been ticked meanwhile: then the answer is thrown away, and asked for later
      part.etag = answer.headers.get("ETag");
      put(part, new DOMParser().parseFromString(body, "text/html"));
    }
    Object.assign(part, { at: answer.headers.get("X-Background-At") || "", trouble: 0, note: "", late: false, next: now() + part.pause });
  } catch {
    part.trouble += 1;
    part.next = now() + Math.min(LONGEST, part.pause * 2 ** part.trouble) * (1 + Math.random() / 5);
  }
  clearTimeout(late);
  part.busy = false;
  show();
}

/* ---- putting the answer into the page */

function put(part, answer) {
  const focused = document.activeElement;
  for (const fresh of answer.querySelectorAll("[id]")) {
    if (fresh.parentElement.closest("[id]")) continue;  // comes with the one around it
    const old = document.getElementById(fresh.id);
    if (old) morph(old, fresh);
  }
  if (focused !== document.body && !focused.isConnected) {
    part.element.tabIndex = -1;
    part.element.focus({ preventScroll: true });
  }
  if (answer.querySelector("[data-live-done]")) part.done = true;
  say(answer.querySelector("[data-live-summary]"));
}

/* Make `old` look like `fresh` with as little change as can be: what stays the same element keeps focus, scroll and selection. */
function morph(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeName !== fresh.nodeName) return old.replaceWith(fresh);
  if (old.nodeType !== Node.ELEMENT_NODE) { old.nodeValue = fresh.nodeValue; return; }
  if ("liveAppend" in old.dataset) return append(old, fresh);
  const mine = name => (old.nodeName === "DETAILS" && name === "open") || (old.matches("input, select, textarea, option") && ["checked", "value", "selected"].includes(name));
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && !mine(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value && !mine(name)) old.setAttribute(name, value);
  let here = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const same = child.id && [...old.children].find(one => one.id === child.id);
    if (same && same !== here) old.insertBefore(same, here);
    else if (!here || (child.id && !same) || (here.id && !same)) { old.insertBefore(child, here); continue; }
    const current = same || here;
    here = current.nextSibling;
    morph(current, child);
  }
  while (here) { const rest = here; here = here.nextSibling; rest.remove(); }
}

function append(old, fresh) {
  if (fresh.dataset.after === old.dataset.after) return;
  const follows = old.scrollHeight - old.scrollTop - old.clientHeight < 8;
  old.append(...fresh.childNodes);
  old.dataset.after = fresh.dataset.after;
  if (follows) old.scrollTop = old.scrollHeight;
}

function say(summary) {
  if (!summary || summary.dataset.liveSummary === meaning) return;
  if (now() - said < SPOKEN) return;
  [said, meaning] = [now(), summary.dataset.liveSummary];
  bar.querySelector(".bg-live-said").textContent = summary.textContent.trim();
}

/* ---- the bar */

function show() {
  if (!bar) return;
  const words = bar.dataset, waiting = parts.find(part => part.trouble || part.late);
  const at = (waiting || parts.find(part => part.at))?.at;
  const figures = at ? (waiting ? words.late : words.asOf).replace("%s", at) : waiting ? words.late.replace("%s", "–") : "";
  const note = out ? words.out : paused ? words.paused : idle() ? words.idle : waiting?.note || figures;
  const place = bar.querySelector(".bg-live-note");
  if (place.textContent !== note) place.textContent = note;
  bar.querySelector(".bg-live-reload").hidden = !out;
  bar.querySelector(".bg-live-button").setAttribute("aria-pressed", String(!paused));
  bar.classList.toggle("bg-live-late", Boolean(waiting) || out);
  if (parts.every(part => part.done)) bar.hidden = true;
}

function toggle() {
  paused = !paused;
  if (paused) { localStorage.setItem("background.live", "0"); address.searchParams.set("live", "0"); }
  else { localStorage.removeItem("background.live"); if (address.searchParams.get("live") === "0") address.searchParams.delete("live"); soon(); }
  history.replaceState(history.state, "", address);
  show();
}

function soon() {
  for (const part of parts) if (!part.done) part.next = 0;
}

function key(event) {
  if (localStorage.getItem("background.keys") !== "1" || event.ctrlKey || event.altKey || event.metaKey || inField()) return;
  const act = { "/": () => document.getElementById("searchbar")?.focus(), r: soon, p: toggle }[event.key];
  if (act) { event.preventDefault(); act(); }
}

if (parts.length && bar) {
  for (const name of ["keydown", "pointerdown", "pointermove"]) addEventListener(name, () => { active = now(); }, { passive: true });
  document.addEventListener("toggle", () => { opened = now(); }, true);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) soon(); });
  document.addEventListener("keydown", key);
  bar.querySelector(".bg-live-button").addEventListener("click", toggle);
  const keys = bar.querySelector(".bg-live-keys");
  keys.checked = localStorage.getItem("background.keys") === "1";
  keys.addEventListener("change", () => localStorage.setItem("background.keys", keys.checked ? "1" : "0"));
  for (const log of document.querySelectorAll("[data-live-append]")) log.scrollTop = log.scrollHeight;
  bar.hidden = false;
  show();
  setInterval(() => {
    if (idle()) show();
    for (const part of parts) if (!part.busy && !part.done && part.next <= now() && !held()) refresh(part);
  }, 500);
}

/* ---- sections */

const CLOSED = "#closed=";
const sections = () => [...document.querySelectorAll("details[data-section]")];

if (location.hash.startsWith(CLOSED)) {
  const closed = location.hash.slice(CLOSED.length).split(",");
  for (const one of sections()) one.open = !closed.includes(one.id);
}
document.addEventListener("toggle", event => {
  if (!event.target.matches?.("details[data-section]")) return;
  const closed = sections().filter(one => !one.open).map(one => one.id).join(",");
  if (!closed && !location.hash.startsWith(CLOSED)) return;  // else it would take the place of another anchor
  address.hash = closed && CLOSED + closed;
  history.replaceState(history.state, "", address);
}, true);

/* ---- previews and copying */

for (const place of document.querySelectorAll("[data-preview]")) {
  const form = place.closest("form"), names = (place.dataset.fields || "").split(" ");
  let wait, last;
  form?.addEventListener("input", event => {
    if (!names.includes(event.target.name)) return;
    clearTimeout(wait);
    wait = setTimeout(async () => {
      last?.abort();
      last = new AbortController();
      const query = new URLSearchParams([...new FormData(form)].filter(([name]) => names.includes(name)));
      try {
        const answer = await ask(`${place.dataset.preview}?${query}`, {}, last.signal);
        put({ element: place }, new DOMParser().parseFromString(await answer.text(), "text/html"));
      } catch { /* what the server said last stays; saving asks it again */ }
    }, 300);
  });
}

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = !navigator.clipboard;  // which needs HTTPS
  button.addEventListener("click", () => navigator.clipboard.writeText(document.querySelector(button.dataset.copy).textContent));
}
