// The page of one run: follows the end of the trace while one is there, loads earlier items, searches, moves by keys,
// keeps clocks running. The page is read without it.

const pane = document.getElementById("trace-pane");
const toEnd = document.getElementById("to-end");
const search = document.getElementById("trace-q");
const counted = document.getElementById("trace-count");
const base = pane.dataset.base;
const near = 80; // pixels that are still the end
const most = 3000; // items that the page holds while it follows the end
const isOlder = "older" in pane.dataset;

let isFollowing = false;
let current = null;

// ---- scrolling: on a wide screen the trace has its own, on a narrow one the page scrolls

const narrow = matchMedia("(max-width: 60rem)");
const scroller = () => (narrow.matches ? document.scrollingElement : pane);
const list = () => document.getElementById("trace-items");

function lowest() {
  if (!narrow.matches) return pane.scrollHeight - pane.clientHeight;
  return pane.getBoundingClientRect().bottom + scrollY - innerHeight + 8;
}
const isAtEnd = () => scroller().scrollTop >= lowest() - near;

function goToEnd() {
  isFollowing = true;
  scroller().scrollTop = lowest();
  showEnd();
}

// What comes into view is measured only then, and may be taller than was thought.
const grown = new ResizeObserver(() => { if (isFollowing) goToEnd(); });

function showEnd() { toEnd.hidden = isAtEnd() || isOlder; }

// Only people stop it: heights that change scroll, too.
let touched = -Infinity;
function scrolled() {
  if (isAtEnd()) isFollowing = true;
  else if (performance.now() - touched < 400) isFollowing = false;
  showEnd();
}
pane.addEventListener("scroll", scrolled, { passive: true });
addEventListener("scroll", () => { if (narrow.matches) scrolled(); }, { passive: true });
for (const kind of ["wheel", "touchmove", "keydown", "pointerdown", "pointermove"]) {
  addEventListener(kind, (event) => {
    if (kind !== "pointermove" || event.buttons) touched = performance.now();
    if (event.deltaY < 0 && pane.contains(event.target)) isFollowing = false;
  }, { passive: true });
}
toEnd.addEventListener("click", goToEnd);

// An element stays where it is on the screen, also while what came above it is measured for the first time.
function keepingPlace(element, change) {
  const before = element?.getBoundingClientRect().top;
  const began = performance.now();
  change();
  let frames = 5;
  const keep = () => {
    if (!element?.isConnected || touched > began) return;
    scroller().scrollTop += element.getBoundingClientRect().top - before;
    frames -= 1;
    if (frames) requestAnimationFrame(keep);
  };
  keep();
}

const firstVisible = () => {
  const top = narrow.matches ? 0 : pane.getBoundingClientRect().top;
  for (const item of list().children) if (item.getBoundingClientRect().bottom > top + 4) return item;
  return null;
};

// ---- earlier items

pane.addEventListener("click", (event) => {
  const link = event.target.closest("[data-earlier]");
  if (!link || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  void earlier(link);
});

async function earlier(link) {
  if (link.hasAttribute("aria-busy")) return;
  link.setAttribute("aria-busy", "true");
  isFollowing = false; // however long the answer takes: who asks for what was before is not at the end
  try {
    const answer = await fetch(link.dataset.earlier);
    if (!answer.ok || answer.redirected) throw new Error("no answer");
    const parts = document.createElement("template");
    parts.innerHTML = await answer.text();
    const edge = parts.content.getElementById("trace-earlier");
    const found = [...parts.content.querySelectorAll(".item")];
    keepingPlace(firstVisible(), () => {
      for (const item of found) document.getElementById(item.id)?.remove(); // a call that began there
      document.getElementById("trace-earlier").replaceWith(edge);
      list().prepend(...found);
    });
    refresh();
  } catch {
    location.href = link.href;
  }
}

// The oldest go while the end is followed: the page does not grow for ever.
function trim() {
  const items = list();
  const surplus = items.childElementCount - most;
  if (!isFollowing || surplus < 500) return;
  for (let count = 0; count < surplus; count += 1) items.firstElementChild.remove();
  const first = Number(items.firstElementChild.id.slice(1));
  const edge = document.getElementById("trace-earlier");
  const link = document.createElement("a");
  link.className = "button";
  link.textContent = "Earlier";
  link.href = `${base}?before=${first}`;
  link.dataset.earlier = `${base}/trace?before=${first}`;
  edge.replaceChildren(link);
}

// ---- links to events: within the page where they are there, else to the page that has them

function go(number) {
  const target = document.getElementById(`e${number}`);
  if (target === null) return false;
  const call = target.closest("details");
  if (call) call.open = true;
  isFollowing = false;
  const item = target.closest(".item") ?? target;
  choose(item);
  history.replaceState(null, "", `#e${number}`);
  return true;
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[data-event]");
  if (link && !event.metaKey && !event.ctrlKey && !event.shiftKey && go(link.dataset.event)) event.preventDefault();
});

