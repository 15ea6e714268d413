// The explorer's pages, each an address behind "#": what the server needs to be asked for it, and the controls around.

import { about, address, all, ask, classNamed, controls, fail, find, keep, know, label, numbers, parsed, parts, problem, quit, route, title, turn, whole } from "./explorer-core.js";

let undo = [], slid = -Infinity, shown = null;

function go(hash) {
  if (location.hash !== hash) history.pushState(null, "", hash);
  arrive();
}

// ---- the photo, or the text

function subject(form, changed) {
  const field = find(".subject", form);
  if (about.reads === "text") {
    const box = document.createElement("label");
    box.append("Text ", Object.assign(document.createElement("textarea"), { name: "text", value: route.query.get("text") ?? "", maxLength: 20000, placeholder: "this is not good" }));
    field.append(box);
    return;
  }
  field.append(find("#chooser-template").content.cloneNode(true));
  const chooser = find(".chooser", field), list = find(".gallery", field), more = find("[data-more]", field), select = find("[name=gallery]", field);
  select.replaceChildren(new Option("all", ""), ...about.classes.map((c) => new Option(`${c.name} (${c.images})`, c.index)));
  if (route.query.get("index") && !route.query.get("photo")) select.value = route.query.get("index");
  find("[data-classes]", field).hidden = !about.classes.length;
  const add = (card) => {
    const item = document.createElement("li"), button = document.createElement("button");
    button.type = "button";
    button.append(Object.assign(new Image(), { src: card.picture, alt: "" }), card.label ? `${card.name} · ${card.label}` : card.name);
    button.addEventListener("click", () => { remembered(card); changed(card.photo); });
    item.append(button);
    list.append(item);
  };
  const load = (start) => {
    if (!start) list.replaceChildren();
    more.hidden = true;
    ask({ kind: "gallery", start, index: whole(select.value) }, {
      photo: add,
      more: (event) => { more.hidden = event.start >= event.of; more.onclick = () => load(event.start); },
    });
  };
  select.addEventListener("change", () => load(0));
  const open = () => { if (chooser.open && !list.children.length) load(0); };
  chooser.addEventListener("toggle", open);
  const photo = route.query.get("photo");
  if (photo) pictured(field, photo);
  else chooser.open = true;
  find("[data-most]", field).textContent = about.most;
  const drop = find(".drop", field), fits = (file) => file.size <= about.bytes || fail(`${file.name} has ${file.size} bytes, and up to ${about.most} are taken: make it smaller.`);
  const send = (file) => file && fits(file) && ask(null, { photo: (card) => { remembered(card); changed(card.photo); } }, file);
  find("input[type=file]", field).addEventListener("change", (event) => send(event.target.files[0]));
  drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => { event.preventDefault(); drop.classList.remove("over"); send(event.dataTransfer.files[0]); });
}

const cards = new Map();
const remembered = (card) => cards.set(card.photo, card);

// What to do with the photo of an answer: show it where it was chosen.
const seen = { subject: (card) => { remembered(card); const field = find(".subject"); if (field) pictured(field, card.photo); } };

function pictured(field, photo) {
  const card = cards.get(photo), box = find(".chosen-photo", field);
  box.replaceChildren();
  if (card) box.append(Object.assign(new Image(), { src: card.picture, alt: "" }));
  box.append(card ? `${card.name}${card.label ? ` · ${card.label}` : ""}` : photo);
  find("summary", field).textContent = "Another photo";
}

// ---- the page of questions

const HINTS = {
  of: {
    said: "The score of the class that the net gives this input.", class: "The score of any class, also of one that the net does not give.",
    unit: "The activation of one unit, summed over its positions: which units before it drive it?",
    like: "The cosine of the vectors that the net makes of the two texts.",
  },
  over: {
    line: "From a baseline to the input, step by step: what each unit contributes to the score on the way; contributions add up to the whole change.",
    point: "The input as it is: what the score depends on right there.", ball: "The input with noise, averaged: what holds in its neighbourhood, too.",
  },
  measure: {
    contribution: "How much of the score's change flows through a unit (conductance).", gradient: "How the score would move if the unit moved.",
    gradient_times_activation: "The same, times how active the unit is.", activation: "How active the unit is, whatever it does to the score.",
  },
};

function filled(select, options) { select.replaceChildren(...options.map(([value, text]) => new Option(text, value))); }

