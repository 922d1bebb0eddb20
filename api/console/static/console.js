"use strict";
// All of it is convenience: every page works without scripts.
document.addEventListener("submit", (event) => {
  const by = event.submitter;
  const sure = (by && by.dataset.sure) || event.target.dataset.sure;
  if (sure && !window.confirm(sure)) event.preventDefault();
});
document.addEventListener("click", (event) => {
  const copy = event.target.closest("[data-copy]");
  if (copy && navigator.clipboard) {
    navigator.clipboard.writeText(copy.dataset.copy).then(() => { copy.textContent = "Copied"; });
  }
});
document.addEventListener("change", (event) => {
  if (!event.target.matches("[data-all]")) return;
  for (const box of event.target.closest("table").querySelectorAll("tbody input[type=checkbox]")) {
    box.checked = event.target.checked;
  }
});
// On a phone the pages' names are one line to wipe along: the current one has to be in sight.
document.querySelector(".side [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    const find = document.querySelector(".find input");
    if (find) { event.preventDefault(); find.focus(); }
  }
});
