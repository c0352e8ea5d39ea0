// Answers appear while they are written. Text of models is only ever set as text.
"use strict";

{
  const form = document.getElementById("chat");
  const exchanges = document.getElementById("exchanges");
  const said = document.getElementById("said");
  const send = document.getElementById("send");
  const stop = document.getElementById("stop");
  const TITLES = { response: "Answer", critique: "Critique", revision: "Revision" };

  function clone(name) {
    return document.getElementById(name).content.firstElementChild.cloneNode(true);
  }

  function say(sentence) {
    said.textContent = sentence;
    said.hidden = !sentence;
  }

  // An exchange with an empty column for each policy that is asked.
  function open(data) {
    const exchange = clone("exchange");
    exchange.querySelector(".asked").textContent = data.get("message").trim();
    const columns = new Map();
    for (const key of data.getAll("policy")) {
      const column = clone("column");
      const name = names.get(key);
      column.setAttribute("aria-label", name);
      column.querySelector("h2").textContent = name;
      exchange.querySelector(".answers").append(column);
      columns.set(key, { element: column, steps: new Map() });
    }
    exchanges.append(exchange);
    exchange.scrollIntoView({ block: "start" });
    return columns;
  }

  function show(columns, step) {
    const column = columns.get(step.policy);
    if (!column.steps.has(step.number)) {
      const element = clone("step");
      element.classList.add(step.role);
      element.querySelector(".who").textContent = TITLES[step.role];
      const principle = element.querySelector(".principle");
      principle.querySelector("strong").textContent = step.principle;
      principle.querySelector("span").textContent = step.principle_text;
      if (!step.principle_text) principle.remove();
      column.element.append(element);
      column.steps.set(step.number, element);
    }
    const element = column.steps.get(step.number);
    element.querySelector(".text").textContent = step.text;
    element.classList.toggle("writing", !step.done);
  }

  function trouble(columns, { policy, sentence }) {
    const element = clone("trouble");
    element.textContent = sentence;
    columns.get(policy).element.append(element);
  }

  // Server-sent events of an answer to a POST, which EventSource cannot ask for.
  async function* events(answer) {
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      text += value;
      const whole = text.split("\n\n");
      text = whole.pop();
      for (const event of whole) {
        const [kind, data] = event.split("\n").map((line) => line.slice(line.indexOf(": ") + 2));
        yield [kind, JSON.parse(data)];
      }
    }
  }

  async function ask(data, signal) {
    const answer = await fetch(form.dataset.stream, { method: "POST", body: new URLSearchParams(data), signal });
    if (!answer.ok || !answer.body) throw new Error(`the server said ${answer.status}`);
    let columns = null;
    for await (const [kind, event] of events(answer)) {
      if (kind === "refused") return say(event.sentence);
      columns ??= open(data);
      if (kind === "step") show(columns, event);
      if (kind === "trouble") trouble(columns, event);
      if (kind === "end") finish(columns, event);
    }
  }

  function finish(columns, event) {
    for (const { element } of columns.values()) element.setAttribute("aria-busy", "false");
    if (!event.answered) return;
    form.elements.before.value = event.before;
    form.elements.message.value = "";
    form.elements.seed.value = String(crypto.getRandomValues(new Uint32Array(1))[0] >>> 1);
    // who answers stays as it is for the rest of the conversation
    const policies = document.getElementById("policies");
    if (policies) policies.hidden = true;
  }

  const names = new Map(
    [...form.querySelectorAll("[name=policy]")].map((one) => [one.value, one.dataset.name])
  );

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const data = new FormData(form), abort = new AbortController();
    say("");
    send.disabled = true;
    stop.hidden = false;
    stop.onclick = () => abort.abort();
    try {
      await ask(data, abort.signal);
    } catch (error) {
      say(abort.signal.aborted ? "Stopped." : `The answer broke off (${error.message}). Send it again.`);
      for (const open of exchanges.querySelectorAll("[aria-busy=true]")) open.setAttribute("aria-busy", "false");
      for (const open of exchanges.querySelectorAll(".writing")) open.classList.remove("writing");
    }
    send.disabled = false;
    stop.hidden = true;
    form.elements.message.focus();
  });

  form.elements.message.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
}
