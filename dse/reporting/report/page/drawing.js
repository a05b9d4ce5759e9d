// What all pictures have in common: colors of the theme, axes, captions, and a sentence where there is nothing to draw.
const RUN_COLORS = {
  light: ["#0072b2", "#d55e00", "#00805e", "#b4508a", "#b87a00", "#3d8fc2", "#555555"],
  dark: ["#56b4e9", "#ff8a3d", "#2fc79a", "#e39ac6", "#f0b429", "#9fd3f5", "#cfd4da"],
};
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "x", "star", "triangle-down"];
const DASHES = ["solid", "dash", "dot", "dashdot"];
const LOST = "accuracy lost (percentage points)";
const SAVED = "multiplication energy saved (%)";

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
function runColor(number) {
  const colors = RUN_COLORS[document.documentElement.dataset.theme];
  return colors[number % colors.length];
}
const runSymbol = (number) => SYMBOLS[number % SYMBOLS.length];
const runDash = (number) => DASHES[Math.floor(number / RUN_COLORS.light.length) % DASHES.length];

/** One entry of the legend for all runs of a group. */
function groupLegend(number) {
  const { group, group_label } = report.runs[number];
  const isFirst = report.runs.findIndex((run) => run.group === group) === number;
  return { name: plain(shortened(group_label, 60)), legendgroup: `group ${group}`, showlegend: report.runs.length > 1 && isFirst };
}

/** A color as rgba with an opacity. */
function faint(hex, opacity) {
  const parts = [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16));
  return `rgba(${parts.join(",")},${opacity})`;
}

function axis(title, more) {
  return {
    title: { text: title, standoff: 10 }, automargin: true, gridcolor: color("grid"), zeroline: false,
    linecolor: color("line"), showline: true, ticks: "outside", tickcolor: color("line"), ...more,
  };
}

function layoutOf(more) {
  const phone = isPhone();
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", autosize: true,
    font: { family: "system-ui, sans-serif", size: phone ? 12 : 13, color: color("text") },
    margin: { l: 48, r: 12, t: phone ? 12 : 34, b: 44 }, hovermode: "closest",
    dragmode: window.matchMedia("(pointer: coarse)").matches ? false : "zoom", // a finger scrolls the page
    hoverlabel: {
      bgcolor: color("surface"), bordercolor: color("line"), font: { color: color("text"), size: 13 }, align: "left",
      namelength: -1,
    },
    legend: { orientation: "h", yanchor: "bottom", y: 1.01, x: 0, xanchor: "left", font: { size: 12 } },
    ...more,
  };
}

const CONFIG = {
  responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
  toImageButtonOptions: { scale: 2 },
};

/** Draws, and says in words what is drawn for those who cannot see it. `answer` is given the point that is clicked, `notice` the one hovered. */
function draw(id, traces, layout, answer, notice) {
  const plot = element(id);
  plot.setAttribute("role", "img");
  const caption = element(id.replace(/-plot$/, "-caption"));
  if (caption) plot.setAttribute("aria-label", caption.textContent);
  if (layout.height) plot.style.height = layout.height + "px";
  Plotly.react(plot, traces, layout, isPhone() ? { ...CONFIG, displayModeBar: false } : CONFIG);
  if (!answer || plot.dataset.listens) return;
  plot.dataset.listens = "yes";
  plot.on("plotly_click", (event) => answer(event.points[0]));
  if (notice) plot.on("plotly_hover", (event) => notice(event.points[0]));
}

/** The sentence below a heading. Parts are texts, or elements. */
function caption(id, ...parts) {
  element(id + "-caption").replaceChildren(...parts);
}

/** One sentence in place of a picture; true where there is no data for it. */
function isMissing(id, data) {
  const plot = element(id + "-plot");
  plot.classList.toggle("empty", Boolean(data.missing));
  if (!data.missing) return false;
  Plotly.purge(plot);
  delete plot.dataset.listens;
  plot.replaceChildren();
  plot.style.height = "";
  caption(id, data.missing);
  return true;
}

/** An axis with a name for every layer, as far as there is room. */
function layerAxis(names, more) {
  const room = isPhone() ? 26 : 60;
  const step = Math.max(1, Math.ceil(names.length / room));
  const positions = names.map((_, k) => k).filter((k) => k % step === 0);
  return axis("", {
    tickmode: "array", tickvals: positions, ticktext: positions.map((k) => plain(shortened(names[k], isPhone() ? 14 : 26))),
    tickfont: { size: names.length > 30 ? 9 : 11 }, showgrid: false, ...more,
  });
}

const waiting = new Map(); // pictures that are not drawn yet, by the ids of their sections
let watcher = null;

/** Draws a picture when it is about to be seen, or when there is nothing else to do: so the page opens at once. */
function drawSoon(id, drawer) {
  waiting.set(id, drawer);
  watcher = watcher || new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) drawNow(entry.target.id);
  }, { rootMargin: "300px" });
  watcher.observe(element(id));
}

function drawNow(id) {
  const drawer = waiting.get(id);
  waiting.delete(id);
  watcher.unobserve(element(id));
  if (drawer) drawer();
  document.documentElement.dataset.state = waiting.size ? "drawing" : "complete";
  if (!waiting.size) performance.mark("dse-complete");
}

const whenIdle = window.requestIdleCallback || ((task) => setTimeout(task, 50));

function drawRest() {
  whenIdle(() => {
    const [next] = waiting.keys();
    if (next === undefined) return;
    drawNow(next);
    drawRest();
  });
}

function drawEverything() {
  for (const id of Array.from(waiting.keys())) drawNow(id);
}
