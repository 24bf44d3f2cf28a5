// The list of runs: older ones as one scrolls, "/" to search. Without it there are links.

import { swap } from "./live.js";

const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) void load(entry.target);
}, { rootMargin: "600px" });

let isLoading = false;

async function load(link) {
  if (isLoading) return;
  isLoading = true;
  watcher.unobserve(link);
  try {
    const answer = await fetch(link.dataset.fragment, { headers: { Accept: "text/html" } });
    if (!answer.ok || answer.redirected) { location.assign(link.href); return; }
    swap(await answer.text());
  } catch {
    link.textContent = "Could not load: try again";
    return;
  } finally {
    isLoading = false;
  }
  watch();
}

function watch() {
  const link = document.querySelector("[data-more]");
  if (link) watcher.observe(link);
}

document.addEventListener("click", (event) => {
  const link = event.target instanceof Element ? event.target.closest("[data-more]") : null;
  if (link && !event.ctrlKey && !event.metaKey) { event.preventDefault(); void load(link); }
});

document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !/^(input|textarea|select)$/i.test(document.activeElement?.tagName ?? "")) {
    event.preventDefault();
    document.getElementById("q")?.focus();
  }
});

document.addEventListener("live-change", () => {
  const none = document.getElementById("no-runs");
  if (none && document.querySelector("#run-rows > li")) none.remove();
});

for (const select of document.querySelectorAll(".filters select")) {
  select.addEventListener("change", () => select.form.requestSubmit());
}

watch();
