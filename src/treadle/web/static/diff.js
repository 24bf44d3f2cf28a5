// The diff's page, made quick: files and context come when they are asked for, keys go from file to file, and the
// browser remembers what was viewed. Without it every link still leads to a page that shows the same.

import { notice } from "./app.js";

const diff = document.getElementById("diff");
const files = document.getElementById("files");

async function fragment(url, kind = "part") {
  const answer = await fetch(url, { headers: { "X-Fragment": kind } });
  if (!answer.ok || answer.redirected) throw new Error(answer.statusText);
  const template = document.createElement("template");
  const matching = answer.headers.get("X-Matching");
  const said = document.getElementById("matching");
  if (matching && said) said.textContent = `${matching} of ${said.dataset.all} files`;
  template.innerHTML = await answer.text(); // our own pages: everything in them is escaped, and the CSP lets nothing run
  return template.content;
}

// One at a time for each place, with a word when it fails.
const underWay = new WeakSet();
async function swap(element, url, kind, put) {
  if (underWay.has(element)) return;
  underWay.add(element);
  element.setAttribute("aria-busy", "true");
  try {
    put(await fragment(url, kind));
  } catch {
    notice("This could not be loaded. Try again.");
  } finally {
    underWay.delete(element);
    element.removeAttribute("aria-busy");
  }
}

// ---- what was viewed, by the diff that it was

const key = `viewed:${diff?.dataset.key}`;
const viewed = new Set(read());
function read() {
  try { return JSON.parse(localStorage.getItem(key) ?? "[]"); } catch { return []; }
}
function remember() {
  try { localStorage.setItem(key, JSON.stringify([...viewed])); } catch { /* it lasts for this page then */ }
  for (const leaf of document.querySelectorAll(".leaf")) leaf.classList.toggle("is-viewed", viewed.has(numberOf(leaf)));
  const said = document.getElementById("viewed-count");
  if (said) said.textContent = viewed.size ? `${viewed.size} viewed` : "";
}
const numberOf = (leaf) => leaf.hash.slice(2);

function fold(file, isFolded) {
  file.classList.toggle("is-folded", isFolded);
  const button = file.querySelector("[data-fold]");
  button.setAttribute("aria-expanded", String(!isFolded));
  button.setAttribute("aria-label", isFolded ? "Unfold this file" : "Fold this file");
}

function view(file, isViewed) {
  viewed[isViewed ? "add" : "delete"](file.dataset.at);
  file.querySelector("[data-viewed]").checked = isViewed;
  fold(file, isViewed);
  remember();
}

function equip(root) {
  for (const file of root.querySelectorAll(".file:not([data-ready])")) {
    file.dataset.ready = "";
    file.querySelector("[data-fold]").hidden = false;
    file.querySelector(".viewed").hidden = false;
    if (viewed.has(file.dataset.at)) {
      file.querySelector("[data-viewed]").checked = true;
      fold(file, !location.hash.startsWith(`#f${file.dataset.at}`));
    }
  }
  for (const link of root.querySelectorAll("[data-following]")) nearEnd.observe(link);
}

// ---- more files, lines, context, folders

const nearEnd = new IntersectionObserver((seen) => {
  for (const each of seen) if (each.isIntersecting) moreFiles(each.target);
}, { rootMargin: "1200px" });

async function moreFiles(link) {
  nearEnd.unobserve(link);
  await swap(link, link.href, "files", (content) => { link.parentElement.replaceWith(content); equip(files); });
}

async function loadFolder(details) {
  await swap(details, details.dataset.load, "part", (content) => {
    delete details.dataset.load;
    details.querySelector("p")?.remove();
    details.append(content);
    remember();
  });
}

document.addEventListener("toggle", (event) => {
  if (event.target.open && event.target.dataset?.load) void loadFolder(event.target);
}, true);

