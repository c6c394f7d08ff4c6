// Copyright 2026 The sarnn_ros authors
// SPDX-License-Identifier: Apache-2.0
// The page asks for the state five times a second and for each picture one by one, and only while it
// is visible. No request waits on the server, so that a stop never waits in the browser.
"use strict";

const STATE_MS = 200, PICTURE_MS = 100, ANSWER_MS = 2000, LOST_MS = 1500, WINDOW_S = 120, CALLS = 6;
// The node says what it does once a second; after so long its last word is not current, s.
const SILENT_S = 3;
// Of a status: what is none of the first two is a fault.
const levelOf = ({ level }) => ["fine", "waiting"][level] ?? "faulted";
const $ = (id) => document.getElementById(id);
const rows = { scores: [], latencies: [] };
let now = 0, last = 0, cameras = [], dryRun = false;
// When the state that is shown was asked for, on this machine's clock, ms.
let answered = performance.now();

const get = (path) => fetch(path, { signal: AbortSignal.timeout(ANSWER_MS) });
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// -- what the user does ----------------------------------------------------------------------------

// A stop that did not come through is sent again: in a flood a connection may be reset. All else
// says when it was asked for, on the server's clock: what comes late is not done.
async function run(action, attempts = action === "stop" ? 3 : 1) {
  if (action === "stop") $("ask").close();
  const at = action === "stop" ? "" : `?at=${now + (performance.now() - answered) / 1000}`;
  try {
    const answer = await fetch(`do/${action}${at}`, { method: "POST", signal: AbortSignal.timeout(ANSWER_MS) });
    if (!answer.ok) note(action, await answer.text());
  } catch (error) {
    if (attempts > 1) return run(action, attempts - 1);
    note(action, `no answer of the web server, and it may have been done: ${error.message}`);
  }
}

function note(action, text) {
  $("calls").prepend(line({ action, text, ok: false }));
  while ($("calls").children.length > CALLS) $("calls").lastChild.remove();
}

function ask(text, yes) {
  const dialog = $("ask");
  if (dialog.open) dialog.close(); // the newest question counts
  dialog.querySelector("p").textContent = text;
  $("yes").onclick = () => { dialog.close(); yes(); };
  $("no").onclick = () => dialog.close();
  dialog.show(); // not modal: stop must work meanwhile
}

for (const button of document.querySelectorAll("[data-do]")) {
  const { do: action, ask: question } = button.dataset;
  button.onclick = (event) => {
    if (event.detail) button.blur(); // or the space bar, which ends a run at the terminal, clicks it once more
    return question ? ask(question, () => run(action)) : run(action);
  };
}
addEventListener("keydown", (event) => { if (event.key === "Escape" && !event.repeat) run("stop"); }, true);
$("dry").onclick = (event) => {
  event.preventDefault(); // it shows what the node says, not what was clicked
  if (dryRun) ask("End the dry run? The robot stops; the next start moves it.", () => run("dry_run_off"));
  else run("dry_run_on");
};

// -- what there is to see ---------------------------------------------------------------------------

function line({ action, text, ok }) {
  const item = document.createElement("li");
  item.className = ok === false ? "no" : ok ? "" : "unknown";
  item.textContent = `${action.replaceAll("_", " ")}: ${text}`;
  return item;
}

function set(id, text, level) {
  if ($(id).textContent !== text) $(id).textContent = text;
  if (level !== undefined) $(id).className = level;
}

function facts(values) {
  const shown = Object.entries(values).filter(([key, value]) =>
    value && (["policy", "loading", "running for (s)", "commands"].includes(key) || key.startsWith("fault ")));
  $("facts").replaceChildren(...shown.flatMap(([key, value]) => [["dt", key], ["dd", key.endsWith("(s)") ? Number(value).toFixed(1) : value]]).map(([tag, text]) => {
    const element = document.createElement(tag);
    element.textContent = text;
    return element;
  }));
}

// While a lesson is led, its buttons start the robot, and those that it would refuse are off. Stop
// is in the header.
function teach(lesson, possible) {
  const led = Boolean(lesson);
  document.body.classList.toggle("lesson", led);
  for (const button of document.querySelectorAll("main [data-do]")) {
    button.disabled = led && !possible.includes(button.dataset.do);
  }
  if (!led) return;
  set("lesson", lesson.text);
  const lines = Object.entries(lesson.values).filter(([key]) => key.startsWith("line ")).map(([, text]) => text);
  if ($("lines").dataset.shown === JSON.stringify(lines)) return;
  $("lines").dataset.shown = JSON.stringify(lines);
  $("lines").replaceChildren(...lines.map((text) => {
    const item = document.createElement("li");
    item.className = text.startsWith("error: ") ? "no" : "";
    item.textContent = text;
    return item;
  }));
}

