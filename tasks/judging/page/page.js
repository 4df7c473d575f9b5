"use strict";
// One item at a time. Whatever comes from data becomes text (textContent), never markup. Nothing moves on before the
// server has said that the judgement is on its disk.

const $ = id => document.getElementById(id);
const token = decodeURIComponent(location.hash.slice(1));
const random = () => [...crypto.getRandomValues(new Uint8Array(12))].map(n => n.toString(16).padStart(2, "0")).join("");
const session = `${sessionStorage.window ||= random()}.${random()}`; // of this window, of this page
const state = { name: "", mode: "compare", view: "judge", page: null, note: "", shown: 0, busy: false, retry: null };
const WORDS = { left: "A is better", right: "B is better", tie: "tie", bad: "both bad", skip: "skipped", edit: "edited", fine: "fine as it is" };
const HELP = {
  compare: { "←  1": "A is better", "→  2": "B is better", T: "tie: equally good", X: "both are bad" },
  edit: { "E  ↵": "edit the answer", "Ctrl ↵": "save the edit", Esc: "leave the text", F: "fine as it is" },
  both: { S: "skip: somebody else may judge it", "U": "undo your last judgement, again and again", N: "note", G: "agreement", D: "disagreements to settle", J: "back to judging", "?": "this" },
};

function make(tag, text, name) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (name) node.className = name;
  return node;
}

function show(id) {
  for (const part of ["begin", "item", "done"]) $(part).hidden = part !== id;
  $("keys").hidden = id !== "item";
  $("top").hidden = id === "begin";
}

async function ask(path, more = {}) {
  const body = JSON.stringify({ name: state.name, session, view: state.view, ...more });
  const answer = await fetch(`/api/${path}`, { method: "POST", body, headers: { "X-Token": token, "Content-Type": "application/json" } });
  const told = await answer.json();
  if (answer.ok) return told;
  throw Object.assign(new Error(told.says), told, { status: answer.status });
}

// One request at a time; one that fails is kept, to be tried again as it was.
async function run(work) {
  if (state.busy) return;
  state.busy = true;
  try {
    await work();
    state.retry = null;
    trouble();
  } catch (error) {
    if (error.kind === "session") question({ question: "in_use", says: `${error.says}.` });
    else if (error.status) {
      trouble(error.says, `${error.do}.`, error.status === 507 ? work : null);
      if (error.kind === "settled") await ask("page").then(draw, () => {});
    }
    else trouble("dpo judge does not answer; this is not saved yet.", "Start it again if it has ended: all that was saved is kept.", work);
  } finally {
    state.busy = false;
    for (const side of ["left", "right"]) $(side).classList.remove("picked");
  }
}

function trouble(says = "", what = "", retry = null) {
  const box = $("trouble");
  box.hidden = !says;
  box.querySelector("b").textContent = says;
  box.querySelector("span").textContent = what;
  box.querySelector("button").hidden = !retry;
  state.retry = retry;
}

function begin(sure = false) {
  return run(async () => {
    state.name = $("name").value.trim() || state.name;
    const told = await ask("begin", { sure });
    if (told.question) return question(told);
    state.name = told.name;
    state.mode = told.mode;
    sessionStorage.name = told.name;
    $("source").textContent = told.source.split("/").pop() || told.source;
    $("source").title = told.source;
    $("who").textContent = told.name;
    document.title = `Judge: ${told.source}`;
    for (const kind of ["compare", "edit"]) document.querySelector(`.choices.${kind}`).hidden = kind !== told.mode;
    draw(await ask("page"));
  });
}

function question(told) {
  show("begin");
  trouble();
  $("name").value = state.name;
  $("question").hidden = false;
  $("question").querySelector("p").textContent = told.says;
  $("sure").textContent = told.question === "in_use" ? "That is me: go on here" : "Yes, go on";
  $("sure").focus();
}

function turns(messages, roles) {
  return messages.map(message => {
    const turn = make("div", undefined, `turn ${message.role}`);
    if (roles) turn.append(make("p", message.role, "who"));
    const text = make("div", message.text, "text");
    text.dir = "auto";
    turn.append(text);
    return turn;
  });
}

