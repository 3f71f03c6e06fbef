// Show the data of the page. Text from records is always set as text, never as markup.
const data = JSON.parse(document.getElementById("data").textContent);
const bundle = atob(document.getElementById("datatables").textContent);
const bytes = Uint8Array.from(bundle, (character) => character.charCodeAt(0));
const address = URL.createObjectURL(new Blob([bytes], { type: "application/javascript" }));
const { default: DataTable } = await import(address);
URL.revokeObjectURL(address);

const main = document.getElementById("main");
const dark = matchMedia("(prefers-color-scheme: dark)");
const followScheme = () => document.documentElement.classList.toggle("dark", dark.matches);
dark.addEventListener("change", followScheme);
followScheme();

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null));
  return made;
}

function shape(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function plain(value, digits = 4) {
  if (value === null || value === undefined) return "";
  const size = Math.abs(value);
  if (size && (size >= 1e9 || size < 1e-4)) return value.toExponential(1).replace(".0e", "e").replace("e+", "e");
  return Number(value.toPrecision(digits)).toLocaleString("en", { maximumSignificantDigits: digits });
}
const unique = (values) => [...new Set(values)].sort((a, b) => String(a).localeCompare(String(b), "en", { numeric: true }));

// ---- tables

const scaled = (key) => (row) => (row[key] === null ? null : row[key] * data.records[row.record].scale);
const score = scaled("mean");
const half = scaled("ci95");
const test = (row) => {
  if (row.way === null) return "not tested";
  const shape = row.way > 1 ? `${row.way}-way ${row.shot}-shot` : `${row.shot}-shot`;
  return `${shape}, query ${row.query}, ${row.protocol}${row.checkpoint === "last" ? "" : `, ${row.checkpoint} checkpoint`}`;
};
const RECIPE = { title: "recipe", value: (row) => row.recipe, link: (row) => `#/recipe/${encodeURIComponent(row.recipe)}` };
const SCORE = {
  title: "score ± 95 %", value: score, number: true, link: (row) => `#/record/${row.record}`,
  show: (row) => (row.mean === null ? "no score" : plain(score(row)) + (row.ci95 === null ? "" : ` ± ${plain(half(row), 2)}`)),
};
// Seconds of training: "≈" marks the time of undisturbed steps, "≤" an upper bound.
function trainingTime(row) {
  const mark = { "undisturbed steps": "≈ ", "upper bound": "≤ " }[row.train_s_is] ?? "";
  return mark + plain(row.train_s, 3);
}
const COLUMNS = [
  RECIPE,
  { title: "setup", value: (row) => row.setup },
  { title: "inner steps", value: (row) => row.inner_steps, number: true },
  SCORE,
  { title: "published", value: scaled("published"), number: true },
  { title: "metric", value: (row) => data.records[row.record].unit },
  { title: "test", value: test },
  { title: "seed", value: (row) => row.seed, number: true },
  { title: "preset", value: (row) => row.preset },
  { title: "status", value: (row) => (row.superseded ? "superseded" : row.status) },
  { title: "outer steps", value: (row) => row.outer_steps, number: true, digits: 9 },
  { title: "training, s", value: (row) => row.train_s, number: true, show: trainingTime },
  { title: "device", value: (row) => row.device },
  { title: "changed keys", value: (row) => data.records[row.record].origin["changed keys"], long: true },
];
const FILTERS = ["setup", "test", "preset", "device", "status"];

// A table that can be sorted by each column, searched, and filtered. A score links to the record that it comes from.
// A reader who comes back to a table finds it as it was left.
const left = new Map();
function resultsTable(rows, caption, hidden = []) {
  const table = element("table", { class: "display compact" }, element("caption", {}, caption));
  const filters = element("div", { class: "filters" });
  const section = element("div", {}, filters, scroller(caption, table));
  const kept = COLUMNS.filter((column) => !hidden.includes(column));
  const text = (column, row) => column.show?.(row) ?? (column.number ? plain(column.value(row), column.digits) : String(column.value(row)));
  const columns = kept.map((column) => ({
    title: column.title,
    data: (row) => column.value(row) ?? (column.number ? null : ""),
    type: column.number ? "num" : "string",
    className: column.number ? "number" : column.long ? "long" : "",
    render: (value, kind, row) => (kind === "display" ? escape(text(column, row)) : value),
    createdCell: (made, _value, row) => {
      if (!column.link) return;
      const anchor = element("a", { href: column.link(row) }, text(column, row));
      if (column === SCORE) anchor.setAttribute("aria-label", `${text(column, row)}: the record of ${row.recipe}, ${row.setup}, seed ${row.seed}`);
      made.replaceChildren(anchor);
    },
  }));
  // A table must be in the document before it is measured.
  queueMicrotask(() => {
    const shown = new DataTable(table, {
      data: rows, columns, pageLength: 25, order: [], autoWidth: false, deferRender: true,
      stateSave: true, stateSaveCallback: (_settings, state) => left.set(caption, state), stateLoadCallback: () => left.get(caption) ?? null,
      language: { search: "Search in all columns:", lengthMenu: "_MENU_ rows a page", info: "_START_ to _END_ of _TOTAL_ rows", infoFiltered: "(of _MAX_)" },
    });
    for (const name of FILTERS) {
      const index = kept.findIndex((column) => column.title === name);
      const values = unique(rows.map(kept[index].value));
      if (values.length < 2) continue;
      const choice = element("select", { "data-filter": name }, element("option", { value: "" }, "all"));
      choice.append(...values.map((value) => element("option", { value }, value)));
      choice.value = shown.column(index).search();
      choice.addEventListener("change", () => shown.column(index).search(choice.value, { exact: choice.value !== "" }).draw());
      filters.append(element("label", {}, name, choice));
    }
  });
  return section;
}

function escape(text) {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

// ---- charts

function ticks(low, high, count) {
  const raw = (high - low || 1) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= raw);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(i * step);
  return found;
}

function logTicks(low, high) {
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const stride = Math.ceil((last - first) / 7);
  const found = [];
  for (let power = Math.ceil(first / stride) * stride; power <= last; power += stride)
    for (const factor of last - first <= 2 ? [1, 2, 5] : [1]) found.push(factor * 10 ** power);
  return found.filter((value) => value >= low && value <= high);
}

function marker(kind, x, y, size = 3.5) {
  const path = {
    s: `M${x - size},${y - size}h${2 * size}v${2 * size}h${-2 * size}z`,
    "^": `M${x},${y - size}l${size},${2 * size}h${-2 * size}z`,
    v: `M${x},${y + size}l${size},${-2 * size}h${-2 * size}z`,
    D: `M${x},${y - size}l${size},${size}l${-size},${size}l${-size},${-size}z`,
    P: `M${x - size},${y}h${2 * size}M${x},${y - size}v${2 * size}`,
    X: `M${x - size},${y - size}l${2 * size},${2 * size}M${x - size},${y + size}l${2 * size},${-2 * size}`,
  }[kind];
  return path ? shape("path", { d: path, stroke: "currentColor", "stroke-width": 1.5, fill: "currentColor" }) : shape("circle", { cx: x, cy: y, r: size, fill: "currentColor" });
}

// Black cannot be seen on a dark page, so it is drawn in the colour of the text.
const inColour = (made, look) => {
  made.classList.add("series");
  if (look.color === "#000000") made.classList.add("ink");
  else made.style.color = look.color;
  return made;
};

// The text of a chart keeps its size on a narrow screen, so the chart is drawn as wide as it is shown.
const chartWidth = () => Math.min(560, Math.max(300, innerWidth - 56));

// series: {name, look, points: [[x, y, half-width or null], ...]}. The only point of a series that is ``level`` (a
// setup without training) is drawn as a horizontal line, that of another one as a mark. A ``faint`` series is paler.
function lineChart(title, xLabel, yLabel, series, { logarithmic = false, marks = true } = {}) {
  const kept = series
    .map((line) => ({ ...line, points: line.points.filter(([x, y]) => x !== null && y !== null) }))
    .filter((line) => line.points.length > 0);
  if (!kept.some((line) => line.points.length > 1)) return null;
  const [width, height, left, right, top, bottom] = [chartWidth(), 320, 64, 16, 12, 44];
  const xs = kept.flatMap((line) => line.points.map(([x]) => x));
  const ys = kept.flatMap((line) => line.points.flatMap(([, y, half]) => (half === null || logarithmic ? [y] : [y - half, y + half])));
  let [low, high] = [Math.min(...ys), Math.max(...ys)];
  const log = logarithmic && low > 0 && high > 10 * low;
  if (log) [low, high] = [low * 0.9, high * 1.1];
  else { const margin = (high - low || Math.abs(high) || 1) * 0.05; [low, high] = [low - margin, high + margin]; }
  const [first, last] = [Math.min(0, ...xs), Math.max(...xs) || 1];
  const x = (value) => left + ((value - first) / (last - first)) * (width - left - right);
  const place = (value) => (log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low));
  const y = (value) => height - bottom - place(Math.min(high, Math.max(low, value))) * (height - top - bottom);
  const picture = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title}: ${yLabel} against ${xLabel} for ${kept.map((line) => line.name).join(", ")}` });
  for (const value of log ? logTicks(low, high) : ticks(low, high, 5)) {
    picture.append(shape("line", { class: "grid", x1: left, x2: width - right, y1: y(value), y2: y(value) }));
    picture.append(shape("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, plain(value)));
  }
  for (const value of ticks(first, last, width < 450 ? 3 : 5))
    picture.append(shape("text", { x: x(value), y: height - bottom + 16, "text-anchor": "middle" }, plain(value, 6)));
  picture.append(shape("path", { class: "frame", d: `M${left},${top}V${height - bottom}H${width - right}` }));
  picture.append(shape("text", { x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle" }, xLabel));
  picture.append(shape("text", { transform: `translate(14 ${(top + height - bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, yLabel));
  for (const line of kept) {
    const group = inColour(shape("g", line.faint ? { opacity: FAINT } : {}), line.look);
    const ends = line.level && line.points.length === 1 ? [[first, line.points[0][1]], [last, line.points[0][1]]] : line.points;
    const path = ends.map(([px, py], i) => `${i ? "L" : "M"}${x(px).toFixed(1)},${y(py).toFixed(1)}`).join("");
    group.append(shape("path", { d: path, fill: "none", stroke: "currentColor", "stroke-width": 1.6, "stroke-dasharray": line.look.dashes.map((dash) => 2 * dash).join(" ") }));
    for (const [px, py, half] of marks || (line.points.length === 1 && !line.level) ? line.points : []) {
      if (half !== null && !log) group.append(shape("path", { d: `M${x(px)},${y(py - half)}V${y(py + half)}`, stroke: "currentColor", "stroke-width": 1 }));
      const dot = marker(line.look.marker, x(px), y(py));
      dot.append(shape("title", {}, `${line.name}: ${plain(py)}${half === null ? "" : ` ± ${plain(half, 2)}`} at ${plain(px, 6)}`));
      group.append(dot);
    }
    picture.append(group);
  }
  const entries = new Map(kept.map((line) => [line.name, line]));
  const legend = element("ul", { class: "legend" });
  for (const name of unique(entries.keys())) {
    const { look, faint } = entries.get(name);
    const sample = inColour(shape("svg", { viewBox: "0 0 34 12", "aria-hidden": "true", ...(faint ? { opacity: FAINT } : {}) }), look);
    sample.append(shape("path", { d: "M0,6H34", stroke: "currentColor", "stroke-width": 1.6, "stroke-dasharray": look.dashes.map((dash) => 2 * dash).join(" ") }));
    if (marks) sample.append(marker(look.marker, 17, 6));
    legend.append(element("li", {}, sample, name));
  }
  const values = simpleTable(["series", xLabel, yLabel, "±"], kept.flatMap((line) => line.points.map(([px, py, half]) => [line.name, plain(px, 6), plain(py), half === null ? "" : plain(half, 2)])));
  return element("figure", {}, element("figcaption", {}, title), picture, legend, element("details", {}, element("summary", {}, "The values as a table"), values));
}