function show(state) {
  if (state.now < now) last = rows.scores.length = rows.latencies.length = 0; // another machine time
  now = state.now;
  for (const name of ["scores", "latencies"]) {
    rows[name].push(...state[name]);
    rows[name] = rows[name].filter(([at]) => at > now - WINDOW_S);
    last = Math.max(last, ...state[name].map(([at]) => at));
  }
  const { control } = state.parts;
  const [timing, health, drift, recorder, lesson] = ["timing", "health", "cameras", "recorder", "lesson"].map(
    (name) => (state.parts[name]?.age < SILENT_S ? state.parts[name] : undefined));
  if (!control || control.age > SILENT_S) {
    facts({});
    const since = control ? `for ${control.age.toFixed(0)} s` : "yet";
    set("doing", `nothing heard from ${state.node} ${since}`, "unknown");
    set("why", control ? `before: ${control.text}` : "does it run, in this ROS domain?");
  } else {
    dryRun = $("dry").checked = control.values.dry_run === "True";
    const doing = (control.values.doing || "") + (dryRun ? " (dry run)" : "");
    set("doing", doing, levelOf(control));
    set("why", control.text.startsWith(`${doing}: `) ? control.text.slice(doing.length + 2) : control.text === doing ? "" : control.text);
    facts(control.values);
  }
  set("health", health ? health.text : "", health ? levelOf(health) : "");
  set("timing", timing ? timing.text : "", timing ? levelOf(timing) : "");
  set("cameras", drift ? `Light and colours: ${drift.text}` : "", drift ? levelOf(drift) : "");
  set("recorder", recorder ? recorder.text : `${state.recorder} is not heard.`, recorder ? levelOf(recorder) : "unknown");
  teach(lesson, state.possible);
  const calls = JSON.stringify(state.calls);
  if ($("calls").dataset.shown !== calls) {
    $("calls").dataset.shown = calls;
    $("calls").replaceChildren(...state.calls.reverse().slice(0, CALLS).map(line));
  }
  if (JSON.stringify(cameras) !== JSON.stringify(state.cameras)) {
    cameras = state.cameras;
    const pictures = cameras.map(pictureOf);
    $("pictures").replaceChildren(...pictures.map((picture, row) => captioned(picture, cameras[row])));
    pictures.forEach((picture, row) => watch(cameras[row], picture));
  }
  // 1: as large as the 99th percentile of validation.
  plot("scores", rows.scores, ["#3b6ea5"], ["score"], 1);
  plot("latencies", rows.latencies, ["#3b6ea5", "#c2651a"], ["p50, ms", "p99, ms"]);
}

function plot(id, data, colors, names, mark = 0) {
  const canvas = $(id), draw = canvas.getContext("2d"), { clientWidth: width, clientHeight: height } = canvas;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const top = 1.15 * Math.max(mark, 1e-6, ...data.flatMap((row) => row.slice(1)).filter((value) => value !== null));
  const x = (at) => width * (1 - (now - at) / WINDOW_S), y = (value) => height * (1 - value / top);
  const ink = getComputedStyle(canvas).color;
  draw.clearRect(0, 0, width, height);
  draw.font = "12px sans-serif";
  draw.setLineDash([4, 4]);
  draw.strokeStyle = "#888";
  if (mark) { draw.beginPath(); draw.moveTo(0, y(mark)); draw.lineTo(width, y(mark)); draw.stroke(); }
  draw.setLineDash([]);
  names.forEach((name, column) => {
    draw.strokeStyle = draw.fillStyle = colors[column];
    draw.fillText(name, 60 + 80 * column, 13);
    draw.beginPath();
    let down = false;
    for (const row of data) {
      const value = row[column + 1];
      if (value === null) { down = false; continue; }
      draw[down ? "lineTo" : "moveTo"](x(row[0]), y(value));
      down = true;
    }
    draw.stroke();
  });
  draw.fillStyle = ink;
  if (mark || data.length) draw.fillText(top < 10 ? top.toPrecision(2) : top.toFixed(0), 3, 13);
  draw.fillText(`${WINDOW_S} s ago`, 3, height - 4);
  draw.fillText("now", width - 26, height - 4);
}

function pictureOf(camera) {
  const picture = document.createElement("canvas"); // an <img> is blank while it loads the next
  picture.role = "img";
  picture.ariaLabel = camera.includes(" ") ? camera : `What the policy looks at${camera && `, camera ${camera}`}`;
  picture.className = "old";
  picture.hidden = true; // until there is one
  return picture;
}

// Of several cameras each picture has its name.
function captioned(picture, camera) {
  if (cameras.length < 2) return picture;
  const figure = document.createElement("figure"), caption = document.createElement("figcaption");
  caption.textContent = camera;
  figure.append(caption, picture);
  return figure;
}

async function watch(camera, picture) {
  let number = "", shownAt = -Infinity;
  while (picture.isConnected) {
    if (!document.hidden) {
      try {
        const answer = await get(`overlay?camera=${encodeURIComponent(camera)}&after=${number}`);
        if (answer.status === 200) {
          number = answer.headers.get("X-Number");
          const bitmap = await createImageBitmap(await answer.blob());
          picture.width = bitmap.width;
          picture.height = bitmap.height;
          picture.getContext("2d").drawImage(bitmap, 0, 0);
          bitmap.close();
          picture.hidden = false;
          picture.dataset.number = number;
          shownAt = performance.now();
        }
      } catch { /* the state's loop says so */ }
    }
    picture.className = performance.now() - shownAt > 1000 * SILENT_S ? "old" : "";
    await pause(PICTURE_MS);
  }
}

async function main() {
  history.replaceState(null, "", location.pathname); // the token is in a cookie now
  const lost = $("lost").textContent;
  let shown = performance.now(); // since when the page is visible, if nothing is newer
  setInterval(() => {
    $("lost").hidden = document.hidden || performance.now() - Math.max(answered, shown) < LOST_MS;
  }, 100);
  for (;;) {
    if (!document.hidden) {
      const asked = performance.now();
      try {
        const answer = await get(`state?since=${last}`);
        if (!answer.ok) throw new Error(await answer.text());
        show(await answer.json());
        answered = asked; // the state is at most so old
        set("lost", lost);
      } catch (error) {
        console.warn("no state:", error);
        set("lost", error.name === "Error" ? `${lost} (${error.message})` : lost);
      }
    } else shown = performance.now();
    await pause(STATE_MS);
  }
}
main();
