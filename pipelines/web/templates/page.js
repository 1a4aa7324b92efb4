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
  const sort = event.target.closest("[data-sort]");
  if (sort) trigger("click", {sort: sort.dataset.sort});
});
