// The gallery, the thresholds and the scatter plot. Their data is a compressed text in the page, see gallery.py.
const PAGE_SIZE = 60;
const MAX_SLIDERS = 12;
const DOT = 3; // radius in the scatter plot, CSS pixels
const MANY = 3000; // rows from which on dots are squares of two pixels

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in made && typeof value !== "string") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function format(value) {
  if (Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size && (size >= 1e6 || size < 1e-3)) return value.toExponential(2);
  return Number(value.toPrecision(3)).toLocaleString("en-US", { maximumFractionDigits: 6 });
}

async function readData() {
  const text = atob(document.querySelector("#rows").textContent);
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < bytes.length; at++) bytes[at] = text.charCodeAt(at);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const content = await new Response(stream).arrayBuffer();
  const headerEnd = 4 + new DataView(content).getUint32(0, true);
  const data = JSON.parse(new TextDecoder().decode(new Uint8Array(content, 4, headerEnd - 4)));
  const rows = (data.n = data.ids.length);
  let at = headerEnd;
  const take = (size) => content.slice(at, (at += size));
  for (const metric of data.metrics) {
    metric.values = data.exact ? new Float64Array(take(8 * rows)) : decodeHalves(new Uint8Array(take(2 * rows)), rows, metric.scale);
  }
  for (const group of data.groups) group.codes = new Uint8Array(take(rows));
  data.byName = new Map(data.metrics.map((metric) => [metric.name, metric]));
  data.status = data.groups.find((group) => group.name === "status");
  return data;
}

function decodeHalves(bytes, rows, scale) {
  const table = new Float32Array(65536);
  for (let code = 0; code < 65536; code++) {
    const exponent = (code >> 10) & 31;
    const fraction = code & 1023;
    let value = exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024);
    if (exponent === 31) value = fraction ? NaN : Infinity;
    table[code] = (code & 0x8000 ? -value : value) * scale;
  }
  const values = new Float32Array(rows);
  for (let row = 0; row < rows; row++) values[row] = table[(bytes[row] << 8) | bytes[rows + row]];
  return values;
}

function link(data, row) {
  if (data.hrefs) return data.hrefs[row];
  if (data.status && data.status.values[data.status.codes[row]] !== "ok") return "";
  let low = 0;
  let high = data.shards.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (data.shards[middle][1] <= row) low = middle;
    else high = middle - 1;
  }
  const shard = String(data.shards[low][0]).padStart(5, "0");
  return `../shards/${shard}/videos/${encodeURIComponent(data.files[row] || data.ids[row])}.mp4`;
}

class Gallery {
  constructor(data) {
    this.data = data;
    this.root = document.querySelector("#gallery");
    this.sheets = new Set(this.root.dataset.sheets.split(",").filter(Boolean).map(Number));
    this.thresholds = [];
    this.page = 0;
    this.only = null; // one record, chosen elsewhere on the page
    this.frames = new Map(); // of the cards shown last, so that their videos are not read again
    this.observer = new IntersectionObserver((entries) => entries.forEach((entry) => this.load(entry)), { rootMargin: "200px" });
    this.build();
    for (const [name, sign, limit] of data.checks) if (data.byName.has(name)) this.addSlider(name, sign, limit);
    this.update();
  }

  find(name) {
    return this.root.querySelector(`[data-part="${name}"]`);
  }

  build() {
    const { data } = this;
    const sort = this.find("sort");
    sort.append(element("option", { value: "" }, "order of the manifest"));
    for (const metric of data.metrics) {
      const [first, second] = metric.better === "lower" ? ["highest", "lowest"] : ["lowest", "highest"];
      const names = metric.better ? ["worst", "best"] : [first, second];
      const up = metric.better === "lower" ? -1 : 1;
      sort.append(element("option", { value: `${up} ${metric.name}` }, `${metric.title}, ${names[0]} first`));
      sort.append(element("option", { value: `${-up} ${metric.name}` }, `${metric.title}, ${names[1]} first`));
    }
    const filters = this.find("filters");
    for (const [index, group] of data.groups.entries()) {
      if (group.values.length < 2) continue;
      const select = element("select", { "data-group": String(index) }, element("option", { value: "" }, "all"));
      group.values.forEach((value, code) => select.append(element("option", { value: String(code) }, value)));
      filters.append(element("label", {}, element("span", {}, group.name), select));
    }
    const add = this.find("add");
    add.append(element("option", { value: "" }, "add a metric …"));
    for (const metric of data.metrics) add.append(element("option", { value: metric.name }, metric.title));
    add.addEventListener("change", () => {
      const metric = data.byName.get(add.value);
      add.value = "";
      if (metric && this.thresholds.length < MAX_SLIDERS) {
        this.addSlider(metric.name, metric.better === "lower" ? "<=" : ">=", null);
        this.update();
      }
    });
    this.root.addEventListener("change", () => this.reset());
    this.find("search").addEventListener("input", () => this.reset());
    this.find("previous").addEventListener("click", () => this.turn(-1));
    this.find("next").addEventListener("click", () => this.turn(1));
    this.find("cards").addEventListener("click", (event) => this.play(event));
    this.find("copy").addEventListener("click", () => this.copy());
  }

