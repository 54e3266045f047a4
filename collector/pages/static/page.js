"use strict";
// Keeps the page as the collector last said it. All words come ready from page.json; this file only puts them into place, as
// text, never as HTML: every name on this page was chosen by a stranger.

const EVERY_MS = 1000; // between an answer and the next question
const PATIENCE_MS = 8000; // for one answer
const STALE_MS = 5000; // without an answer, after which the page says so
// Attributes that may be set, so that no item can make one that runs or loads something.
const ATTRIBUTES = new Set([
  "aria-current", "aria-label", "data-state", "data-zero", "datetime", "height", "href", "points", "title", "width", "x",
]);

const main = document.getElementById("main");
const link = document.getElementById("link");
const linkWords = document.getElementById("linkwords");
const stale = document.getElementById("stale");
const said = document.getElementById("said");
const hold = document.getElementById("hold");
const find = document.getElementById("find");
const split = document.getElementById("split");
const detail = document.getElementById("detail");

let answered = Date.now();
let asked = 0; // a number for each question, so that a late answer to an old one is not shown
let timer = 0;
let held = false;
let listAt = 0; // how far the list was scrolled when a pod took its place

function put(element, item) {
  if (element.dataset.if !== undefined) {
    const value = item[element.dataset.if];
    const hidden = !value || (Array.isArray(value) && value.length === 0);
    if (element.hidden !== hidden) element.hidden = hidden;
  }
  if (element.dataset.with !== undefined) {
    for (const part of element.dataset.with.split(".")) item = item?.[part];
    if (!item) return;
  }
  if (element.dataset.a !== undefined) {
    for (const pair of element.dataset.a.split(" ")) setAttribute(element, ...pair.split(":"), item);
  }
  if (element.dataset.list !== undefined) {
    list(element, item[element.dataset.list] ?? []);
  } else if (element.dataset.f !== undefined) {
    const text = String(item[element.dataset.f] ?? "");
    if (element.textContent !== text) element.textContent = text;
  } else {
    for (const child of element.children) put(child, item);
  }
}

function setAttribute(element, name, ...rest) {
  const item = rest.pop();
  const value = String(item[rest[0] ?? name] ?? "");
  if (!ATTRIBUTES.has(name) || (name === "href" && !value.startsWith("?"))) return;
  if (value === "" && name === "aria-current") element.removeAttribute(name);
  else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

function list(parent, items) {
  const template = parent.querySelector(":scope > template");
  const known = new Map();
  for (const child of parent.children) if (child !== template) known.set(child.dataset.key, child);
  let before = template.nextElementSibling;
  for (const item of items) {
    let element = known.get(item.key);
    known.delete(item.key);
    if (element === undefined) {
      element = parent.namespaceURI.endsWith("svg") ? svgItem(template) : template.content.firstElementChild.cloneNode(true);
      element.dataset.key = item.key;
      if (parent.dataset.list === "terms") element.classList.add(item.key);
    }
    put(element, item);
    if (element === before) before = before.nextElementSibling;
    else move(parent, element, before);
  }
  for (const gone of known.values()) gone.remove();
}

// Inside an SVG a <template> is no template: its content is its children.
function svgItem(template) {
  return (template.content?.firstElementChild ?? template.firstElementChild).cloneNode(true);
}

// Moving an element takes the focus from it; give it back.
function move(parent, element, before) {
  const focused = element.contains(document.activeElement) ? document.activeElement : null;
  parent.insertBefore(element, before);
  focused?.focus({ preventScroll: true });
}

function show(model) {
  model.filled = !model.empty;
  put(document.querySelector(".lede"), model);
  put(main, model);
  turn(model.detail ? "true" : "");
  document.getElementById("close").setAttribute("href", model.close);
  const bad = model.bad.join("; ");
  if (said.textContent !== bad) said.textContent = bad; // read out when it changes, not every second
}

// Where there is room for one only, a pod opens at its top, and the list comes back to where it was.
function turn(open) {
  if (split.dataset.open === open) return;
  if (open) listAt = scrollY;
  split.dataset.open = open;
  if (matchMedia("(max-width: 1179px)").matches) scrollTo(0, open ? split.offsetTop - 12 : listAt);
}

async function ask() {
  clearTimeout(timer);
  const mine = ++asked;
  try {
    const answer = await fetch("page.json" + location.search, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    if (answer.status === 401) return location.reload(); // to the sign-in
    if (!answer.ok) throw new Error(`answered ${answer.status}`);
    const model = await answer.json();
    if (mine !== asked) return undefined;
    answered = Date.now();
    show(model);
  } catch {
    // Not reachable, or not well: `tick` says so when it lasts.
  }
  if (mine === asked) again();
  return undefined;
}

function again() {
  clearTimeout(timer);
  if (!held && !document.hidden) timer = setTimeout(ask, EVERY_MS);
}

function tick() {
  const silent = Date.now() - answered;
  const state = held ? "held" : silent > STALE_MS && !document.hidden ? "stale" : "live";
  if (link.dataset.state !== state) {
    link.dataset.state = state;
    document.body.dataset.state = state;
    linkWords.textContent = { held: "paused", stale: "not answering", live: "live" }[state];
    stale.hidden = state !== "stale";
    if (state === "stale") {
      stale.textContent = `The collector does not answer. What you see is of ${new Date(answered).toLocaleTimeString()}; it goes on by itself when the collector is back.`;
    }
  }
}

function go(address, replace) {
  history[replace ? "replaceState" : "pushState"](null, "", address);
  ask();
}

document.addEventListener("click", (event) => {
  const anchor = event.target.closest("a[href^='?'], a.close");
  let chosen = anchor;
  if (!anchor && window.getSelection().isCollapsed) chosen = event.target.closest("tr.row")?.querySelector("a") ?? null;
  if (!chosen || event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return;
  event.preventDefault();
  go(chosen.getAttribute("href") || "?", false);
});

document.addEventListener("keydown", (event) => {
  const typing = event.target === find;
  if (event.key === "/" && !typing && !event.metaKey && !event.ctrlKey) {
    event.preventDefault();
    find.focus();
  } else if (event.key === "Escape" && !typing && split.dataset.open) {
    go(document.getElementById("close").getAttribute("href"), false);
  } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && event.target.closest?.("tr.row")) {
    const links = [...document.querySelectorAll("tr.row th.who a")];
    const next = links[links.indexOf(event.target) + (event.key === "ArrowDown" ? 1 : -1)];
    if (next) {
      event.preventDefault();
      next.focus();
    }
  }
});

find.addEventListener("input", () => {
  const query = new URLSearchParams(location.search);
  if (find.value) query.set("find", find.value);
  else query.delete("find");
  go(`?${query}`, true);
});
find.form.addEventListener("submit", (event) => event.preventDefault());

hold.addEventListener("click", () => {
  held = !held;
  hold.setAttribute("aria-pressed", String(held));
  hold.textContent = held ? "Go on" : "Pause";
  answered = Date.now();
  tick();
  if (held) clearTimeout(timer);
  else ask();
});

addEventListener("popstate", () => {
  find.value = new URLSearchParams(location.search).get("find") ?? "";
  ask();
});
document.addEventListener("visibilitychange", () => {
  answered = Date.now();
  if (!document.hidden && !held) ask();
});

hold.hidden = false;
setInterval(tick, 500);
again();
