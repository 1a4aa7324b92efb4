"use strict";
// Tables are sorted by the clicked column, numbers by the value of data-v; missing values always come last.
function key(row, column) {
  const cell = row.cells[column];
  if (!("v" in cell.dataset)) return cell.textContent.trim();
  return cell.dataset.v === "" ? null : Number(cell.dataset.v);
}

function compare(a, b) {
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
}

function sort(head) {
  const table = head.closest("table");
  const body = table.tBodies[0];
  const ascending = head.getAttribute("aria-sort") === "descending" || (!head.hasAttribute("aria-sort") && !head.classList.contains("n"));
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const keyed = [...body.rows].map((row) => [key(row, head.cellIndex), row]);
  keyed.sort(([a], [b]) => (a === null) - (b === null) || (a === null ? 0 : (ascending ? 1 : -1) * compare(a, b)));
  body.append(...keyed.map(([, row]) => row));
}

for (const head of document.querySelectorAll("table.sortable thead th")) {
  head.tabIndex = 0;
  head.addEventListener("click", () => sort(head));
  head.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      sort(head);
    }
  });
}

// A click replaces the button with its video; no video is loaded before.
document.addEventListener("click", (event) => {
  const button = event.target.closest("button.player");
  if (!button) return;
  const video = document.createElement("video");
  video.src = button.dataset.video;
  video.controls = true;
  button.closest("li").classList.add("playing");
  button.replaceWith(video);
  video.play().catch(() => {}); // the controls show why it does not play
});

// The page contains frames of the most extreme videos; frames of others are read from the video when a list is opened.
const FRAMES = 5;
const FRAME_HEIGHT = 80;

function waitFor(video, event) {
  return new Promise((resolve, reject) => {
    video.addEventListener(event, resolve, { once: true });
    video.addEventListener("error", reject, { once: true });
  });
}

async function drawFrames(element) {
  const video = document.createElement("video");
  video.muted = true;
  video.preload = "auto";
  video.src = element.dataset.frames;
  delete element.dataset.frames;
  try {
    await waitFor(video, "loadeddata");
    const canvas = document.createElement("canvas");
    const width = Math.round((FRAME_HEIGHT * video.videoWidth) / video.videoHeight);
    canvas.height = FRAME_HEIGHT;
    canvas.width = width * FRAMES;
    for (let at = 0; at < FRAMES; at++) {
      video.currentTime = (video.duration * at) / FRAMES;
      await waitFor(video, "seeked");
      canvas.getContext("2d").drawImage(video, at * width, 0, width, FRAME_HEIGHT);
    }
    element.replaceChildren(canvas);
  } catch {
    element.textContent = "the video cannot be shown";
  }
  video.removeAttribute("src"); // releases the decoder
  video.load();
}

let drawing = Promise.resolve(); // one after another
function fill(list) {
  for (const element of list.open ? list.querySelectorAll("[data-frames]") : []) {
    drawing = drawing.then(() => list.open && "frames" in element.dataset && drawFrames(element));
  }
}

for (const list of document.querySelectorAll("details.videos")) {
  fill(list);
  list.addEventListener("toggle", () => fill(list));
}

// Tables that are wider than their frame say so.
function markOverflow() {
  for (const frame of document.querySelectorAll(".scroll")) frame.classList.toggle("wide", frame.scrollWidth > frame.clientWidth + 1);
}
markOverflow();
addEventListener("resize", markOverflow);
document.addEventListener("toggle", markOverflow, true);

// A link to something in a folded part unfolds it.
function unfold() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  for (let part = target; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
  if (target) target.scrollIntoView();
}
addEventListener("hashchange", unfold);
unfold();
