// A long list of repositories to tick: narrowed as one types. Without it all are there.

for (const search of document.querySelectorAll("[data-pick]")) {
  const rows = [...search.closest("fieldset").querySelectorAll("li")];
  search.hidden = rows.length < 8;
  search.addEventListener("input", () => {
    const parts = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) row.hidden = !parts.every((part) => row.textContent.toLowerCase().includes(part));
  });
  search.addEventListener("keydown", (event) => { if (event.key === "Enter") event.preventDefault(); });
}
