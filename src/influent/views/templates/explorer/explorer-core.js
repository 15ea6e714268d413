// Questions and their answers: the server sends parts of a page as HTML, one after another, as they are made.

export const find = (selector, root = document) => root.querySelector(selector);
export const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const visitor = (sessionStorage.visitor ??= [...crypto.getRandomValues(new Uint8Array(8))].map((b) => b.toString(16).padStart(2, "0")).join(""));
export const title = find("#title"), status = find("#status"), problem = find("#problem"), controls = find("#controls"), parts = find("#parts");
const running = new Set();
let said = "";
export let about, route;

export function know(what) { about = what; }

export function turn(to) { route = to; }

// ---- addresses

export function parsed(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  const parts = path.split("/").map((part) => { try { return decodeURIComponent(part); } catch { return "%"; } });
  return { path: parts.includes("%") ? ["%"] : parts, query: new URLSearchParams(query) };
}

export function address(path, values) {
  const query = new URLSearchParams(Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== ""));
  return `#/${path}${[...query].length ? `?${query}` : ""}`;
}

export const numbers = (text) => (text ?? "").split(",").map((part) => part.trim()).filter((part) => /^\d+$/.test(part)).map(Number);
export const whole = (text) => (text === null || text === "" ? null : Number(text));

// The number of a class by its name: as it is written, else whatever the case; -1 for none.
export function classNamed(text) {
  const exact = about.labels.indexOf(text.trim());
  return exact >= 0 ? exact : about.labels.findIndex((name) => name.toLowerCase() === text.trim().toLowerCase());
}

export const label = (index) => about.labels[index] ?? `class ${index}`;

// ---- asking

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) yield JSON.parse(line);
  }
}

export async function ask(question, on = {}, body = null) {
  const stop = new AbortController(), started = performance.now();
  const job = { stop, cancel: () => { stop.abort(); finish("Cancelled."); } };
  const finish = (text = "") => { said = text || said; if (running.delete(job) && !running.size) say(said); };
  running.add(job);
  parts.setAttribute("aria-busy", "true");
  say("At work …", true);
  try {
    const headers = { "x-visitor": visitor, ...(body ? { "x-name": encodeURIComponent(body.name) } : { "content-type": "application/json" }) };
    const response = await fetch(body ? "api/photos" : "api/jobs", { method: "POST", headers, body: body ?? JSON.stringify(question), signal: stop.signal });
    if (!response.ok) throw new Error((await response.json().catch(() => ({}))).message ?? `The server says: ${response.status}.`);
    for await (const event of events(response)) {
      if (event.event === "progress") say(event.of ? `${event.points} of ${event.of} ${event.unit} …` : `${event.points} runs of the net …`, true);
      else if (event.event === "waiting") say(`Waiting: ${event.before} other visitor${event.before > 1 ? "s" : ""} at work …`, true);
      else if (event.event === "error") fail(event.message);
      else if (event.event === "note") note(event.message);
      else if (event.event === "part") place(event.part, event.html);
      else on[event.event]?.(event);
    }
    finish(question?.kind === "gallery" ? "" : `Done in ${((performance.now() - started) / 1000).toFixed(1)} s.`);
  } catch (error) {
    if (stop.signal.aborted) return;
    fail(error instanceof TypeError ? "The server cannot be reached: is it still running?" : error.message);
    finish();
  } finally {
    parts.removeAttribute("aria-busy");
  }
}

export function say(text, cancels = false) {
  if (find("span", status)?.textContent !== text) status.replaceChildren(text ? Object.assign(document.createElement("span"), { textContent: text }) : "");
  if (cancels && !find("button", status)) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: "Cancel" });
    button.addEventListener("click", () => { for (const job of [...running]) job.cancel(); });
    status.append(button);
  }
}

export function fail(message) { problem.hidden = false; problem.textContent = message; }

function note(message) {
  const line = Object.assign(document.createElement("p"), { className: "soft", textContent: message });
  line.setAttribute("role", "status");
  parts.append(line);
}

export function place(name, html) {
  let section = find(`section[data-part="${name}"]`, parts);
  const chosen = section ? all("input:checked", section).map((input) => input.value) : [];
  const focused = section?.contains(document.activeElement) ? document.activeElement.outerHTML : null;
  if (!section) {
    section = document.createElement("section");
    section.dataset.part = name;
    parts.append(section);
  }
  section.innerHTML = html;
  for (const input of all("input[type=checkbox]", section)) input.checked = chosen.includes(input.value);
  if (focused) all("a, button, input, summary", section).find((element) => element.outerHTML === focused)?.focus();
  keep(section);
  if (!navigator.clipboard) for (const button of all("[data-copy]", section)) button.remove();  // only where the address is safe
}

// Links that lead on with the same photo or text.
export function keep(root) {
  for (const link of all("a[data-keeps]", root)) {
    const { path, query } = parsed(link.getAttribute("href"));
    for (const word of link.dataset.keeps.split(" ")) if (route.query.get(word)) query.set(word, route.query.get(word));
    link.setAttribute("href", address(path.map(encodeURIComponent).join("/"), Object.fromEntries(query)));
  }
}

// Leave what is at work: another page is opened.
export function quit() {
  for (const job of [...running]) { job.stop.abort(); running.delete(job); }
  problem.hidden = true;
  say(said = "");
}