function drawMap(form, at) {
  const map = find(".map", form), drawn = about.places.filter((p) => p.drawn), tallest = Math.max(1, ...drawn.map((p) => p.shape[1] ?? 1));
  for (const p of drawn) {
    const item = document.createElement("label"), block = document.createElement("i"), small = document.createElement("small");
    item.append(Object.assign(document.createElement("input"), { type: "radio", name: "at", value: p.name, className: "hidden", checked: p.name === at }));
    block.style.width = `${0.8 + 0.32 * Math.log2(1 + p.units)}rem`;
    block.style.height = `${0.5 + 4.5 * Math.sqrt((p.shape[1] ?? 1) / tallest)}rem`;
    block.setAttribute("aria-hidden", "true");
    small.textContent = `${p.units} ${p.axis}s${p.shape.length > 2 ? ` of ${p.shape.slice(1).join(" × ")}` : ""}`;
    item.title = p.kind;
    item.append(block, p.name, small);
    map.append(item);
  }
  filled(form.other, [["", drawn.length ? "–" : "all that are known"], ...about.places.map((p) => [p.name, `${p.name} (${p.units})`])]);
  if (at && !drawn.some((p) => p.name === at)) form.other.value = at;
  form.other.addEventListener("change", () => { for (const radio of all("[name=at]", form)) radio.checked = false; });
  map.addEventListener("change", () => { form.other.value = ""; });
}

function askForm() {
  controls.append(find("#ask-template").content.cloneNode(true));
  const form = find("form.ask"), q = route.query;
  drawMap(form, q.get("at") ?? about.layer);
  filled(form.layer, about.places.map((p) => [p.name, `${p.name} (${p.units})`]));
  filled(form.baseline, about.baselines.map((name) => [name, name === about.baseline ? `${name} (this net's own)` : name]));
  if (about.baseline) form.baseline.value = about.baseline;
  for (const name of ["of", "over", "baseline", "spread", "n", "measure", "top", "layer", "like"]) if (q.get(name)) form[name].value = q.get(name);
  if (about.reads === "photo") find("[value=like]", form.of).remove();
  if (q.get("of") === "class") form["target-class"].value = label(Number(q.get("target")));
  if (q.get("of") === "unit") form["target-unit"].value = q.get("target");
  if (q.get("rather")) form.rather.value = label(Number(q.get("rather")));
  const refresh = () => {
    for (const name of ["of", "over", "measure"]) find(`#${name}-hint`, form).textContent = HINTS[name][form[name].value];
    for (const box of all("[data-when]", form)) box.hidden = !box.dataset.when.split(" ").includes(form.of.value);
    for (const box of all("[data-over]", form)) box.hidden = !box.dataset.over.split(" ").includes(form.over.value);
  };
  form.over.addEventListener("change", () => { form.measure.value = form.over.value === "line" ? "contribution" : "gradient"; });
  form.addEventListener("change", refresh);
  refresh();
  const photo = q.get("photo"), asked = photo || q.get("text");
  find("[data-summary]", form).textContent = asked ? "– change it" : "";
  if (asked && matchMedia("(max-width: 60rem)").matches) find(".words", form).open = false;
  const submit = (chosen) => {
    const values = questionOf(form, chosen ?? photo);
    if (values) go(address("why", values));
  };
  form.addEventListener("submit", (event) => { event.preventDefault(); submit(); });
  subject(form, submit);
}

function questionOf(form, photo) {
  problem.hidden = true;
  const at = find("[name=at]:checked", form)?.value ?? form.other.value;
  const values = { photo, at: at === about.layer ? null : at, top: form.top.value === "3" ? null : form.top.value };
  if (about.reads === "text") values.text = form.text.value;
  if (!values.photo && !values.text) return fail(about.reads === "text" ? "Type a text first." : "Choose a photo first.");
  const named = (input, word) => {
    const index = classNamed(input.value);
    if (index < 0) { fail(`There is no class ${input.value ? `"${input.value}"` : "without a name"}: choose one of the list.`); input.focus(); return null; }
    values[word] = index;
    return index;
  };
  if (form.of.value !== "said") values.of = form.of.value;
  if (form.of.value === "class" && named(form["target-class"], "target") === null) return null;
  if (form.of.value === "like") {
    if (!form.like.value.trim()) { fail("Like which text? Type one."); form.like.focus(); return null; }
    values.like = form.like.value;
  } else if (form.of.value === "unit") { values.layer = form.layer.value; values.target = form["target-unit"].value; }
  else if (form.rather.value && named(form.rather, "rather") === null) return null;
  if (form.over.value !== "line") values.over = form.over.value;
  if (form.over.value === "line" && form.baseline.value !== about.baseline) values.baseline = form.baseline.value;
  if (form.over.value === "ball") values.spread = form.spread.value;
  if (form.over.value !== "point" && form.n.value !== "65") values.n = form.n.value;
  if (form.measure.value !== (form.over.value === "line" ? "contribution" : "gradient")) values.measure = form.measure.value;
  return values;
}

