// SPDX-License-Identifier: Apache-2.0
// list.js - the table of targets: search and sort without asking again. Owns nothing that is not there without it.

const table = document.getElementById("targets"), form = document.querySelector("form[role=search]");

function value(row, column) {
  const cell = row.cells[column];
  if (!cell) return "";
  const said = cell.dataset.sort ?? cell.textContent.trim();
  return said !== "" && Number.isFinite(Number(said)) && column > 0 ? Number(said) : said.toLowerCase();
}

function sortBy(column, head) {
  const down = head.getAttribute("aria-sort") !== "descending" && (head.getAttribute("aria-sort") === "ascending" || column > 1);
  const rows = [...table.tBodies[0].rows];
  rows.sort((a, b) => {
    const x = value(a, column), y = value(b, column);
    return (x < y ? -1 : x > y ? 1 : 0) * (down ? -1 : 1);
  });
  for (const th of table.tHead.rows[0].cells) th.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  table.tBodies[0].append(...rows);
}

if (table && table.tHead) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const link = head.querySelector("a");
    if (link) {
      link.addEventListener("click", (e) => {
        e.preventDefault();
        sortBy(column, head);
      });
    }
  });
}

if (table && form) {
  form.hidden = false;
  const input = form.querySelector("input"), said = form.querySelector("output") || form.appendChild(document.createElement("output"));
  const find = () => {
    const words = input.value.trim().toLowerCase().split(/\s+/).filter(Boolean), rows = [...table.tBodies[0].rows];
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((w) => text.includes(w));
      shown += !row.hidden;
    }
    said.textContent = words.length ? shown + " of " + rows.length : "";
  };
  form.addEventListener("submit", (e) => {
    e.preventDefault();
    const first = [...table.tBodies[0].rows].find((r) => !r.hidden), link = first && first.querySelector("a");
    if (link) location.href = link.href;
  });
  input.addEventListener("input", find);
  document.addEventListener("keydown", (e) => {
    if (e.key !== "/" || e.target.closest("input, select, textarea")) return;
    e.preventDefault();
    input.focus();
  });
}