function draw(page) {
  state.page = page;
  state.view = page.view;
  const { progress } = page;
  $("bar").style.width = `${100 * progress.done / Math.max(1, progress.done + progress.left)}%`;
  $("count").replaceChildren(make("b", progress.done), ` judged, `, make("b", progress.left), ` to go`);
  $("open-settle").hidden = !page.disagreements;
  $("open-settle").querySelector("b").textContent = page.disagreements || "";
  $("notices").replaceChildren(...page.notices.map(text => make("p", text)));
  document.querySelector("[data-do=back]").hidden = page.view === "judge";
  if (!page.item) return finished(page);
  const { item, former } = page;
  $("prompt").replaceChildren(...turns(item.prompt, item.prompt.length > 1));
  fill("left", item.left);
  fill("right", item.right);
  $("tools").hidden = !item.tools;
  $("tools").querySelector("pre").textContent = item.tools;
  const editing = state.mode === "edit";
  $("right").hidden = editing;
  $("edit").hidden = !editing;
  $("left").querySelector(".letter").hidden = editing;
  $("left").querySelector(".title").hidden = !editing;
  if (editing) {
    $("text").value = former?.text || item.left.at(-1).text;
    changed();
  }
  $("said").hidden = !page.said.length;
  $("said").querySelector("ul").replaceChildren(...page.said.map(one => {
    const line = make("li");
    line.append(make("b", `${one.by}: ${WORDS[one.choice]}`), one.note);
    return line;
  }));
  $("former").hidden = !former;
  $("former").textContent = former ? `Taken back: ${WORDS[former.choice]}.` : "";
  keepNote(former?.note || "");
  show("item");
  state.shown = performance.now();
  document.activeElement?.blur();
  scrollTo(0, 0);
}

function fill(side, messages) {
  $(side).querySelector(".text").replaceChildren(...turns(messages, messages.length > 1));
}

function finished(page) {
  const { progress } = page;
  const kinds = { judge: "Done", skipped: "Skipped items", settle: "Disagreements" };
  const says = { judge: "Nothing waits for you", skipped: "No skipped items are left", settle: "Nothing is left to settle" };
  $("done-kind").textContent = kinds[page.view];
  $("done-says").textContent = says[page.view];
  $("done-more").textContent = `You judged ${progress.done} of ${progress.items} items. ${progress.complete} of ${progress.items} are complete. Everything is saved: this window can be closed.`;
  const ways = [];
  if (page.view === "judge" && progress.skipped) ways.push([`Look at the ${progress.skipped} that you skipped`, () => go("skipped")]);
  if (page.view !== "settle" && page.disagreements) ways.push([`Settle ${page.disagreements} disagreement${page.disagreements > 1 ? "s" : ""}`, () => go("settle")]);
  if (page.view !== "judge") ways.push(["Back to judging", () => go("judge")]);
  ways.push(["Agreement", report], ["Undo the last", undo]);
  $("done-ways").replaceChildren(...ways.map(([text, work], number) => {
    const button = make("button", text, number ? "" : "main");
    button.addEventListener("click", work);
    return button;
  }));
  show("done");
}

const go = view => run(async () => draw(await ask("page", { view })));
const undo = () => run(async () => draw(await ask("undo")));

function choose(choice) {
  const item = state.page?.item;
  if (!item || state.busy || $("item").hidden) return;
  if (choice === "left" || choice === "right") $(choice).classList.add("picked");
  const seconds = (performance.now() - state.shown) / 1000;
  const said = { item: item.id, choice, note: noteNow(), seconds, text: choice === "edit" ? $("text").value : "" };
  return run(async () => draw(await ask("judge", said)));
}

function changed() {
  const words = text => text.split(/\s+/).filter(Boolean);
  const [before, now] = [words(state.page.item.left.at(-1).text), words($("text").value)];
  const held = new Map();
  for (const word of before) held.set(word, (held.get(word) || 0) + 1);
  let same = 0;
  for (const word of now) if (held.get(word) > 0) { same++; held.set(word, held.get(word) - 1); }
  const part = 1 - same / Math.max(1, before.length, now.length);
  $("changed").textContent = part ? `${Math.round(100 * part)} % of the words changed` : "";
}

const noteNow = () => $("note").hidden ? state.note : $("note-text").value;

function keepNote(text) {
  state.note = text;
  $("note").hidden = true;
  $("note-kept").hidden = !text;
  $("note-kept").textContent = text ? `Note: ${text}` : "";
}

function writeNote() {
  $("note-text").value = state.note;
  $("note-kept").hidden = true;
  $("note").hidden = false;
  $("note-text").focus();
}

const percent = part => part?.value == null ? "–" : `${Math.round(100 * part.value)} %`;
const range = (part, form) => part.value == null ? "–" : part.low == null ? form(part.value) : `${form(part.value)} (${form(part.low)} to ${form(part.high)})`;

function table(title, heads, rows) {
  const box = make("div", undefined, "scroll"), grid = make("table"), head = make("tr");
  grid.append(make("caption", title));
  heads.forEach((text, place) => head.append(make("th", text, place ? "n" : "")));
  grid.append(head);
  for (const row of rows) {
    const line = make("tr");
    row.forEach((text, place) => line.append(make("td", text, place ? "n" : "")));
    grid.append(line);
  }
  box.append(grid);
  return box;
}

