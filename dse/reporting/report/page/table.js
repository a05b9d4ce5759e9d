// The front as a table: sorted in the page, downloaded as it stands in front.csv.
function tableColumns(run) {
  const series = frontOf(run);
  const columns = [
    { key: "point", title: "point", value: (k) => Number(series.names[k]), digits: 0 },
    { key: "saved", title: "energy saved (%)", value: (k) => series.saved[k], digits: 2 },
    ...(series.memory ? [{ key: "memory", title: "memory saved (%)", value: (k) => series.memory[k], digits: 1 }] : []),
    { key: "lost", title: "accuracy lost (points)", value: (k) => series.lost[k], digits: 2 },
    { key: "interval", title: "95 % interval (points)", value: (k) => series.low[k], text: (k) => intervalText(series, k) },
    { key: "accuracy", title: "accuracy (%)", value: (k) => 100 * series.accuracy[k], digits: 2 },
  ];
  for (const [key, { title, values, digits }] of Object.entries(series.more)) {
    columns.push({ key, title, value: (k) => values[k], digits });
  }
  if (series.codes && !run.layers.missing) {
    const different = series.codes.map((codes) => new Set(codes.map((code) => run.layers.choices[code][0])).size);
    columns.push({ key: "different", title: run.layers.are_multipliers ? "different multipliers" : "different choices", value: (k) => different[k], digits: 0 });
  }
  return columns;
}

function showTable() {
  const run = shownRun();
  const missing = run.front_missing;
  element("download").parentElement.hidden = Boolean(missing);
  if (missing) { caption("table", missing); element("front-table").replaceChildren(); return; }
  caption("table", "Click a heading to sort by it, a number of a point to select it. The download has all digits and the multiplier of every layer, "
    + (run.state === "finished" ? "as front.csv in the run's directory." : "of the front so far."));
  const columns = tableColumns(run);
  if (!columns.some((column) => column.key === view.column)) { view.column = "point"; view.isFalling = false; }
  const head = make("tr", {}, ...columns.map((column) => {
    const sorted = column.key === view.column ? (view.isFalling ? "descending" : "ascending") : "none";
    const button = make("button", { type: "button" }, column.title);
    button.addEventListener("click", () => sortBy(column.key));
    return make("th", { scope: "col", "aria-sort": sorted, "data-column": column.key }, button);
  }));
  const rows = sortedPoints(run, columns).map((k) => tableRow(columns, k));
  element("front-table").replaceChildren(make("thead", {}, head), make("tbody", {}, ...rows));
  markRow();
}

function tableRow(columns, k) {
  const pick = make("button", { type: "button", className: "pick", "aria-label": `select point ${frontOf(shownRun()).names[k]}` },
    frontOf(shownRun()).names[k]);
  pick.addEventListener("click", () => select(view.run, 0, k));
  const cells = columns.map((column) => make("td", {}, column.key === "point" ? pick : cellText(column, k)));
  return make("tr", { "data-point": String(k) }, ...cells);
}

const cellText = (column, k) => (column.text ? column.text(k) : fixed(column.value(k), column.digits));

/** Points in the order that is shown; equal ones, and those without a value, as in the file. */
function sortedPoints(run, columns) {
  const { value } = columns.find((column) => column.key === view.column);
  const sign = view.isFalling ? -1 : 1;
  return frontOf(run).saved.map((_, k) => k).sort((a, b) => {
    const [left, right] = [value(a), value(b)];
    if (Number.isFinite(left) !== Number.isFinite(right)) return Number.isFinite(left) ? -1 : 1;
    return sign * (left - right) || a - b;
  });
}

function sortBy(key) {
  view.isFalling = view.column === key ? !view.isFalling : false;
  view.column = key;
  showTable();
  const heading = Array.from(element("front-table").querySelectorAll("th")).find((th) => th.dataset.column === key);
  heading.firstChild.focus();
}

function markRow() {
  for (const row of element("front-table").querySelectorAll("tbody tr")) {
    row.classList.toggle("chosen", view.series === 0 && Number(row.dataset.point) === view.point);
  }
}

/** A field of a CSV file, in quotes where it needs some. */
function csvField(text) {
  return /[",\r\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
}

/** All rows of the file, those that are shown in the order in which they are, and behind them those that failed. */
function csvText(run) {
  const { columns, rows } = run.table;
  const shown = sortedPoints(run, tableColumns(run)).map((k) => frontOf(run).rows[k]);
  const failed = rows.map((_, r) => r).filter((r) => !shown.includes(r));
  const order = view.column === "point" && !view.isFalling ? rows.map((_, r) => r) : [...shown, ...failed];
  const assignment = columns.indexOf("assignment");
  const lines = order.map((r) => rows[r].map((text, c) => csvField(c === assignment ? assignmentText(run, text) : text)).join(","));
  return [columns.map(csvField).join(","), ...lines, ""].join("\n");
}

/** Names of multipliers, which are kept as codes. */
function assignmentText(run, codes) {
  return codes.map((code) => run.layers.choices[code][0]).join(";");
}

function download() {
  const run = shownRun();
  const url = URL.createObjectURL(new Blob([csvText(run)], { type: "text/csv" }));
  const stem = report.runs.length > 1 ? `${run.name.replace(/[^\w.-]+/g, "_")}-front` : "front";
  make("a", { href: url, download: `${stem}.csv` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
