"use strict";
// Two things: the table of trials, and what is lit up when the pointer is on a trial's mark.
const data = JSON.parse(document.getElementById("data").textContent);
const byNumber = new Map(data.rows.map((row) => [row[0], row]));
const first = data.columns.length - data.drawn;
const hint = document.getElementById("hint");
const show = (v) => v === null || v === undefined ? "" : typeof v === "number" && !Number.isInteger(v) ? String(Number(v.toPrecision(4))) : String(v);
function add(parent, tag, text, name) {  // text only: names and values are somebody else's
  const made = document.createElement(tag);
  if (text !== undefined && text !== "") made.textContent = text;
  if (name) made.className = name;
  parent.append(made);
  return made;
}

// The table: sorted by a click on a heading, filtered by outcome and by text.
const outcomes = [...new Set(data.rows.map((row) => row[1]))].sort();
const hidden = new Set();
let sorted = 0, up = true, wanted = "";
const filters = document.getElementById("filters"), body = document.getElementById("body"), head = document.getElementById("head");
for (const outcome of outcomes) {
  const label = add(filters, "label"), box = add(label, "input");
  box.type = "checkbox"; box.checked = true;
  label.append(" " + outcome);
  box.onchange = () => { box.checked ? hidden.delete(outcome) : hidden.add(outcome); fill(); };
}
if (data.rows.length) {
  const search = add(filters, "input");
  search.type = "search"; search.placeholder = "filter"; search.setAttribute("aria-label", "filter");
  search.oninput = () => { wanted = search.value.toLowerCase(); fill(); };
}
data.columns.forEach((column, place) => {
  const words = column.split("."), cell = add(head, "th");
  if (place >= first && words.length > 1) add(cell, "small", words.slice(0, -1).join("."));
  cell.append(place >= first ? words.at(-1) : column);
  cell.tabIndex = 0;
  cell.onclick = () => { up = sorted === place ? !up : true; sorted = place; fill(); };
  cell.onkeydown = (event) => { if (event.key === "Enter") cell.onclick(); };
});
function compare(a, b) {
  const [x, y] = [a[sorted], b[sorted]];
  if (x === y) return a[0] - b[0];
  if (x === null || x === undefined) return 1;  // what is missing comes last, either way
  if (y === null || y === undefined) return -1;
  const less = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
  return up ? less : -less;
}
function fill() {
  marks = null;
  body.replaceChildren();
  [...head.children].forEach((cell, place) => cell.setAttribute("aria-sort", place !== sorted ? "none" : up ? "ascending" : "descending"));
  for (const row of [...data.rows].sort(compare)) {
    if (hidden.has(row[1]) || (wanted && !row.some((v) => show(v).toLowerCase().includes(wanted)))) continue;
    const line = add(body, "tr");
    line.dataset.t = row[0];
    data.columns.forEach((_, place) => add(line, "td", show(row[place]), typeof row[place] === "number" ? "number" : ""));
  }
}

// Under the pointer: all marks of the trial, in every figure and in the table.
let marks = null, lit = null, pinned = null;
function index() {
  marks = new Map();
  for (const mark of document.querySelectorAll("[data-t]")) {
    const number = Number(mark.dataset.t);
    marks.has(number) ? marks.get(number).push(mark) : marks.set(number, [mark]);
  }
}
function light(number) {
  if (number === lit) return;
  if (!marks) index();
  for (const mark of marks.get(lit) ?? []) mark.classList.remove("lit");
  lit = number;
  document.body.classList.toggle("picked", lit !== null);
  for (const mark of marks.get(lit) ?? []) mark.classList.add("lit");
}
function describe(number, event) {
  const row = byNumber.get(number);
  if (!row) return;
  hint.replaceChildren();
  add(hint, "h3", `${data.name}: trial ${number}, ${row[1]}`);
  const list = add(hint, "dl");
  data.columns.forEach((column, place) => {
    if (place < 2 || row[place] === null || row[place] === undefined) return;
    add(list, "dt", place >= first ? column.split(".").at(-1) : column);
    add(list, "dd", show(row[place]));
  });
  hint.hidden = false;
  const box = hint.getBoundingClientRect(), gap = 16;
  hint.style.left = Math.max(4, Math.min(event.clientX + gap, innerWidth - box.width - 4)) + "px";
  hint.style.top = Math.max(4, event.clientY + gap + box.height > innerHeight ? event.clientY - gap - box.height : event.clientY + gap) + "px";
}
const under = (event) => event.target instanceof Element ? event.target.closest("[data-t]") : null;
document.addEventListener("pointerover", (event) => {
  const mark = under(event);
  hint.hidden = true;
  light(mark ? Number(mark.dataset.t) : pinned);
  if (mark && mark.closest("svg")) describe(Number(mark.dataset.t), event);
});
document.addEventListener("click", (event) => {  // a click keeps a trial lit, another lets it go
  const mark = under(event);
  if (mark) pinned = pinned === Number(mark.dataset.t) ? null : Number(mark.dataset.t);
  else if (!event.target.closest("button, a, summary, input, label, th")) pinned = null;
  light(mark ? Number(mark.dataset.t) : pinned);
});
for (const button of document.querySelectorAll("button[data-copy]"))
  button.onclick = async () => {
    const text = document.getElementById(button.dataset.copy).textContent;
    try { await navigator.clipboard.writeText(text); button.textContent = "copied"; }
    catch { getSelection().selectAllChildren(document.getElementById(button.dataset.copy)); }
  };
fill();
document.body.dataset.ready = "yes";