// The interquartile mean of each setup with its interval, a tick for each seed, and an open mark for the published value.
function intervalChart({ title, unit, logarithmic, caption, rows }) {
  const [width, left, right, top, bottom, step] = [chartWidth(), 150, 16, 8, 44, 28];
  const height = top + bottom + step * rows.length;
  const all = rows.flatMap((row) => [...row.seeds, ...row.interval, row.published]).filter((value) => value !== null);
  let [low, high] = [Math.min(...all), Math.max(...all)];
  const log = logarithmic && low > 0 && high > 10 * low;
  if (log) [low, high] = [low * 0.8, high * 1.25];
  else { const margin = (high - low || Math.abs(high) || 1) * 0.08; [low, high] = [low - margin, high + margin]; }
  const x = (value) => left + (log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low)) * (width - left - right);
  const picture = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Interquartile mean over seeds: test ${unit} of ${rows.map((row) => row.setup).join(", ")}` });
  for (const value of log ? logTicks(low, high) : ticks(low, high, width < 450 ? 3 : 5).filter((tick) => tick >= low && tick <= high)) {
    picture.append(shape("line", { class: "grid", x1: x(value), x2: x(value), y1: top, y2: height - bottom }));
    picture.append(shape("text", { x: x(value), y: height - bottom + 16, "text-anchor": "middle" }, plain(value)));
  }
  picture.append(shape("path", { class: "frame", d: `M${left},${top}V${height - bottom}H${width - right}` }));
  picture.append(shape("text", { x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle" }, `test ${unit}`));
  rows.forEach((row, i) => {
    const y = top + step * (i + 0.5);
    const [value, first, last] = row.interval;
    const group = inColour(shape("g"), lookOf(row.setup));
    for (const seed of row.seeds) group.append(shape("path", { d: `M${x(seed)},${y - 6}V${y + 6}`, stroke: "currentColor", "stroke-width": 1, opacity: 0.6 }));
    group.append(shape("path", { d: `M${x(first)},${y}H${x(last)}`, stroke: "currentColor", "stroke-width": 1.8 }));
    const dot = marker(lookOf(row.setup).marker, x(value), y);
    dot.append(shape("title", {}, `${row.setup}: ${plain(value)}, from ${plain(first)} to ${plain(last)}`));
    group.append(dot);
    if (row.published !== null) group.append(shape("circle", { cx: x(row.published), cy: y, r: 6, fill: "none", stroke: "currentColor", "stroke-width": 1.5 }));
    picture.append(shape("text", { x: left - 8, y: y + 4, "text-anchor": "end" }, `${row.setup}, ${row.seeds.length} seeds`), group);
  });
  const values = simpleTable(["setup", "seeds", `IQM, ${unit}`, "from", "to", "published"], rows.map((row) => [row.setup, row.seeds.length, ...row.interval.map((value) => plain(value)), plain(row.published)]));
  return element("figure", {}, element("figcaption", {}, `Interquartile mean over seeds (${title})`), picture,
    element("details", {}, element("summary", {}, "What it shows"), element("p", {}, `${caption} An open circle is the published value.`)),
    element("details", {}, element("summary", {}, "The values as a table"), values));
}

function histogram(title, unit, entry) {
  const [width, height, left, bottom] = [chartWidth(), 170, 12, 40];
  const most = Math.max(...entry.counts);
  const bar = (width - 2 * left) / entry.counts.length;
  const picture = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title}: numbers of test tasks from ${plain(entry.low)} to ${plain(entry.high)} ${unit}` });
  const step = (entry.high - entry.low) / entry.counts.length;
  entry.counts.forEach((count, i) => {
    const tall = (count / most) * (height - bottom - 8);
    const made = shape("rect", { x: left + i * bar + 1, y: height - bottom - tall, width: bar - 2, height: tall, fill: "var(--link)" });
    made.append(shape("title", {}, `${count} test tasks from ${plain(entry.low + i * step)} to ${plain(entry.low + (i + 1) * step)}`));
    picture.append(made);
  });
  picture.append(shape("path", { class: "frame", d: `M${left},${height - bottom}H${width - left}` }));
  picture.append(shape("text", { x: left, y: height - bottom + 16 }, plain(entry.low)));
  picture.append(shape("text", { x: width - left, y: height - bottom + 16, "text-anchor": "end" }, plain(entry.high)));
  picture.append(shape("text", { x: width / 2, y: height - 6, "text-anchor": "middle" }, unit));
  return element("figure", {}, element("figcaption", {}, title), picture);
}

