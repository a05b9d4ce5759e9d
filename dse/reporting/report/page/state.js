// What is shown: the data, the selection, and how numbers and texts are written.
const report = JSON.parse(document.getElementById("data").textContent);
const view = { run: 0, series: 0, point: 0, isChosen: false, column: "", isFalling: false };
const isPhone = () => window.innerWidth < 700;
const element = (id) => document.getElementById(id);

/** A new element; `attributes` are properties, or attributes where their name has a dash. Texts become text nodes. */
function make(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.includes("-")) made.setAttribute(name, value); else made[name] = value;
  }
  made.append(...children);
  return made;
}

/** Text for plotly, which reads a few HTML tags: names of layers may look like some. */
function plain(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

/** The middle of a long name is left out. */
function shortened(text, length) {
  const letters = Array.from(String(text));
  if (letters.length <= length) return letters.join("");
  const end = Math.ceil((length - 1) / 2);
  return letters.slice(0, length - 1 - end).join("") + "…" + letters.slice(-end).join("");
}

function fixed(value, digits) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const text = value.toFixed(digits);
  return /^-0\.?0*$/.test(text) ? text.slice(1) : text.replace("-", "−");
}
const count = (value) => Math.round(value).toLocaleString("en-US");
const plural = (n, word) => `${count(n)} ${word}${n === 1 ? "" : "s"}`;

const shownRun = () => report.runs[view.run];
const frontOf = (run) => run.designs[0];
const shownSeries = () => shownRun().designs[view.series];

/** Positions of a series' points by rising energy saved. */
function ascending(series) {
  return series.saved.map((_, k) => k).sort((a, b) => series.saved[a] - series.saved[b] || a - b);
}

/** The multiplier of every layer of a design, as [name, energy relative to the exact one]; null where unknown. */
function choicesOf(run, series, point) {
  const codes = series.codes && series.codes[point];
  return codes && !run.layers.missing ? codes.map((code) => run.layers.choices[code]) : null;
}

/** The most energy saved for no more than a point of accuracy, else whatever loses least. */
function bestPoint(series) {
  let best = 0;
  const isBetter = (a, b) => {
    const within = [series.lost[a] <= 1, series.lost[b] <= 1];
    if (within[0] !== within[1]) return within[0];
    return within[0] ? series.saved[a] > series.saved[b] : series.lost[a] < series.lost[b];
  };
  series.saved.forEach((_, k) => { if (isBetter(k, best)) best = k; });
  return best;
}

/** What a point is called: "point 12", or the name of another design. */
function nameOf(series, point) {
  return `${series.noun} ${series.names[point]}`;
}

/** Memory of the weights that a design saves, in percent; null where it is not known. */
const memorySaved = (series, k) => (series.memory ? series.memory[k] : null);

function intervalText(series, k) {
  if (!series.low || series.low[k] === null) return "";
  return `${fixed(series.low[k], 2)} to ${fixed(series.high[k], 2)}`;
}

const STORE = "dse-view " + location.pathname;

function keepView() {
  try {
    const design = namesOf(shownRun(), shownSeries(), view.point);
    sessionStorage.setItem(STORE, JSON.stringify({ ...view, name: shownRun().name, design, scroll: window.scrollY }));
  } catch { /* without storage a reloaded page begins anew */ }
}

/** Multipliers of a design as one text: points get other numbers as a front grows. */
function namesOf(run, series, point) {
  return (choicesOf(run, series, point) || []).map(([name]) => name).join(";");
}

/** Selection and place of before the page reloaded itself, as far as they still exist. */
function restoredView() {
  try {
    const kept = JSON.parse(sessionStorage.getItem(STORE));
    const run = report.runs.findIndex((each) => each.name === kept.name);
    const series = run < 0 ? undefined : report.runs[run].designs[kept.series];
    if (!series) return null;
    const point = series.saved.findIndex((_, k) => namesOf(report.runs[run], series, k) === kept.design);
    const isKept = kept.isChosen && point >= 0;
    return { ...kept, run, point: isKept ? point : bestPoint(series), isChosen: isKept };
  } catch { return null; }
}