function report() {
  return run(async () => {
    const told = await ask("report"), edit = state.mode === "edit";
    const heads = edit ? ["", "judged", "edited", "skipped"] : ["", "judged", "ties", "both bad", "skipped", "left preferred"];
    const person = one => edit ? [one.name, one.judged, one.edited, one.skipped] : [one.name, one.judged, one.ties, one.bad, one.skipped, percent(one.left)];
    const parts = [table("People", heads, told.people.map(person))];
    const number = value => value.toFixed(2), share = value => `${Math.round(100 * value)} %`;
    const line = one => [one.people.join(" and "), one.items, range(one.agreement, share), range(one.kappa, number)];
    if (told.pairs.length) parts.push(table("Items that two judged", ["", "items", "agreement", "kappa"], [...told.pairs, ...(told.pairs.length > 1 ? [told.together] : [])].map(line)));
    else if (!edit) parts.push(make("p", "No item was judged by two people yet.", "quiet"));
    if (told.pairs.length) parts.push(make("p", "Kappa is agreement beyond chance: 1 is full, 0 is none. In brackets the 95 % interval.", "quiet"));
    if (told.disagreements.length) parts.push(make("p", `${told.disagreements.length} to settle: D.`, "quiet"));
    $("report-body").replaceChildren(...parts);
    $("report").showModal();
  });
}

function help() {
  const lines = Object.entries({ ...HELP[state.mode], ...HELP.both });
  $("help-body").replaceChildren(...lines.flatMap(([keys, what]) => {
    const term = make("dt");
    term.append(...keys.split("  ").flatMap(key => [make("kbd", key), " "]));
    return [term, make("dd", what)];
  }));
  $("help").showModal();
}

const write = () => { $("text").focus(); $("text").setSelectionRange($("text").value.length, $("text").value.length); };
const ACTS = {
  s: () => choose("skip"), u: undo, n: writeNote, g: report, d: () => go("settle"), j: () => go("judge"), "?": help,
};
const CHOICES = {
  compare: { ArrowLeft: "left", 1: "left", ArrowRight: "right", 2: "right", t: "tie", x: "bad" },
  edit: { f: "fine" },
};

document.addEventListener("keydown", event => {
  if (event.repeat || event.isComposing || document.querySelector("dialog[open]") || !$("begin").hidden) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key, field = event.target;
  const act = work => { event.preventDefault(); work(); };
  if (field === $("note-text")) {
    if (key === "Enter" && !event.shiftKey) act(() => { keepNote(field.value); field.blur(); });
    if (key === "Escape") act(() => { keepNote(state.note); field.blur(); });
    return;
  }
  if (key === "Enter" && (event.ctrlKey || event.metaKey) && state.mode === "edit") return act(() => choose("edit"));
  if (field === $("text")) return key === "Escape" ? act(() => field.blur()) : undefined;
  if (key === "z" && (event.ctrlKey || event.metaKey)) return act(undo);
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (state.retry && key === "Enter") return act(() => run(state.retry));
  if (state.mode === "edit" && (key === "e" || key === "Enter") && field.tagName !== "BUTTON" && !$("item").hidden) return act(write);
  const choice = CHOICES[state.mode][key];
  if (choice && !$("item").hidden) return act(() => choose(choice));
  if (ACTS[key] && (key !== "n" || !$("item").hidden)) act(ACTS[key]);
});

document.querySelectorAll("[data-choice]").forEach(button => button.addEventListener("click", () => choose(button.dataset.choice)));
const DO = { undo, note: writeNote, back: () => go("judge"), write };
document.querySelectorAll("[data-do]").forEach(button => button.addEventListener("click", () => DO[button.dataset.do]()));
$("begin").querySelector("form").addEventListener("submit", event => { event.preventDefault(); begin(); });
$("sure").addEventListener("click", () => begin(true));
$("other").addEventListener("click", () => { $("question").hidden = true; state.name = $("name").value = ""; $("name").focus(); });
$("name").addEventListener("input", () => { $("question").hidden = true; });
$("note-kept").addEventListener("click", writeNote);
$("text").addEventListener("input", changed);
$("open-report").addEventListener("click", report);
$("open-keys").addEventListener("click", help);
$("open-settle").addEventListener("click", () => go("settle"));
$("trouble").querySelector("button").addEventListener("click", () => state.retry && run(state.retry));
addEventListener("pagehide", () => {
  if (!state.name) return;
  const body = JSON.stringify({ name: state.name, session });
  fetch("/api/leave", { method: "POST", body, keepalive: true, headers: { "X-Token": token, "Content-Type": "application/json" } });
});

show("begin");
state.name = sessionStorage.name || "";
$("name").value = state.name;
if (state.name) begin();
else $("name").focus();