function whyPage() {
  const q = route.query, of = q.get("of") ?? "said";
  title.textContent = q.get("photo") || q.get("text") ? "Why did the net say so?" : about.reads === "text" ? "Ask about a text" : "Ask about a photo";
  askForm();
  if (!q.get("photo") && !q.get("text")) return;
  const question = { kind: "why", of, over: q.get("over") ?? "line" };
  for (const word of ["photo", "text", "at", "layer", "like", "baseline", "measure"]) if (q.get(word)) question[word] = q.get(word);
  for (const word of ["target", "rather", "n", "spread", "top"]) if (q.get(word)) question[word] = Number(q.get(word));
  ask(question, seen);
}

// ---- a unit, a class

function unitPage() {
  const unit = route.path.at(-1), at = route.path.slice(1, -1).join("/");
  const axis = about.places.find((p) => p.name === at)?.axis ?? "unit";
  title.textContent = `${at}: ${axis} ${unit}`;
  const question = { kind: "unit", at, unit: Number(unit) };
  for (const word of ["photo", "text"]) if (route.query.get(word)) question[word] = route.query.get(word);
  ask(question);
}

async function classPage() {
  const index = Number(route.path[1]), at = route.query.get("at") ?? about.layer, asked = route;
  title.textContent = label(index);
  const box = document.createElement("label"), select = document.createElement("select");
  filled(select, about.places.map((p) => [p.name, `${p.name} (${p.units})`]));
  select.name = "at";
  select.value = at;
  select.addEventListener("change", () => go(address(`class/${index}`, { ...Object.fromEntries(route.query), at: select.value })));
  box.append("Layer ", select);
  controls.append(box);
  await ask({ kind: "class", index, at });
  if (route === asked && route.query.get("experts")) ask({ kind: "experts", index, at });
}

function classesPage() {
  title.textContent = "Classes of the data";
  const list = Object.assign(document.createElement("ul"), { className: "plain" });
  for (const c of about.classes) {
    const item = document.createElement("li");
    item.append(Object.assign(document.createElement("a"), { href: `#/class/${c.index}`, textContent: c.name }), ` ${c.images} images`);
    list.append(item);
  }
  parts.append(about.classes.length ? list : "There are no data: influent serve --data FOLDER, a folder of images for each class.");
}

// ---- switch it off

