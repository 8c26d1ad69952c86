"use strict";
// Sorting: numbers by their full precision; rows without a value last in both directions, and the
// rows of real images last of all.
document.querySelectorAll("table.metrics thead th").forEach((head) => {
  head.querySelector("button").addEventListener("click", () => {
    const body = head.closest("table").tBodies[0];
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const value = (row) => row.cells[head.cellIndex].dataset.v;
    const compare = (a, b) => {
      const [x, y] = [value(a), value(b)];
      const apart = a.classList.contains("reference") - b.classList.contains("reference");
      if (apart || x === "" || y === "") return apart || (x === "") - (y === "");
      const order = isNaN(x) ? x.localeCompare(y) : x - y;
      return up ? order : -order;
    };
    body.append(...[...body.rows].sort(compare));
  });
});

const root = document.documentElement;
const store = {
  // A page opened from a file may have no storage; the toggle then lasts until it is closed.
  get: () => { try { return localStorage.getItem("theme"); } catch { return null; } },
  set: (theme) => { try { localStorage.setItem("theme", theme); } catch { return; } },
};
if (store.get()) root.dataset.theme = store.get();
document.getElementById("theme").addEventListener("click", () => {
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  root.dataset.theme = (root.dataset.theme || system) === "dark" ? "light" : "dark";
  store.set(root.dataset.theme);
});

// Paper cannot be clicked on: what is closed is opened for it, and closed again.
const closed = () => document.querySelectorAll("details:not([open])");
let opened = [];
addEventListener("beforeprint", () => { opened = [...closed()]; for (const one of opened) one.open = true; });
addEventListener("afterprint", () => { for (const one of opened) one.open = false; });
// A link to a card opens it.
const open = () => {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const card = target && target.closest("details");
  if (card) { card.open = true; target.scrollIntoView(); }
};
addEventListener("hashchange", open);
open();
