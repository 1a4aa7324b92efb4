element.addEventListener("click", (event) => {
  const copy = event.target.closest("[data-copy]");
  if (copy) {
    const text = copy.parentElement.querySelector("code").innerText;
    const done = () => { copy.innerText = "Copied"; setTimeout(() => { copy.innerText = "Copy"; }, 1500); };
    if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, () => {});
    else getSelection().selectAllChildren(copy.parentElement.querySelector("code"));
  }
  if (event.target.closest("[data-play]")) {
    element.querySelectorAll("video").forEach((video, index) => {  // one of them is heard
      video.currentTime = 0;
      video.muted = index > 0;
      video.play();
    });
  }
  const example = event.target.closest("[data-example]");
  if (example) trigger("click", {example: Number(example.dataset.example)});
  const face = event.target.closest("[data-face]");
  if (face) {
    for (const other of element.querySelectorAll("[data-face]")) other.setAttribute("aria-pressed", other === face);
    trigger("click", {face: Number(face.dataset.face)});
  }
  if (event.target.closest("[data-start-again]")) {
    for (const input of element.querySelectorAll("[data-control]")) input.value = input.dataset.start;
    readControls();
  }
  const sort = event.target.closest("[data-sort]");
  if (sort) trigger("click", {sort: sort.dataset.sort});
  const tick = event.target.closest("[data-tick]");
  if (tick) trigger("click", {tick: tick.dataset.tick, on: tick.checked});
  const use = event.target.closest("[data-use]");
  if (use) trigger("click", {use: use.dataset.use});
  if (event.target.closest("[data-reset]")) trigger("click", {reset: true});
});

// Sliders: the ends of a slider are no bounds; the server gets all bounds when a slider rests.
let rest;
element.addEventListener("input", (event) => {
  if (event.target.matches("[data-control]")) readControls();
  if (!event.target.matches("[data-bound]")) return;
  const bounds = {};
  for (const slider of element.querySelectorAll("[data-column]")) {
    const low = Number(slider.dataset.low), width = Number(slider.dataset.high) - low;
    const pair = [null, null];
    for (const input of slider.querySelectorAll("[data-bound]")) {
      const end = input.dataset.bound === "0" ? input.min : input.max;
      const value = input.value === end ? null : Number((low + width * input.value / 100).toPrecision(4));
      pair[Number(input.dataset.bound)] = value;
      input.parentElement.querySelector("output").value = value === null ? "any" : value;
    }
    if (pair[0] !== null || pair[1] !== null) bounds[slider.dataset.column] = pair;
  }
  clearTimeout(rest);
  rest = setTimeout(() => trigger("click", {bounds}), 150);
});

// Controls: those that are not where they started; the left end of an optional one leaves it to the motion.
function readControls() {
  const controls = {};
  for (const input of element.querySelectorAll("[data-control]")) {
    const unset = "optional" in input.dataset && Number(input.value) <= Number(input.min);
    input.parentElement.querySelector("output").value = unset ? "of the motion" : input.value;
    if (!unset && Number(input.value) !== Number(input.dataset.start)) controls[input.dataset.control] = Number(input.value);
  }
  clearTimeout(rest);
  rest = setTimeout(() => trigger("click", {controls}), 150);
}