document.addEventListener("click", (event) => {
  const target = event.target instanceof Element ? event.target : null;
  if (!target || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  const file = target.closest(".file");
  const link = target.closest("a");
  if (target.closest("[data-fold]")) fold(file, !file.classList.contains("is-folded"));
  else if (link?.dataset.context) {
    event.preventDefault();
    const gap = link.closest(".gap");
    const begin = Number(new URLSearchParams(link.dataset.context).get("new"));
    const end = Number(new URLSearchParams(link.dataset.context).get("end"));
    void swap(gap, `${diff.dataset.context}?${link.dataset.context}`, "part", (content) => openContext(gap, link, content, begin, end));
  } else if (link?.dataset.lines) {
    event.preventDefault();
    void swap(link, link.dataset.lines, "part", (content) => link.parentElement.replaceWith(content));
  } else if (link?.dataset.file) {
    event.preventDefault();
    void loadFile(file, link.dataset.file);
  } else if (link?.hasAttribute("data-following")) {
    event.preventDefault();
    void moreFiles(link);
  } else if (link?.matches(".leaf, .file-name a") && document.getElementById(link.hash.slice(1))) {
    event.preventDefault();
    goTo(document.getElementById(link.hash.slice(1)));
    history.replaceState(null, "", link.href);
  } else if (link?.matches(".ln > a")) {
    event.preventDefault();
    const url = new URL(location.href);
    url.searchParams.set("from", file.dataset.at);
    url.hash = link.hash;
    history.replaceState(null, "", url);
    location.hash = link.hash; // so that :target follows
    navigator.clipboard?.writeText(location.href).then(() => notice("The link to this line is copied."), () => {});
  }
});

function openContext(gap, link, content, begin, end) {
  const opened = content.querySelectorAll(".r, .unified .ln, :scope > .ln").length || content.querySelectorAll(".ln").length;
  const rest = end - begin - opened;
  if (rest > 0) { // a long gap opens bit by bit
    const more = new URLSearchParams(link.dataset.context);
    more.set("old", String(Number(more.get("old")) + opened));
    more.set("new", String(begin + opened));
    link.dataset.context = more.toString();
    link.textContent = `Show ${rest} unchanged lines`;
    gap.before(content);
  } else {
    gap.replaceWith(content);
  }
}

async function loadFile(file, url) {
  await swap(file, url, "part", (content) => { file.replaceWith(content); equip(files); });
}

document.addEventListener("change", (event) => {
  if (event.target.matches?.("[data-viewed]")) view(event.target.closest(".file"), event.target.checked);
});

// ---- the filter

let waiting;
document.getElementById("filter")?.addEventListener("input", (event) => {
  clearTimeout(waiting);
  waiting = setTimeout(() => void filter(event.target.value), 150);
});
async function filter(text) {
  const url = new URL(diff.dataset.page, location.href);
  for (const name of ["filter", "from", "at"]) url.searchParams.delete(name);
  if (text.trim()) url.searchParams.set("filter", text.trim());
  try {
    const tree = await fragment(url, "tree");
    if (document.getElementById("filter").value !== text) return; // a later one is on its way
    document.getElementById("tree").replaceChildren(tree);
    const shown = await fragment(url, "files");
    if (document.getElementById("filter").value !== text) return;
    files.replaceChildren(shown);
    equip(files);
    remember();
    history.replaceState(null, "", url);
  } catch {
    notice("The files could not be filtered. Try again.");
  }
}

// ---- keys

let current;
function goTo(file) {
  current?.classList.remove("is-current");
  current = file;
  file.classList.add("is-current");
  file.scrollIntoView({ block: "start" });
  for (const leaf of document.querySelectorAll(".leaf[aria-current]")) leaf.removeAttribute("aria-current");
  document.querySelector(`.leaf[href$="#f${file.dataset.at}"]`)?.setAttribute("aria-current", "true");
}

async function step(by) {
  const all = [...files.querySelectorAll(".file")];
  const next = current?.isConnected ? all.indexOf(current) + by : 0;
  if (next >= all.length) {
    const link = files.querySelector("[data-following]");
    if (!link) return;
    await moreFiles(link);
    if (files.querySelectorAll(".file").length > all.length) await step(by);
  } else if (next >= 0) goTo(all[next]);
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input:not([type=checkbox]), textarea, select")) return;
  if (event.key === "n") void step(1);
  else if (event.key === "p") void step(-1);
  else if (event.key === "v" && current) view(current, !viewed.has(current.dataset.at));
  else if (event.key === "/") { event.preventDefault(); document.getElementById("filter").focus(); }
});

// ---- a line that a link leads to

async function toLine() {
  const found = /^#f(\d+)([LR]\d+)?$/.exec(location.hash);
  if (!found || !files) return;
  const [, at, line] = found;
  const file = document.getElementById(`f${at}`);
  if (!file) { // further down than what came with the page
    const url = new URL(location.href);
    if (url.searchParams.get("from") === at) return;
    url.searchParams.set("from", at);
    location.replace(url);
  } else if (line && !document.getElementById(location.hash.slice(1))) {
    const hash = location.hash;
    await loadFile(file, `${diff.dataset.file}${diff.dataset.file.includes("?") ? "&" : "?"}at=${at}&line=${line}`);
    if (document.getElementById(hash.slice(1))) { history.replaceState(null, "", "#"); location.hash = hash; }
  }
}

if (diff) {
  for (const each of document.querySelectorAll("[data-with-script]")) each.hidden = false;
  equip(document);
  remember();
  addEventListener("hashchange", () => void toLine());
  void toLine();
}
