element.addEventListener("click", (event) => {
  const copy = event.target.closest("[data-copy]");
  if (copy) {
    const text = copy.parentElement.querySelector("code").innerText;
    const done = () => { copy.innerText = "Copied"; setTimeout(() => { copy.innerText = "Copy"; }, 1500); };
    if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, () => {});
    else getSelection().selectAllChildren(copy.parentElement.querySelector("code"));
  }
  const sort = event.target.closest("[data-sort]");
  if (sort) trigger("click", {sort: sort.dataset.sort});
});