  addSlider(name, sign, limit) {
    const metric = this.data.byName.get(name);
    const [low, high, lowest, highest] = range(metric);
    const from = limit === null ? roundOut(low, -1) : Math.min(roundOut(low, -1), limit);
    const to = limit === null ? roundOut(high, 1) : Math.max(roundOut(high, 1), limit);
    const ends = { 0: Math.min(from, roundOut(lowest, -1)), 1000: Math.max(to, roundOut(highest, 1)) };
    const threshold = { metric, sign, limit: limit === null ? ends[sign === ">=" ? 0 : 1000] : limit };
    const position = to > from ? Math.round((1000 * (threshold.limit - from)) / (to - from)) : 500;
    const bar = element("input", { type: "range", min: "0", max: "1000", value: String(position), "aria-label": `threshold of ${metric.title}` });
    const swap = element("button", { type: "button", class: "sign", "aria-label": "other direction" }, sign === ">=" ? "≥" : "≤");
    const number = element("input", { type: "number", step: "any", value: String(threshold.limit), "aria-label": `limit of ${metric.title}` });
    const remove = element("button", { type: "button", class: "remove", "aria-label": `remove ${metric.title}` }, "×");
    const kept = element("small");
    threshold.kept = kept;
    bar.addEventListener("input", () => {
      // Three digits, so that the command is short; the ends keep everything.
      threshold.limit = ends[bar.value] ?? Number((from + ((to - from) * bar.value) / 1000).toPrecision(3));
      number.value = String(threshold.limit);
      this.reset();
    });
    number.addEventListener("input", () => {
      if (number.value === "" || !Number.isFinite(Number(number.value))) return;
      threshold.limit = Number(number.value);
      bar.value = to > from ? (1000 * (threshold.limit - from)) / (to - from) : 500;
      this.reset();
    });
    swap.addEventListener("click", () => {
      threshold.sign = threshold.sign === ">=" ? "<=" : ">=";
      swap.textContent = threshold.sign === ">=" ? "≥" : "≤";
      this.reset();
    });
    const line = element("div", { class: "slider" }, element("span", { title: metric.measures }, metric.title), swap, number, bar, kept, remove);
    remove.addEventListener("click", () => {
      line.remove();
      this.thresholds.splice(this.thresholds.indexOf(threshold), 1);
      this.reset();
    });
    this.thresholds.push(threshold);
    this.find("sliders").append(line);
  }

  // Back to the first page; many changes of a slider are drawn once per frame of the screen.
  reset() {
    this.page = 0;
    this.only = null;
    this.scheduled ??= requestAnimationFrame(() => {
      this.scheduled = null;
      this.update();
    });
  }

  turn(step) {
    this.page += step;
    this.update();
    this.root.scrollIntoView();
  }

