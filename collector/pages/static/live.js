"use strict";
// Keeps the page up to date: when /v1/stream reports something new, the page's own address is fetched again and what differs
// is replaced. Filters and sorting work the same way, so the address is always the state.

const PATIENCE_MS = 8000; // for one answer
const STALE_MS = 5000; // without a connection to the collector, after which the page shows that
const TYPING_MS = 200; // after the last key, before the search begins
const REST_MS = 1000; // between two requests, at least
const REST = 3; // times as long as the answer took: a page takes a quarter of the collector's time at most
const REFUSED_MS = 5000; // after which a refused stream is opened again
const AGE_MS = 10000; // after which a page is fetched without an event: "heartbeat 5 s ago" ages, and a silent agent sends none

const main = document.getElementById("main");
const link = document.getElementById("link");
const linkWords = document.getElementById("linkwords");
const stale = document.getElementById("stale");
const announcement = document.getElementById("announcement");
const hold = document.getElementById("hold");

let source = null;
let listened = 0; // when the stream was last opened
let answered = Date.now();
let wellSince = Date.now(); // the last time without an error
let well = true;
let asked = 0; // a number for each request, so that a late answer to an old one is not shown
let asking = false;
let again = false;
let held = false;
let typing = 0; // the timer of a search that has not begun yet

const keyOf = (node) => (node.nodeType === 1 ? node.dataset.key : undefined);