function offPage() {
  title.textContent = "Switch it off";
  controls.append(find("#off-template").content.cloneNode(true));
  const form = find("form.off"), q = route.query, expert = q.get("alpha") !== null;
  const at = q.get("at") ?? about.layer ?? about.places[0]?.name;
  filled(form.at, about.places.map((p) => [p.name, `${p.name} (${p.units})`]));
  form.at.value = at;
  form.how.value = expert ? "expert" : q.get("keep") ? "keep" : "off";
  if (!about.classes.length) find("[value=expert]", form).closest("label").remove();
  const size = about.places.find((p) => p.name === at)?.units ?? 100;
  for (const word of ["alpha", "beta"]) {
    form[word].max = size;
    if (expert) form[word].value = q.get(word) ?? 0;
    const told = find(`[data-for=${word}]`, form);
    told.textContent = form[word].value;
    form[word].addEventListener("input", () => { told.textContent = form[word].value; });
    form[word].addEventListener("change", () => submit(null, true));
  }
  let units = numbers(q.get("units"));
  if (q.get("index") !== null) form.index.value = label(Number(q.get("index")));
  const chips = find(".chips", form);
  chips.replaceChildren(...units.map((unit) => {
    const item = document.createElement("li"), button = Object.assign(document.createElement("button"), { type: "button", textContent: "×" });
    item.append(Object.assign(document.createElement("a"), { href: address(`unit/${encodeURIComponent(at)}/${unit}`, { photo: q.get("photo"), text: q.get("text") }), textContent: unit }), button);
    button.setAttribute("aria-label", `take unit ${unit} out`);
    button.addEventListener("click", () => { units = units.filter((other) => other !== unit); submit(); });
    return item;
  }));
  if (!units.length) chips.append(Object.assign(document.createElement("li"), { textContent: "none yet ", className: "soft" }));
  const refresh = () => { for (const box of all("[data-how]", form)) box.hidden = !box.dataset.how.split(" ").includes(form.how.value); };
  refresh();
  for (const radio of all("[name=how]", form)) radio.addEventListener("change", () => { refresh(); if (form.how.value !== "expert" || form.index.value) submit(); });
  const submit = (photo, slides = false) => {
    problem.hidden = true;
    const added = numbers(form.add.value);
    if (form.add.value.trim() && !added.length) { fail(`"${form.add.value}" are no numbers of units: type 52, 76.`); form.add.focus(); return; }
    const index = form.index.value ? classNamed(form.index.value) : null;
    if (index === -1) { fail(`There is no class "${form.index.value}": choose one of the list.`); form.index.focus(); return; }
    if (form.how.value === "expert" && index === null) { fail("An expert is of a class: choose one, in focus."); form.index.focus(); return; }
    const values = { at: form.at.value, photo: photo ?? q.get("photo"), text: about.reads === "text" ? form.text.value : null, index };
    if (form.how.value === "expert") Object.assign(values, { alpha: form.alpha.value, beta: form.beta.value });
    else Object.assign(values, { units: [...new Set([...(form.at.value === at ? units : []), ...added])].join(","), keep: form.how.value === "keep" ? 1 : null });
    const next = address("off", values);
    if (next === location.hash) return show();
    // A slider's way is one step of the history, however many stops it makes.
    if (slides && performance.now() - slid < 1500) history.replaceState(null, "", next);
    else { undo.push(location.hash); history.pushState(null, "", next); }
    if (slides) slid = performance.now();
    show();
  };
  form.addEventListener("submit", (event) => { event.preventDefault(); submit(); });
  form.at.addEventListener("change", () => submit());
  find("[data-add]", form).addEventListener("click", () => submit());
  const back = find("[data-undo]", form);
  back.disabled = !undo.length;
  back.addEventListener("click", () => {
    let before = undo.pop();
    while (before === location.hash) before = undo.pop();
    if (before) go(before);
  });
  subject(form, submit);
  if (q.get("photo")) find(".chooser", form).open = false;
  const question = { at, units, keep: !expert && Boolean(q.get("keep")), index: whole(q.get("index")), alpha: whole(q.get("alpha")), beta: whole(q.get("beta")) ?? 0 };
  for (const word of ["photo", "text"]) if (q.get(word)) question[word] = q.get(word);
  find("[data-export]", form).addEventListener("click", () => {
    if (question.index === null) { fail("An expert is of a class: choose one, in focus, and try."); form.index.focus(); return; }
    ask({ kind: "export", ...question }, { file: saved });
  });
  keep(form);
  if (expert || units.length) ask({ kind: "off", ...question }, seen);
  else parts.append(Object.assign(document.createElement("p"), { className: "soft", textContent: "No units yet: choose some on an answer, or add their numbers." }));
}