// A table that is wider than the page scrolls in a part of its own, which takes the focus so that the arrow keys move it.
const scroller = (name, ...children) => element("div", { class: "wide", tabindex: "0", role: "region", "aria-label": name }, ...children);

function simpleTable(heads, rows) {
  return scroller("Values", element("table", {},
    element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)))),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map((value) => element("td", {}, String(value))))))));
}

// ---- pages

const label = (split, { unit }) => `${split} ${unit}`;
const FAINT = 0.65;
const lookOf = (name) => data.looks[name] ?? { color: "#000000", marker: "o", dashes: [] };
const curvePoints = (record, key) => record.curve.step.map((_, i) => [record.curve[key][i] ?? null, record.curve.validation[i], record.curve.ci95[i]]);

function overview() {
  const recipes = unique(data.rows.map((row) => row.recipe));
  const count = (status) => data.records.filter((_, i) => data.rows.some((row) => row.record === i && row.status === status)).length;
  const about = `${data.records.length} records of ${recipes.length} recipes: ${count("ok")} finished, ${count("diverged")} diverged, ${count("failed")} failed. ` +
    "A row is one record after one number of inner steps at test. The interval ± is over the test tasks of that record.";
  return [element("h1", {}, "All results"), element("p", {}, about), resultsTable(data.rows, "All results, one row for each record and test")];
}

