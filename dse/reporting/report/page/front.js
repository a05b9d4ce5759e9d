// The front, and what lies on it besides.
const LOSS_MARGIN = 1.5; // other designs that lost far more are cut off: they would squeeze the front into a line
const MOST_LOST_POINTS = 15; // a front that loses more is shown up to here at first
const DENSE = 150; // points: more are drawn smaller, and their intervals fainter
const BARS_AT_MOST = 3; // runs: more intervals on one another cannot be told apart

function hoverTexts(run, series) {
  const owner = report.runs.length > 1 ? `<b>${plain(shortened(run.name, 60))}</b><br>` : "";
  return series.saved.map((saved, k) => {
    const lines = [`<b>${plain(nameOf(series, k))}</b>${series.exact.includes(k) ? " (exact network)" : ""}`];
    lines.push(`saves ${fixed(saved, 2)} % of the energy`);
    if (memorySaved(series, k) !== null) lines.push(`saves ${fixed(memorySaved(series, k), 1)} % of the memory`);
    const interval = intervalText(series, k);
    lines.push(`loses ${fixed(series.lost[k], 2)} points${interval ? ` (95 %: ${interval})` : ""}`);
    if (series.before) lines.push(`lost ${fixed(series.before[k], 2)} points before fine-tuning`);
    lines.push(`accuracy ${fixed(100 * series.accuracy[k], 2)} % on ${series.images}`);
    return owner + lines.join("<br>");
  });
}

function bars(series, chosen, shade) {
  const from = (k, end) => Math.max(0, end === "low" ? series.lost[k] - series.low[k] : series.high[k] - series.lost[k]);
  return {
    type: "data", symmetric: false, array: chosen.map((k) => from(k, "high")),
    arrayminus: chosen.map((k) => from(k, "low")), thickness: 1, width: 2, color: shade,
  };
}

/** A trace of some points of a series; clicks find their way back by `meta` and `customdata`. */
function pointsTrace(runNumber, seriesNumber, chosen, { name, shade, symbol, hasBars, size, mode }) {
  const run = report.runs[runNumber], series = run.designs[seriesNumber];
  const hover = hoverTexts(run, series), isDense = chosen.length > DENSE;
  return {
    type: "scatter", mode: mode || "markers", name: plain(shortened(name, 70)), meta: { run: runNumber, series: seriesNumber },
    x: chosen.map((k) => series.saved[k]), y: chosen.map((k) => series.lost[k]), customdata: chosen,
    hovertext: chosen.map((k) => hover[k]), hovertemplate: "%{hovertext}<extra></extra>",
    marker: {
      size: Math.min(isDense ? 5 : Infinity, size || 8), color: shade, symbol: symbol || "circle",
      line: { width: isDense || size < 5 ? 0 : 1, color: color("page") },
    },
    line: { color: shade, width: 1, dash: "dot" },
    ...(hasBars && series.low ? { error_y: bars(series, chosen, isDense ? faint(shade, 0.35) : shade) } : {}),
  };
}

const SERIES_STYLES = {
  other: { shade: "other", symbols: ["circle"], size: 4 },
  points: { shade: "points", symbols: ["square", "diamond", "triangle-up"], size: 11, hasBars: true, mode: "lines+markers" },
  tuned: { shade: "tuned", symbols: ["star", "hexagram", "star-diamond"], size: 11, hasBars: true },
};

/** Designs of the run that is shown which are not its front: what else was searched, or all but that. */
function otherTraces(areOthers) {
  return shownRun().designs.flatMap((series, number) => {
    if (number === 0 || (series.kind === "other") !== areOthers) return [];
    const { shade, symbols, ...style } = SERIES_STYLES[series.kind];
    const nth = shownRun().designs.slice(0, number).filter(({ kind }) => kind === series.kind).length;
    return [pointsTrace(view.run, number, ascending(series), {
      ...style, name: series.label, shade: color(shade), symbol: symbols[nth % symbols.length],
    })];
  });
}

function frontTraces() {
  if (report.runs.length > 1) {
    const traces = report.runs.flatMap((run, number) => (run.front_missing ? [] : [pointsTrace(number, 0, ascending(frontOf(run)), {
      name: run.name, shade: runColor(run.group), symbol: runSymbol(run.group), hasBars: report.runs.length <= BARS_AT_MOST,
      size: number === view.run ? 10 : 7,
    })]));
    return [...traces.map((trace) => ({ ...trace, ...groupLegend(trace.meta.run) })), ...otherTraces(false)];
  }
  const run = shownRun(), series = frontOf(run), all = ascending(series);
  const isExact = (k) => series.exact.includes(k);
  return [
    ...otherTraces(true),
    pointsTrace(0, 0, all.filter((k) => !isExact(k)), { name: series.label, shade: color("front"), hasBars: true }),
    pointsTrace(0, 0, all.filter(isExact), { name: "exact network", shade: color("exact"), symbol: "diamond", hasBars: true, size: 10 }),
    ...otherTraces(false),
  ];
}