// ---- keys

function choose(item) {
  current?.classList.remove("is-current");
  current = item;
  item.classList.add("is-current");
  item.scrollIntoView({ block: narrow.matches ? "center" : "nearest" });
  item.focus({ preventScroll: true });
  showEnd();
}

function step(direction) {
  const shown = [...list().children].filter((item) => !item.classList.contains("is-left-out"));
  if (!shown.length) return;
  let place = shown.indexOf(current);
  if (place < 0) place = shown.indexOf(firstVisible()) - (direction > 0 ? 1 : 0);
  const next = shown[Math.min(shown.length - 1, Math.max(0, place + direction))];
  isFollowing = direction > 0 && next === shown.at(-1) && isAtEnd();
  choose(next);
}

document.addEventListener("keydown", (event) => {
  if (event.metaKey || event.ctrlKey || event.altKey) return;
  const target = event.target;
  if (target === search && event.key === "Escape") { search.value = ""; refresh(); search.blur(); return; }
  if (target.closest?.("input, textarea, select, [contenteditable]")) return;
  const doing = {
    j: () => step(1),
    k: () => step(-1),
    "/": () => search.focus(),
    g: goToEnd,
    e: () => { const fold = current?.querySelector("details"); if (fold) fold.open = !fold.open; },
  }[event.key];
  if (doing) { event.preventDefault(); doing(); }
});

// ---- the search: filters what is here at once, and asks the server for the rest

const wanted = () => search.value.trim().toLowerCase();

function filter() {
  const text = wanted();
  let shown = 0;
  const ranges = [];
  for (const item of list().children) {
    const isWanted = !text || item.textContent.toLowerCase().includes(text);
    item.classList.toggle("is-left-out", !isWanted);
    shown += isWanted;
    if (text && isWanted && ranges.length < 1000) mark(item, text, ranges);
  }
  if (globalThis.Highlight && CSS.highlights) {
    if (ranges.length) CSS.highlights.set("trace-search", new Highlight(...ranges));
    else CSS.highlights.delete("trace-search");
  }
  counted.textContent = text ? `${shown} of ${list().childElementCount} here` : "";
}

function mark(item, text, ranges) {
  const walker = document.createTreeWalker(item, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const lowered = node.data.toLowerCase();
    if (lowered.length !== node.data.length) continue;
    for (let at = lowered.indexOf(text); at >= 0; at = lowered.indexOf(text, at + text.length)) {
      const range = new Range();
      range.setStart(node, at);
      range.setEnd(node, at + text.length);
      ranges.push(range);
    }
  }
}

let asking = 0;
let asked = "";
async function ask() {
  const text = search.value.trim();
  if (text === asked) return;
  asked = text;
  const place = () => document.getElementById("trace-found");
  if (!text) { place().replaceChildren(); return; }
  try {
    const answer = await fetch(`${search.dataset.search}?q=${encodeURIComponent(text)}`);
    if (!answer.ok || answer.redirected || text !== search.value.trim()) return;
    const parts = document.createElement("template");
    parts.innerHTML = await answer.text();
    place().replaceWith(parts.content);
  } catch {
    asked = ""; // the next letter asks again
  }
}

search.addEventListener("input", () => {
  filter();
  clearTimeout(asking);
  asking = setTimeout(ask, 300);
});
search.form.addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(asking); void ask(); });

// ---- clocks

function tick() {
  for (const clock of document.querySelectorAll("[data-since]")) {
    const said = duration((Date.now() - Date.parse(clock.dataset.since)) / 1000);
    if (clock.textContent !== said) clock.textContent = said;
  }
}

function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

const local = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
function localize() {
  for (const time of document.querySelectorAll("time[data-clock]")) {
    time.removeAttribute("data-clock");
    time.textContent = local.format(new Date(time.dateTime));
  }
}

// ---- news

let observed = null;
function refresh() {
  if (observed !== list()) { // all of it may have been swapped
    grown.disconnect();
    observed = list();
    grown.observe(observed);
  }
  localize();
  tick();
  if (wanted()) filter();
  if (current && !current.isConnected) {
    const same = document.getElementById(current.id);
    current = same;
    same?.classList.add("is-current");
  }
}

document.addEventListener("live-change", () => {
  const was = isFollowing;
  refresh();
  const head = document.getElementById("run-head");
  const line = document.getElementById("status-line");
  if (head && line.textContent !== head.dataset.said) line.textContent = head.dataset.said;
  if (was) { trim(); goToEnd(); } else showEnd();
});

refresh();
setInterval(tick, 1000);
const asksFor = /^#e(\d+)$/.exec(location.hash);
if (asksFor && !go(asksFor[1])) {
  if (!new URLSearchParams(location.search).has("at")) location.replace(`${base}?at=${asksFor[1]}${location.hash}`);
} else if (!asksFor && !isOlder && !narrow.matches && !location.hash) {
  goToEnd();
}
if (search.value) { asked = search.value.trim(); filter(); }
showEnd();