  // Rows that joyvasa select keeps: status ok, a number within each threshold, the chosen values of columns.
  compute() {
    const { data } = this;
    const chosen = [...this.root.querySelectorAll("[data-group]")].filter((select) => select.value !== "");
    const groups = chosen.map((select) => [data.groups[select.dataset.group], Number(select.value)]);
    const search = this.find("search").value.trim().toLowerCase();
    const ok = data.status ? data.status.values.indexOf("ok") : -1;
    const passes = this.thresholds.map(({ metric, sign, limit }) => {
      const { values } = metric;
      return sign === ">=" ? (row) => values[row] >= limit : (row) => values[row] <= limit;
    });
    const counts = passes.map(() => 0);
    const kept = new Uint8Array(data.n);
    const inGroups = new Uint8Array(data.n);
    let n = 0;
    for (let row = 0; row < data.n; row++) {
      const isOk = !data.status || data.status.codes[row] === ok;
      let all = isOk;
      for (let at = 0; at < passes.length; at++) {
        if (isOk && passes[at](row)) counts[at]++;
        else all = false;
      }
      inGroups[row] = groups.every(([group, code]) => group.codes[row] === code);
      // A status or an error code is a view on the records, not a part of the selection.
      if (all && groups.every(([group, code]) => !group.conditions[code] || group.codes[row] === code)) {
        kept[row] = 1;
        n++;
      }
    }
    this.thresholds.forEach((threshold, at) => (threshold.kept.textContent = `keeps ${counts[at].toLocaleString("en-US")}`));
    const show = this.find("show").value;
    let rows = [];
    for (let row = 0; row < data.n; row++) {
      const fits = inGroups[row] && (!show || Boolean(kept[row]) === (show === "kept")) && data.ids[row].toLowerCase().includes(search);
      if (this.only === null ? fits : row === this.only) rows.push(row);
    }
    const [direction, name] = this.find("sort").value.split(" ");
    if (name) {
      const { values } = data.byName.get(name);
      const missing = (row) => Number.isNaN(values[row]);
      rows = rows.sort((a, b) => missing(a) - missing(b) || direction * (values[a] - values[b]) || a - b);
    }
    const conditions = groups.map(([group, code]) => group.conditions[code]).filter(Boolean);
    conditions.push(...this.thresholds.map(({ metric, sign, limit }) => `${metric.reference} ${sign} ${limit}`));
    return { rows, kept, n, conditions };
  }

  update() {
    const { data } = this;
    const { rows, kept, n, conditions } = (this.result = this.compute());
    this.root.classList.toggle("judged", this.thresholds.length > 0);
    this.find("kept").textContent = `keeps ${data.exact ? "" : "about "}${n.toLocaleString("en-US")} of ${data.n.toLocaleString("en-US")}`;
    // No line ends within an option: browsers break lines after hyphens.
    const option = (name) => [" ", element("span", {}, name)];
    const quoted = conditions.flatMap((text) => [...option("--where"), ` '${text.replaceAll("'", "'\\''")}'`]);
    this.find("command").replaceChildren(data.command, ...quoted, ...option("-o selection.parquet"));
    const pages = Math.max(1, Math.ceil(rows.length / PAGE_SIZE));
    this.page = Math.min(Math.max(0, this.page), pages - 1);
    const shown = rows.slice(PAGE_SIZE * this.page, PAGE_SIZE * (this.page + 1));
    this.observer.disconnect();
    for (const row of this.frames.keys()) if (!shown.includes(row)) this.frames.delete(row);
    this.find("cards").replaceChildren(...shown.map((row) => this.card(row, kept[row])));
    const first = PAGE_SIZE * this.page;
    this.find("range").textContent = rows.length
      ? `${(first + 1).toLocaleString("en-US")}–${(first + shown.length).toLocaleString("en-US")} of ${rows.length.toLocaleString("en-US")} shown`
      : "no record matches";
    this.find("pages").hidden = pages === 1;
    this.find("previous").disabled = this.page === 0;
    this.find("next").disabled = this.page === pages - 1;
    this.scatter?.invalidate();
  }

  card(row, isKept) {
    const { data } = this;
    if (!this.frames.has(row)) this.frames.set(row, this.frame(row));
    const frame = this.frames.get(row);
    if (frame.dataset.video && !frame.querySelector("video")) this.observer.observe(frame);
    const failed = this.thresholds.filter(({ metric, sign, limit }) => !(sign === ">=" ? metric.values[row] >= limit : metric.values[row] <= limit));
    const name = this.find("sort").value.split(" ")[1];
    const listed = [...new Set([...(name ? [data.byName.get(name)] : []), ...this.thresholds.map(({ metric }) => metric)])];
    const facts = element("p", { class: "numbers" });
    for (const metric of listed.slice(0, 5)) {
      const bad = failed.some((threshold) => threshold.metric === metric);
      facts.append(element("span", { class: bad ? "bad" : "", title: metric.measures }, `${metric.title} `, element("b", {}, format(metric.values[row]))));
    }
    const mark = element("span", { class: isKept ? "mark kept" : "mark", title: isKept ? "kept" : "dropped" }, isKept ? "✓" : "✕");
    const title = element("p", { class: "name", title: data.ids[row] }, mark, element("bdi", {}, data.ids[row]));
    const card = element("figure", { class: "record" }, frame, element("figcaption", {}, title, facts));
    if (this.sheets.has(row)) frame.after(element("div", { class: `strip s${row}`, role: "img", "aria-label": "face in five frames" }));
    return card;
  }