function ringTrace() {
  const series = shownSeries();
  return {
    type: "scatter", mode: "markers", name: "selected", x: [series.saved[view.point]], y: [series.lost[view.point]],
    marker: { size: 18, symbol: "circle-open", color: color("ring"), line: { width: 2.5 } }, hoverinfo: "skip",
  };
}

/** From the least lost to a bit more than the fronts lose, downwards. */
function lossRange() {
  const others = shownRun().designs.slice(1).filter((series) => series.kind !== "other");
  const shown = report.runs.filter((run) => !run.front_missing).map(frontOf).concat(others);
  const hasBars = report.runs.length <= BARS_AT_MOST;
  const ends = (name) => shown.flatMap((series) => (hasBars && series[name]) || series.lost).filter((v) => v !== null);
  const low = Math.min(0, ...ends("low")), high = Math.max(0.1, ...ends("high"));
  const bottom = Math.min(MOST_LOST_POINTS, low + (report.runs.length > 1 ? 1 : LOSS_MARGIN) * (high - low));
  const margin = 0.05 * (bottom - low);
  return [bottom + margin, low - margin];
}

function drawFront() {
  const run = shownRun();
  if (isMissing("front", run.front_missing ? { missing: run.front_missing } : {})) return;
  const what = report.runs.length > 1
    ? "Each mark is a design, one multiplier for every layer; colors and shapes tell the runs apart (those that differ in seeds only "
      + "have the same), and larger marks are those of the run in the list."
    : "Each blue dot is a design: one multiplier for every layer.";
  const quality = run.state === "finished"
    ? `${report.runs.length > BARS_AT_MOST ? "Hovering tells the" : "Bars are"} 95 % intervals of the accuracy on ${frontOf(run).images}, which the search `
      + "never saw."
    : `The run is not finished: accuracies are those on ${frontOf(run).images}, and flatter the designs.`;
  const rival = run.has_memory ? "Where one looks beaten, it needs less memory (see below)." : "";
  const beaten = !run.designs.some((series) => series.kind === "other") ? "" : "Small gray dots are the other designs that were measured on all search images, on these.";
  caption("front", [what, "Further right saves more energy, higher up loses less accuracy than the exact network.", rival, quality, beaten, ""]
    .filter((text, k) => text || k === 5).join(" "), make("strong", {}, "Click a point to see its layers."));
  const traces = [...frontTraces(), ringTrace()];
  const layout = layoutOf({
    xaxis: axis(SAVED, { rangemode: "tozero" }),
    yaxis: axis(LOST, { range: lossRange(), zeroline: true, zerolinecolor: color("quiet"), zerolinewidth: 1 }),
    height: isPhone() ? 460 : 560, uirevision: "front",
  });
  draw("front-plot", traces, layout, (mark) => {
    const { data, customdata } = covering(mark) || mark;
    if (data.meta) select(data.meta.run, data.meta.series, customdata);
  }, (mark) => {
    const found = covering(mark);
    if (found) Plotly.Fx.hover("front-plot", [found]);
  });
}

/** What lies over a design that is not on the front, which plotly would prefer as the smaller mark; null where nothing does. */
function covering({ data, x, y, xaxis, yaxis }) {
  const kindOf = ({ meta }) => (meta ? report.runs[meta.run].designs[meta.series].kind : "");
  if (kindOf(data) !== "other") return null;
  const traces = element("front-plot").data;
  for (let number = traces.length - 1; number >= 0; number -= 1) {
    const trace = traces[number];
    if (!kindOf(trace) || kindOf(trace) === "other" || trace.visible === "legendonly") continue;
    const distance = (k) => Math.hypot(xaxis.d2p(trace.x[k]) - xaxis.d2p(x), yaxis.d2p(trace.y[k]) - yaxis.d2p(y));
    const at = trace.x.findIndex((_, k) => distance(k) <= trace.marker.size / 2);
    if (at >= 0) return { data: trace, customdata: trace.customdata[at], curveNumber: number, pointNumber: at };
  }
  return null;
}

/** Moves the ring alone: the rest of the picture stays as it was zoomed. */
function markSelected() {
  const plot = element("front-plot");
  if (!plot.data) return;
  const ring = ringTrace();
  Plotly.restyle(plot, { x: [ring.x], y: [ring.y] }, [plot.data.length - 1]);
}