// Makes `old` like `fresh`. Keeps the focus, open details, half-typed text and scroll positions. A script owns the inside of
// an element with `data-own`.
function morph(old, fresh, soft) {
  if (old.nodeType !== 1) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  if (old.dataset.own !== undefined || (old.nodeName === "FORM" && !soft)) return;
  if (old.nodeName === "INPUT" && old !== document.activeElement) old.value = fresh.value;
  const keyed = new Map();
  for (const child of old.childNodes) if (keyOf(child) !== undefined) keyed.set(keyOf(child), child);
  let at = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    let match = keyed.get(keyOf(child));
    if (keyOf(child) === undefined) {
      for (match = at; match && (keyOf(match) !== undefined || match.nodeName !== child.nodeName); ) match = match.nextSibling;
    } else if (match?.nodeName !== child.nodeName) match = undefined;
    keyed.delete(keyOf(child));
    if (match === at && match) at = at.nextSibling;
    else if (match) move(old, match, at);
    else old.insertBefore(document.importNode(child, true), at);
    if (match) morph(match, child, soft);
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

// Moving an element takes the focus from it; give it back.
function move(parent, element, before) {
  const focused = element.contains(document.activeElement) ? document.activeElement : null;
  parent.insertBefore(element, before);
  focused?.focus({ preventScroll: true });
}

function announce(text) {
  if (announcement.textContent !== text) announcement.textContent = text;
}

async function ask(soft = false) {
  if (asking && !soft) {
    again = true;
    return;
  }
  const mine = ++asked;
  const begun = Date.now();
  asking = true;
  again = false;
  const address = location.pathname + location.search;
  try {
    const answer = await fetch(address, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    if (answer.status === 401) return location.reload(); // to the sign-in
    if (!answer.ok && answer.status !== 404) throw new Error(`answered ${answer.status}`);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (mine !== asked) return undefined;
    morph(main, document.importNode(fresh.getElementById("main"), true), soft);
    document.title = fresh.title;
    answered = Date.now();
    well = true;
    listen();
    const bad = [...main.querySelectorAll("[data-announce]")].map((one) => one.dataset.announce).filter(Boolean);
    if (soft) announce(main.querySelector("[data-count]")?.dataset.count ?? "");
    else announce(bad.join("; ")); // the same text is not read out twice
    document.dispatchEvent(new Event("fresh"));
  } catch {
    well = false; // `tick` shows it when it lasts
    if (mine === asked && !held && !document.hidden) setTimeout(ask, REST_MS * 2);
  }
  if (mine === asked) {
    const rest = well ? Math.min(AGE_MS, Math.max(REST_MS, REST * (Date.now() - begun))) : REST_MS;
    setTimeout(() => {
      if (mine !== asked) return;
      asking = false;
      if (again && !held) ask();
    }, rest);
  }
  return undefined;
}

// A browser keeps few connections to one host, so a hidden page closes its own.
function listen() {
  const wanted = main.dataset.live && !held && !document.hidden;
  if (source && source.readyState !== EventSource.CLOSED && wanted) return;
  source?.close();
  source = null;
  if (!wanted) return;
  listened = Date.now();
  source = new EventSource(main.dataset.live);
  source.addEventListener("pods", () => ask());
}

function tick() {
  const live = Boolean(main.dataset.live);
  if (!live || held || document.hidden || (well && source?.readyState === EventSource.OPEN)) wellSince = Date.now();
  // After a refusal a browser does not reconnect by itself.
  if (source?.readyState === EventSource.CLOSED && Date.now() - listened > REFUSED_MS) listen();
  if (live && !held && !document.hidden && !asking && Date.now() - answered > AGE_MS) ask();
  const lost = Date.now() - wellSince > STALE_MS;
  const state = held ? "held" : lost ? "stale" : "live";
  if (link.hidden === live) link.hidden = hold.hidden = !live;
  if (link.dataset.state === state) return;
  link.dataset.state = document.body.dataset.state = state;
  linkWords.textContent = { held: "paused", stale: "not answering", live: "live" }[state];
  stale.hidden = state !== "stale";
  stale.textContent = lost
    ? `The collector does not answer. This page is of ${new Date(answered).toISOString().slice(11, 19)} UTC; it continues when the collector is back.`
    : "";
}

function go(address, replace) {
  clearTimeout(typing); // a search that has not begun yet would replace this address
  history[replace ? "replaceState" : "pushState"](null, "", address);
  ask(true);
}

function addressOf(form) {
  const words = new URLSearchParams();
  for (const [name, value] of new FormData(form)) if (String(value).trim()) words.append(name, String(value).trim());
  return `${location.pathname}${words.size ? `?${words}` : ""}`;
}

document.addEventListener("click", (event) => {
  const anchor = event.target.closest?.("a[data-soft]");
  if (!anchor || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey || event.button !== 0) return;
  event.preventDefault();
  go(anchor.href, false);
});

document.addEventListener("input", (event) => {
  if (event.target.type !== "search" || !event.target.form?.matches("[data-soft]")) return;
  clearTimeout(typing);
  typing = setTimeout(() => go(addressOf(event.target.form), true), TYPING_MS);
});

document.addEventListener("submit", (event) => {
  if (!event.target.matches("form[data-soft]")) return;
  event.preventDefault();
  const address = addressOf(event.target);
  for (const once of event.target.querySelectorAll("[data-once]")) once.value = "";
  go(address, false);
});

document.addEventListener("keydown", (event) => {
  if (event.metaKey || event.ctrlKey || event.altKey) return;
  const find = document.getElementById("find");
  const row = event.target.closest?.("tr.row");
  if (event.key === "/" && find && !/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.nodeName)) {
    event.preventDefault();
    find.focus();
  } else if (row && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
    const links = [...document.querySelectorAll("tr.row a.main")];
    const next = links[links.indexOf(row.querySelector("a.main")) + (event.key === "ArrowDown" ? 1 : -1)];
    if (!next) return;
    event.preventDefault();
    next.focus();
  }
});

hold.addEventListener("click", () => {
  held = !held;
  asked++; // answers on their way are ignored
  asking = again = false;
  hold.setAttribute("aria-pressed", String(held));
  tick();
  listen();
  if (!held) ask();
});

addEventListener("popstate", () => ask(true));
addEventListener("pagehide", () => source?.close());
document.addEventListener("visibilitychange", () => {
  listen();
  if (!document.hidden && !held && main.dataset.live) ask();
});

listen();
tick();
setInterval(tick, 500);