function recipePage(name) {
  const rows = data.rows.filter((row) => row.recipe === name);
  if (!rows.length) return notFound();
  const counting = rows.filter((row) => !row.superseded);
  const numbers = unique((counting.length ? counting : rows).map((row) => row.record));
  const records = numbers.map((number) => ({ ...data.records[number], row: rows.find((row) => row.record === number) }));
  const { logarithmic, title } = records[0];
  const validation = label("validation", records[0]);
  const style = (record) => ({
    name: record.row.setup + (record.row.tuned ? ` (tuned, ${record.row.tuned} trials)` : record.row.changed ? " (changed settings)" : ""),
    look: lookOf(record.row.setup), faint: Boolean(record.row.changed || record.row.tuned), level: record.row.outer_steps === 0,
  });
  const line = (record, key) => ({ ...style(record), points: curvePoints(record, key) });
  const charts = [lineChart("Learning curves", "outer steps", validation, records.map((record) => line(record, "step")), { logarithmic, marks: false })];
  // Seconds of different devices and machines never share an axis.
  for (const place of unique(records.map((record) => `${record.row.device}, machine ${record.row.machine}`))) {
    const there = records.filter((record) => `${record.row.device}, machine ${record.row.machine}` === place);
    charts.push(lineChart(`Score against training time (${place})`, "seconds of training", validation, there.map((record) => line(record, "seconds")), { logarithmic, marks: false }));
  }
  for (const name of unique(rows.filter((row) => row.way !== null).map(test))) {
    const series = records.map((record) => ({
      ...style(record), level: false,
      points: rows.filter((row) => row.record === record.row.record && test(row) === name)
        .map((row) => [row.inner_steps, score(row), half(row)]).sort((one, other) => one[0] - other[0]),
    }));
    charts.push(lineChart(`Score after inner steps (${name})`, "inner steps", label("test", records[0]), series, { logarithmic }));
  }
  charts.unshift(...(data.intervals[name] ?? []).map(intervalChart));
  return [
    element("h1", {}, name), element("p", {}, title),
    resultsTable(rows, `Results of ${name}`, [RECIPE]),
    element("h2", {}, "Charts"), element("p", {}, "A line is one record. Lines of one setup have one colour, and those of runs with changed settings are paler. Superseded records are not drawn."),
    element("div", { class: "charts" }, ...charts.filter(Boolean)),
  ];
}

