// The form of a new run, made quicker: steps without a round trip, branches offered, files dropped. It works without.

import { notice } from "./app.js";

const form = document.getElementById("new-run");
const steps = document.getElementById("steps");
const fields = () => [...steps.querySelectorAll("[data-step]")];

// ---- steps

function renumber() {
  const all = fields();
  // In two passes: radio buttons that share a name for a moment would uncheck each other.
  for (const pass of ["moving", "step"]) {
    all.forEach((step, at) => {
      for (const field of step.querySelectorAll("[name]")) {
        if (field.name !== "action") field.name = field.name.replace(/^[a-z]+-\d+/, `${pass}-${at}`);
      }
    });
  }
  all.forEach((step, at) => {
    step.querySelector("[data-number]").textContent = at + 1;
    const text = step.querySelector("textarea");
    text.id = `run-step-${at}`;
    step.querySelector("label").htmlFor = text.id;
    const error = step.querySelector(".field-error");
    if (error) {
      error.id = `${text.id}-error`;
      text.setAttribute("aria-describedby", error.id);
    }
    for (const button of step.querySelectorAll("[data-move]")) {
      const what = button.dataset.move;
      button.value = `${what}-${at}`;
      button.setAttribute("aria-label", what === "remove" ? `Remove step ${at + 1}` : `Move step ${at + 1} ${what}`);
    }
  });
  form.querySelector("[data-add]").disabled = all.length >= Number(form.dataset.mostSteps);
}

function made() {
  const step = document.getElementById("step-template").content.cloneNode(true).querySelector("[data-step]");
  step.querySelector("[data-grip]").hidden = false;
  return step;
}

function add() {
  if (fields().length >= Number(form.dataset.mostSteps)) return;
  const step = made();
  steps.append(step);
  renumber();
  step.querySelector("textarea").focus();
}

function move(step, what, focus) {
  const all = fields();
  const at = all.indexOf(step);
  if (what === "remove") {
    if (all.length === 1) step.replaceWith(made());
    else step.remove();
    renumber();
    fields()[Math.min(at, fields().length - 1)].querySelector("textarea").focus();
    notice(`Step ${at + 1} is removed.`);
    return;
  }
  const to = at + (what === "up" ? -1 : 1);
  if (to < 0 || to >= all.length) return;
  if (what === "up") all[to].before(step);
  else all[to].after(step);
  renumber();
  const isAtEnd = to === 0 || to === all.length - 1;
  (focus?.dataset.move && !isAtEnd ? focus : step.querySelector("textarea")).focus();
  notice(`Now step ${to + 1} of ${all.length}.`);
}

form.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button === null) return;
  if (button.dataset.add !== undefined) { event.preventDefault(); add(); }
  if (button.dataset.move) { event.preventDefault(); move(button.closest("[data-step]"), button.dataset.move, button); }
});

steps.addEventListener("keydown", (event) => {
  if (!event.altKey || !["ArrowUp", "ArrowDown"].includes(event.key)) return;
  event.preventDefault();
  move(event.target.closest("[data-step]"), event.key === "ArrowUp" ? "up" : "down", event.target);
});

let dragged = null;
steps.addEventListener("pointerdown", (event) => {
  const grip = event.target.closest("[data-grip]");
  if (grip === null || event.button !== 0) return;
  event.preventDefault();
  dragged = grip.closest("[data-step]");
  dragged.classList.add("is-dragged");
  grip.setPointerCapture(event.pointerId);
});
steps.addEventListener("pointermove", (event) => {
  if (dragged === null) return;
  const over = document.elementFromPoint(event.clientX, event.clientY)?.closest("[data-step]");
  if (!over || over === dragged || over.parentElement !== steps) return;
  const all = fields();
  if (all.indexOf(over) < all.indexOf(dragged)) over.before(dragged);
  else over.after(dragged);
});
for (const ending of ["pointerup", "pointercancel"]) {
  steps.addEventListener(ending, () => {
    if (dragged === null) return;
    dragged.classList.remove("is-dragged");
    dragged = null;
    renumber();
  });
}
for (const grip of steps.querySelectorAll("[data-grip]")) grip.hidden = false;

// ---- where

const repository = document.getElementById("run-repository");
const source = document.getElementById("run-source");
const branches = document.getElementById("branches");
const said = document.getElementById("branches-said");
const elsewhere = document.getElementById("elsewhere");
let proposed = repository.selectedOptions[0]?.dataset.branch ?? "";
let asked = 0;

function showAddress() {
  elsewhere.hidden = elsewhere.disabled = repository.value !== "other";
}

