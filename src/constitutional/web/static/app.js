// What the pages do beyond links and forms. No markup is ever written here, and nothing that a model
// wrote is read as anything but text.
"use strict";

const KEYS = "constitutional-keys";
const help = document.getElementById("help");
const keysOn = document.getElementById("keys-on");
let prefix = "";

for (const element of document.querySelectorAll(".needs-script")) element.hidden = false;

for (const opener of document.querySelectorAll("[data-open]")) {
  opener.addEventListener("click", () => document.getElementById(opener.dataset.open).showModal());
}

// A choice in a filter is applied at once; without a script its button does it.
for (const form of document.querySelectorAll("form[data-now]")) {
  form.addEventListener("change", (event) => {
    if (event.target.tagName === "SELECT") form.requestSubmit();
  });
  // an empty field would only make the address longer
  form.addEventListener("formdata", (event) => {
    for (const [name, value] of [...event.formData]) if (!value) event.formData.delete(name);
  });
}

if (keysOn) {
  keysOn.checked = localStorage.getItem(KEYS) !== "off";
  keysOn.addEventListener("change", () => {
    localStorage.setItem(KEYS, keysOn.checked ? "on" : "off");
  });
}

function inAField(target) {
  return target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName);
}

// The list of records, where there is one: j and k go along it, Enter opens.
function step(by) {
  const rows = [...document.querySelectorAll("[data-row]")];
  if (!rows.length) return false;
  const at = rows.indexOf(document.activeElement);
  const next = rows[Math.min(Math.max(at < 0 ? (by > 0 ? 0 : rows.length - 1) : at + by, 0), rows.length - 1)];
  next.focus();
  next.scrollIntoView({ block: "nearest" });
  return true;
}

function press(key) {
  const element = [...document.querySelectorAll("[data-key]")].find((one) => one.dataset.key === key);
  if (element) element.click();
  return Boolean(element);
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && inAField(event.target)) return event.target.blur();
  if (event.ctrlKey || event.metaKey || event.altKey || inAField(event.target)) return;
  if (document.querySelector("dialog[open]")) return;
  if (keysOn && !keysOn.checked) return;
  const chord = prefix ? `${prefix} ${event.key}` : event.key;
  prefix = "";
  if (chord === "g") {
    prefix = "g";
    setTimeout(() => (prefix = ""), 1500);
    return;
  }
  const done =
    press(chord) ||
    (chord === "?" && (help.showModal(), true)) ||
    (chord === "/" && focusSearch()) ||
    (chord === "j" && step(1)) ||
    (chord === "k" && step(-1));
  if (done) event.preventDefault();
});

function focusSearch() {
  const field = document.querySelector("input[type=search]");
  if (!field) return false;
  const folded = field.closest("details");
  if (folded) folded.open = true;
  field.focus();
  field.select();
  return true;
}

// On a narrow screen the filters begin folded, so that records come first.
const folded = document.querySelector(".fold-small");
if (folded && matchMedia("(max-width: 860px)").matches) folded.open = false;

// A run in progress: the part of the page that is alive is asked for again, as a document whose
// scripts do not run, and put in the place of the old one.
const EVERY = 2000;
const pause = document.getElementById("pause");

if (pause) {
  pause.addEventListener("click", () => {
    const on = pause.toggleAttribute("data-paused");
    pause.textContent = on ? "Go on" : "Pause";
  });
}

function look() {
  const live = document.querySelector("[data-live]");
  if (!live) return;
  const waiting = document.hidden || (pause && pause.hasAttribute("data-paused"));
  if (waiting || live.contains(document.activeElement)) return void setTimeout(look, EVERY);
  const request = new XMLHttpRequest();
  request.open("GET", location.pathname + location.search);
  request.responseType = "document";
  request.onload = () => {
    const fresh = request.status === 200 && request.response && request.response.getElementById("live");
    if (fresh) live.replaceWith(document.adoptNode(fresh));
  };
  request.onloadend = () => setTimeout(look, EVERY);
  request.send();
}
setTimeout(look, EVERY);