function saved(event) {
  const bytes = Uint8Array.from(atob(event.base64), (c) => c.charCodeAt(0)), url = URL.createObjectURL(new Blob([bytes], { type: "application/zip" }));
  Object.assign(document.createElement("a"), { href: url, download: event.name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
  const code = document.createElement("pre");
  code.tabIndex = 0;
  code.textContent = event.python;
  parts.append(Object.assign(document.createElement("p"), { textContent: `${event.name} is saved. Unpack it; then:` }), code);
}

// ---- stored results

function resultsPage() {
  title.textContent = "Stored results";
  const list = Object.assign(document.createElement("ul"), { className: "plain" });
  about.results.forEach((one, k) => {
    const item = document.createElement("li");
    item.append(Object.assign(document.createElement("a"), { href: `#/result/${k}/${one.page}`, textContent: one.title }), ` ${one.kind}, ${one.folder}`);
    list.append(item);
  });
  parts.append(about.results.length ? list : "None: influent serve --results DIR, a folder with what influent debug, essence or experts wrote.");
}

async function resultPage() {
  const [, number, ...rest] = route.path, name = rest.join("/"), asked = location.hash;
  const response = await fetch(`api/results/${encodeURIComponent(number)}/${rest.map(encodeURIComponent).join("/")}`).catch(() => null);
  if (location.hash !== asked) return;
  if (!response?.ok) return fail(`There is no page ${name} among the stored results.`);
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const element of all("script, style, link, meta, base, iframe, object, embed, form, title, area, animate, set, use", page)) element.remove();
  for (const element of all("*", page)) {
    for (const { name: word } of [...element.attributes]) if (/^on|^data-(?!key$)|^name$|:href$|^form|^action$|^target$/i.test(word)) element.removeAttribute(word);
  }
  for (const link of all("svg a", page)) link.removeAttribute("href");
  title.textContent = find("h1", page)?.textContent ?? name;
  document.title = `${title.textContent} · influent`;
  find("h1", page)?.remove();
  for (const element of all("[id]", page)) element.id = `of-${element.id}`;
  for (const link of all("a[href]", page)) {
    const href = link.getAttribute("href");
    if (href.startsWith("#")) { link.dataset.anchor = ""; link.setAttribute("href", `#of-${href.slice(1)}`); }
    else if (/^[\w./-]+\.html$/.test(href)) link.setAttribute("href", `#/result/${number}/${href}`);
    else link.removeAttribute("href");
  }
  const section = document.createElement("section");
  section.dataset.part = "result";
  section.append(...page.body.childNodes);
  parts.append(section);
}

// ---- the whole

const PAGES = { "": whyPage, why: whyPage, unit: unitPage, class: classPage, classes: classesPage, off: offPage, results: resultsPage, result: resultPage };

function show() {
  quit();
  turn(parsed(location.hash));
  if (route.path[0] !== "off") undo = [];
  find("#view").classList.toggle("split", route.path[0] === "why" || route.path[0] === "off");
  const focused = route.path[0] === shown ? spoken(document.activeElement) : null;
  shown = route.path[0];
  controls.replaceChildren();
  parts.replaceChildren();
  const page = PAGES[route.path[0]];
  if (page) page();
  else { title.textContent = "There is no such page"; parts.append(Object.assign(document.createElement("a"), { href: "#/", textContent: "Ask a question" })); }
  document.title = `${title.textContent} · influent`;
  const own = { class: "classes", result: "results", "": "why" }[route.path[0]] ?? route.path[0];
  const same = { photo: route.query.get("photo"), text: route.query.get("text") };
  for (const link of all("#pages a")) {
    if (link.dataset.page === own) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    if (link.dataset.page === "why" || link.dataset.page === "off") link.href = address(link.dataset.page, same);
  }
  if (focused) all("input, select, button, textarea, summary", controls).find((element) => spoken(element) === focused)?.focus();
}

// What tells a control from others, in a page that is drawn anew.
const spoken = (element) => (element && controls.contains(element) ? [element.tagName, element.name, element.type === "radio" ? element.value : "", element.getAttribute("aria-label"), element.textContent].join("|") : null);

document.addEventListener("click", (event) => {
  const anchor = event.target.closest("a[data-anchor]"), copy = event.target.closest("[data-copy]");
  if (anchor) { event.preventDefault(); const place = document.getElementById(anchor.getAttribute("href").slice(1)); place?.scrollIntoView(); if (place?.id === "view") place.focus(); }
  if (copy) navigator.clipboard.writeText(copy.closest("h4").nextElementSibling.textContent).then(() => { copy.textContent = "Copied"; });
});

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.matches("form.chosen")) {
    event.preventDefault();
    const units = all("input:checked", form).map((input) => input.value);
    if (!units.length) { fail("Choose units first, by their boxes."); problem.scrollIntoView({ block: "center" }); return; }
    const index = route.query.get("of") === "class" ? route.query.get("target") : null;
    go(address("off", { at: form.dataset.at, units: units.join(","), photo: route.query.get("photo"), text: route.query.get("text"), index }));
  }
  if (form.matches("form.nickname")) {
    event.preventDefault();
    ask({ kind: "name", at: form.dataset.at, unit: Number(form.dataset.unit), name: form.elements.name.value });
  }
});

function arrive() {
  const before = shown;
  show();
  if (before === shown && shown === "off") return;  // another setting of the same page
  window.scrollTo(0, 0);
  find("#view").focus({ preventScroll: true });
}

window.addEventListener("hashchange", arrive);

try {
  const response = await fetch("api/about");
  know(await response.json());
  if (!response.ok) throw new Error(about.message);
  find("#net").textContent = `${about.net}${about.data ? ` · ${about.data.name}, ${about.data.images} images` : ""}`;
  filled(find("#labels"), about.labels.map((name) => [name, name]));
  const links = [["why", "#/", "Ask"], ["off", "#/off", "Switch it off"], ["classes", "#/classes", "Classes"], ["results", "#/results", "Results"]];
  find("#pages").append(...links.map(([page, href, text]) => { const link = Object.assign(document.createElement("a"), { href, textContent: text }); link.dataset.page = page; return link; }));
  show();
} catch (error) {
  title.textContent = "influent";
  fail(error.message);
}