  frame(row) {
    const { data } = this;
    const href = link(data, row);
    if (!href) {
      const status = data.status ? data.status.values[data.status.codes[row]] : "ok";
      return element("div", { class: "frame" }, element("span", {}, status === "ok" ? "the video is not next to the page" : status));
    }
    const button = element("button", { type: "button", class: "play", "aria-label": `play ${data.ids[row]}` }, "▶");
    return element("div", { class: "frame", "data-video": href }, button);
  }

  // A frame of the video is its poster; it is read when the card comes into view.
  load(entry) {
    const frame = entry.target;
    if (!entry.isIntersecting || frame.querySelector("video")) return;
    this.observer.unobserve(frame);
    const video = element("video", { preload: "metadata", playsinline: "", tabindex: "-1" });
    video.muted = true;
    video.src = `${frame.dataset.video}#t=0.2`;
    video.addEventListener("error", () => frame.replaceChildren(element("span", {}, "the video cannot be shown")), { once: true });
    frame.prepend(video);
  }

  play(event) {
    const button = event.target.closest("button.play");
    if (!button) return;
    const frame = button.parentElement;
    for (const other of document.querySelectorAll("video")) other.pause();
    const video = frame.querySelector("video") || element("video");
    if (!video.src) video.src = frame.dataset.video;
    frame.prepend(video);
    button.remove();
    video.muted = false;
    video.controls = true;
    video.tabIndex = 0;
    video.currentTime = 0;
    video.focus();
    video.play().catch(() => {}); // the controls show why it does not play
  }

  async copy() {
    const button = this.find("copy");
    const range = document.createRange();
    range.selectNodeContents(this.find("command"));
    getSelection().removeAllRanges();
    getSelection().addRange(range); // can be copied by hand where the page has no access to the clipboard
    try {
      await navigator.clipboard.writeText(this.find("command").textContent);
      button.textContent = "copied";
    } catch {
      button.textContent = "selected";
    }
    setTimeout(() => (button.textContent = "copy"), 2000);
  }

  showOnly(row) {
    this.only = row;
    this.page = 0;
    this.update();
    this.root.scrollIntoView();
  }
}

function roundOut(value, direction) {
  const rounded = Number(value.toPrecision(3));
  if (direction < 0 ? rounded <= value : rounded >= value) return rounded;
  return Number((value + (direction * Math.abs(value)) / 200).toPrecision(3));
}

