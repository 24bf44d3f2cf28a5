// What every page has: the theme switch, times that stay true, copying, menus that close. Pages work without it.

const minute = 60, hour = 3600, day = 86400;

export function ago(seconds) {
  if (seconds < minute) return "just now";
  if (seconds < hour) return `${Math.floor(seconds / minute)} min ago`;
  if (seconds < day) return `${Math.floor(seconds / hour)} h ago`;
  if (seconds < 7 * day) return `${Math.floor(seconds / day)} d ago`;
  return null;
}

function keepTimesTrue() {
  const now = Date.now();
  for (const time of document.querySelectorAll("time[data-ago]")) {
    const said = ago((now - Date.parse(time.dateTime)) / 1000);
    if (said !== null && time.textContent !== said) time.textContent = said;
  }
}

export function notice(text) {
  const said = document.createElement("p");
  said.textContent = text;
  document.getElementById("notices")?.append(said);
  setTimeout(() => said.remove(), 4000);
}

function switchTheme() {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  try { localStorage.setItem("theme", root.dataset.theme); } catch { /* it lasts for this page then */ }
}

async function copy(button) {
  const from = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(from.textContent);
    notice("Copied.");
  } catch {
    getSelection().selectAllChildren(from);
    notice("Select and copy: the browser does not let pages copy here.");
  }
}

document.addEventListener("click", (event) => {
  const target = event.target instanceof Element ? event.target : null;
  if (target?.closest("[data-theme-switch]")) switchTheme();
  const button = target?.closest("[data-copy]");
  if (button) void copy(button);
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(target)) menu.open = false;
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      menu.open = false;
      menu.querySelector("summary")?.focus();
    }
  }
});

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form instanceof HTMLFormElement && form.dataset.confirm && !confirm(form.dataset.confirm)) event.preventDefault();
});

keepTimesTrue();
setInterval(keepTimesTrue, 15000);