async function offerBranches() {
  const id = repository.value;
  const mine = ++asked;
  branches.replaceChildren();
  said.textContent = "";
  if (!/^\d+$/.test(id)) return;
  try {
    const answer = await fetch(`/runs/new/branches?repository=${id}`, { headers: { Accept: "application/json" } });
    if (!answer.ok) return;
    const found = await answer.json();
    if (mine !== asked) return;
    branches.append(...found.names.map((name) => new Option(name, name)));
    const all = found.names.length + found.more;
    if (found.said) said.textContent = `No branches can be offered: ${found.said}`;
    else said.textContent = found.more ? `${found.names.length} of ${all} branches are offered.` : `${all} ${all === 1 ? "branch is" : "branches are"} offered.`;
  } catch { /* the field works without */ }
}

repository.addEventListener("change", () => {
  const branch = repository.selectedOptions[0]?.dataset.branch ?? "";
  if (source.value === "" || source.value === proposed) source.value = branch;
  proposed = branch;
  showAddress();
  void offerBranches();
});
showAddress();
void offerBranches();

// ---- what it may connect to, if the run says nothing

const usual = form.querySelector("[data-usual]:not(option)");
const showUsual = () => {
  const said = repository.selectedOptions[0]?.dataset.usual;
  if (said) usual.textContent = said;
};
repository.addEventListener("change", showUsual);
showUsual();

// ---- files

const input = document.getElementById("run-files");
const drop = document.getElementById("drop");
const chosen = document.getElementById("chosen-files");
let files = [];

function size(bytes) {
  if (bytes < 1024) return `${bytes} bytes`;
  return bytes < 1048576 ? `${Math.round(bytes / 1024)} KiB` : `${(bytes / 1048576).toFixed(1)} MiB`;
}

function keep(list) {
  files = list;
  const all = new DataTransfer();
  for (const file of files) all.items.add(file);
  input.files = all.files;
  chosen.replaceChildren(...files.map((file, at) => {
    const item = document.createElement("li");
    const name = document.createElement("span");
    name.textContent = file.name;
    const note = document.createElement("span");
    note.className = "soft small";
    note.textContent = size(file.size);
    if (file.size > Number(form.dataset.mostFileBytes)) {
      note.className = "small is-wrong";
      note.textContent += ": too large";
    }
    const remove = document.createElement("button");
    remove.type = "button";
    remove.textContent = "✕";
    remove.setAttribute("aria-label", `Remove ${file.name}`);
    remove.addEventListener("click", () => {
      keep(files.filter((_, other) => other !== at));
      (chosen.querySelectorAll("button")[Math.min(at, files.length - 1)] ?? input).focus();
    });
    item.append(name, note, remove);
    return item;
  }));
  input.setCustomValidity(fault());
}

function fault() {
  const { mostAtOnce, mostFileBytes, mostBytes, mostFiles } = form.dataset;
  const uploaded = form.querySelectorAll('[name="file"]:checked').length;
  if (files.length > Number(mostAtOnce)) return `Choose at most ${mostAtOnce} files at once.`;
  if (files.length + uploaded > Number(mostFiles)) return `A run takes at most ${mostFiles} files.`;
  const large = files.find((file) => file.size > Number(mostFileBytes));
  if (large) return `${large.name} is larger than ${size(Number(mostFileBytes))}.`;
  const all = files.reduce((sum, file) => sum + file.size, 0);
  return all > Number(mostBytes) ? `All files together may hold ${size(Number(mostBytes))}.` : "";
}

// What is chosen adds to what there is: choosing twice must not lose the first.
const joined = (more) => [...files, ...[...more].filter((file) => !files.some((one) => one.name === file.name && one.size === file.size && one.lastModified === file.lastModified))];
input.addEventListener("change", () => keep(joined(input.files)));
drop.querySelector("[data-drop-hint]").hidden = false;
for (const kind of ["dragenter", "dragover"]) {
  drop.addEventListener(kind, (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    drop.classList.add("is-over");
  });
}
for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("is-over"));
drop.addEventListener("drop", (event) => {
  if (!event.dataTransfer?.files.length) return;
  event.preventDefault();
  keep(joined(event.dataTransfer.files));
});
// A file that misses the place must not replace the page and all that is written there.
for (const kind of ["dragover", "drop"]) {
  addEventListener(kind, (event) => { if (event.dataTransfer?.types.includes("Files")) event.preventDefault(); });
}

// ---- once

let isSent = false;
form.addEventListener("submit", (event) => {
  if (isSent) { event.preventDefault(); return; }
  isSent = true;
  form.setAttribute("aria-busy", "true");
  const start = form.querySelector("[data-start]");
  start.textContent = "Starting…";
  setTimeout(() => { start.disabled = true; });
});
addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  isSent = false;
  form.removeAttribute("aria-busy");
  const start = form.querySelector("[data-start]");
  start.disabled = false;
  start.textContent = "Start the run";
});

renumber();