class Scatter {
  constructor(gallery) {
    this.gallery = gallery;
    this.canvas = document.querySelector("#scatter canvas");
    this.axes = ["x", "y"].map((name) => document.querySelector(`#scatter [data-axis="${name}"]`));
    const { metrics, checks } = gallery.data;
    const names = metrics.filter((metric) => spread(metric.values)).map((metric) => metric.name);
    const first = [...checks.map(([name]) => name), ...names].filter((name) => names.includes(name));
    this.axes.forEach((select, axis) => {
      for (const name of names) select.append(element("option", { value: name }, gallery.data.byName.get(name).title));
      select.value = [...new Set(first)][axis] || names[0] || "";
      select.addEventListener("change", () => this.draw());
    });
    // Drawn while it is in view only: the cards come first.
    this.observer = new IntersectionObserver((entries) => {
      this.inView = entries.at(-1).isIntersecting;
      if (this.inView && this.stale) this.draw();
    });
    this.observer.observe(this.canvas);
    this.stale = true;
    this.canvas.addEventListener("click", (event) => this.pick(event));
    addEventListener("resize", () => this.invalidate());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.invalidate());
  }

  invalidate() {
    this.stale = true;
    if (this.inView) this.draw();
  }

  draw() {
    const { data, result } = this.gallery;
    const [x, y] = this.axes.map((select) => data.byName.get(select.value));
    if (!x || !y) return;
    this.stale = false;
    const ratio = devicePixelRatio || 1;
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    this.canvas.width = width * ratio;
    this.canvas.height = height * ratio;
    const context = this.canvas.getContext("2d");
    context.scale(ratio, ratio);
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    const box = { left: 58, top: 10, right: width - 12, bottom: height - 40 };
    const [ax, ay] = [axis(x, box.left, box.right, Math.max(3, Math.floor(width / 110))), axis(y, box.bottom, box.top, 5)];
    context.font = "12px system-ui, sans-serif";
    context.fillStyle = color("--faint");
    context.strokeStyle = color("--edge");
    context.textAlign = "center";
    for (const tick of ax.ticks) {
      context.fillText(format(tick), ax.place(tick), box.bottom + 16);
      line(context, ax.place(tick), box.top, ax.place(tick), box.bottom);
    }
    context.fillText(`${x.title} ${x.unit}`, (box.left + box.right) / 2, height - 6);
    context.textAlign = "right";
    for (const tick of ay.ticks) {
      context.fillText(format(tick), box.left - 6, ay.place(tick) + 4);
      line(context, box.left, ay.place(tick), box.right, ay.place(tick));
    }
    this.points = [];
    const many = data.n > MANY;
    const drawn = many && new Uint8Array(width * height); // a dot that hides another one is drawn once
    for (const isKept of [0, 1]) {
      context.fillStyle = color(isKept ? "--run-1" : "--failed");
      context.globalAlpha = many ? 0.5 : 0.85;
      for (let row = 0; row < data.n; row++) {
        if (result.kept[row] !== isKept) continue;
        const [px, py] = [ax.place(x.values[row]), ay.place(y.values[row])];
        if (!(px >= box.left - 1 && px <= box.right + 1 && py >= box.top - 1 && py <= box.bottom + 1)) continue;
        this.points.push(px, py, row);
        if (many) {
          const place = (py >> 1) * width + (px >> 1);
          if (!drawn[place]) context.fillRect(px - 1, py - 1, 2, 2);
          drawn[place] = 1;
          continue;
        }
        context.beginPath();
        context.arc(px, py, DOT, 0, 7);
        context.fill();
      }
    }
    context.globalAlpha = 1;
    context.strokeStyle = color("--mean");
    context.setLineDash([4, 3]);
    for (const { metric, limit } of this.gallery.thresholds) {
      const [px, py] = [ax.place(limit), ay.place(limit)];
      if (metric === x && px > box.left && px < box.right) line(context, px, box.top, px, box.bottom);
      if (metric === y && py > box.top && py < box.bottom) line(context, box.left, py, box.right, py);
    }
    context.setLineDash([]);
    document.querySelector("#scatter [data-part=count]").textContent = `${(this.points.length / 3).toLocaleString("en-US")} videos with both numbers`;
  }

  pick(event) {
    let [best, nearest] = [12 ** 2, null];
    for (let at = 0; at < this.points.length; at += 3) {
      const distance = (this.points[at] - event.offsetX) ** 2 + (this.points[at + 1] - event.offsetY) ** 2;
      if (distance < best) [best, nearest] = [distance, this.points[at + 2]];
    }
    if (nearest !== null) this.gallery.showOnly(nearest);
  }
}

function spread(values) {
  let first = NaN;
  for (const value of values) {
    if (Number.isNaN(value)) continue;
    if (Number.isNaN(first)) first = value;
    else if (value !== first) return true;
  }
  return false;
}

function line(context, x1, y1, x2, y2) {
  context.beginPath();
  context.moveTo(x1, y1);
  context.lineTo(x2, y2);
  context.stroke();
}

// The range of all values of a metric but the most extreme thousandth on either side, then the range of all.
function range(metric) {
  if (!metric.range) {
    const sorted = metric.values.filter((value) => !Number.isNaN(value)).sort();
    const last = sorted.length - 1;
    metric.range = [sorted[Math.floor(0.001 * last)], sorted[Math.ceil(0.999 * last)], sorted[0], sorted[last]];
  }
  return metric.range;
}

function axis(metric, start, end, n) {
  const [low, high] = range(metric);
  const margin = 0.04 * (high - low) || 1;
  const [from, to] = [low - margin, high + margin];
  const raw = (to - from) / n;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= raw);
  const ticks = [];
  for (let tick = Math.ceil(from / step) * step; tick <= to; tick += step) ticks.push(Number(tick.toPrecision(12)));
  return { ticks, place: (value) => start + ((value - from) / (to - from)) * (end - start) };
}

const ready = readData().then((data) => {
  const gallery = new Gallery(data);
  if (document.querySelector("#scatter")) {
    gallery.scatter = new Scatter(gallery);
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-row]");
    if (button) gallery.showOnly(Number(button.dataset.row));
  });
  return gallery;
});