function recordPage(number) {
  const record = data.records[number];
  if (!record) return notFound();
  const rows = data.rows.filter((row) => row.record === Number(number));
  const [{ recipe, setup, seed, status }] = rows;
  const validation = label("validation", record);
  const list = element("dl");
  for (const [key, value] of Object.entries({ file: record.path, status: record.reason ? `${status}: ${record.reason}` : status, ...record.origin }))
    if (value !== null) list.append(element("dt", {}, key), element("dd", {}, String(value)));
  const curve = lineChart("Learning curve", "outer steps", validation, [{ name: setup, look: lookOf(setup), points: curvePoints(record, "step") }], { logarithmic: record.logarithmic });
  const shapes = record.distributions.map((entry) => histogram(`Test tasks after ${entry.inner_steps} inner steps (${entry.test})`, record.unit, entry));
  return [
    element("h1", {}, `${recipe}, ${setup}, seed ${seed}`),
    element("p", {}, element("a", { href: `#/recipe/${encodeURIComponent(recipe)}` }, `All results of ${recipe}`)),
    element("h2", {}, "Where these numbers come from"), list,
    element("h2", {}, "Scores"), resultsTable(rows, "Scores of this record", [RECIPE]),
    element("h2", {}, "Charts"), element("div", { class: "charts" }, ...[curve, ...shapes].filter(Boolean)),
    element("details", {}, element("summary", {}, "The whole recipe"), element("pre", {}, JSON.stringify(record.recipe, null, 2))),
  ];
}

const notFound = () => [element("h1", {}, "There is no such page"), element("p", {}, element("a", { href: "#/" }, "All results"))];

function show(first = false) {
  const [kind, name] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  if (location.hash === "#main") return;
  main.replaceChildren(...(kind === "recipe" ? recipePage(name) : kind === "record" ? recordPage(name) : kind === "" ? overview() : notFound()));
  document.title = `${main.querySelector("h1").textContent} · maml-bench report`;
  choice.value = kind === "recipe" ? name : "";
  // The arrow keys walk through the recipes, so the list of recipes keeps the focus while it is used.
  if (first || document.activeElement === choice) return;
  scrollTo(0, 0);
  main.focus({ preventScroll: true });
}

const choice = document.getElementById("recipes");
choice.append(...unique(data.rows.map((row) => row.recipe)).map((name) => element("option", { value: name }, name)));
choice.addEventListener("change", () => { location.hash = choice.value ? `#/recipe/${encodeURIComponent(choice.value)}` : "#/"; });
addEventListener("hashchange", () => show());
show(true);
