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
// What is asked for again and again must not look fresh when nobody answers.
const away = (event) => {
  const there = document.getElementById("away");
  if (event.type === "htmx:afterRequest") { if (event.detail.successful) there?.remove(); return; }
  if (there) return;
  const words = document.createElement("p");
  words.id = "away"; words.className = "told bad"; words.setAttribute("role", "alert");
  words.textContent = "No good answer since " + new Date().toLocaleTimeString() + ": what is shown is of before.";
  document.querySelector("main").prepend(words);
};
for (const type of ["htmx:sendError", "htmx:responseError", "htmx:timeout", "htmx:afterRequest"]) {
  document.addEventListener(type, away);
}
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    const find = document.querySelector(".find input");
    if (find) { event.preventDefault(); find.focus(); }
  }
});
