// The front, and what lies on it besides.
const LOSS_MARGIN = 1.5; // dominated designs that lost far more are cut off: they would squeeze the front into a line
const MOST_LOST_POINTS = 15; // a front that loses more is shown up to here at first
const DENSE = 150; // points: more are drawn smaller, and their intervals fainter
const BARS_AT_MOST = 3; // runs: more intervals on one another cannot be told apart

function hoverTexts(run, series) {
  const owner = report.runs.length > 1 ? `<b>${plain(shortened(run.name, 60))}</b><br>` : "";
  return series.saved.map((saved, k) => {
    const lines = [`<b>${plain(nameOf(series, k))}</b>${series.exact.includes(k) ? " (exact network)" : ""}`];
    lines.push(`saves ${fixed(saved, 2)} % of the energy`);
    const interval = intervalText(series, k);
    lines.push(`loses ${fixed(series.lost[k], 2)} points${interval ? ` (95 %: ${interval})` : ""}`);
    if (series.before) lines.push(`lost ${fixed(series.before[k], 2)} points before fine-tuning`);
    lines.push(`accuracy ${fixed(100 * series.accuracy[k], 2)} %`);
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
    marker: { size: isDense ? 5 : size || 8, color: shade, symbol: symbol || "circle", line: { width: isDense ? 0 : 1, color: color("page") } },
    line: { color: shade, width: 1, dash: "dot" },
    ...(hasBars && series.low ? { error_y: bars(series, chosen, isDense ? faint(shade, 0.35) : shade) } : {}),
  };
}

const SERIES_STYLES = { points: ["points", "square"], tuned: ["tuned", "star"] };

/** Operating points and fine-tuned points of the run that is shown. */
function otherTraces() {
  return shownRun().designs.flatMap((series, number) => {
    if (number === 0) return [];
    const [shade, symbol] = SERIES_STYLES[series.kind];
    const all = ascending(series);
    const trace = pointsTrace(view.run, number, all, {
      name: series.label, shade: color(shade), symbol, hasBars: true, size: 11, mode: series.kind === "points" ? "lines+markers" : "markers",
    });
    return [trace];
  });
}

function dominatedTrace(run) {
  const found = run.dominated;
  if (!found || !found.saved.length) return [];
  return [{
    type: "scatter", mode: "markers", name: `dominated designs (${count(found.n)}), ${found.images}`, x: found.saved, y: found.lost,
    marker: { size: 4, color: color("dominated") }, hoverinfo: "skip",
  }];
}

function frontTraces() {
  if (report.runs.length > 1) {
    const traces = report.runs.flatMap((run, number) => (run.front_missing ? [] : [pointsTrace(number, 0, ascending(frontOf(run)), {
      name: run.name, shade: runColor(run.group), symbol: runSymbol(run.group), hasBars: report.runs.length <= BARS_AT_MOST,
      size: number === view.run ? 10 : 7,
    })]));
    return [...traces.map((trace) => ({ ...trace, ...groupLegend(trace.meta.run) })), ...otherTraces()];
  }
  const run = shownRun(), series = frontOf(run), all = ascending(series);
  const isExact = (k) => series.exact.includes(k);
  return [
    ...dominatedTrace(run),
    pointsTrace(0, 0, all.filter((k) => !isExact(k)), { name: series.label, shade: color("front"), hasBars: true }),
    pointsTrace(0, 0, all.filter(isExact), { name: "exact network", shade: color("exact"), symbol: "diamond", hasBars: true, size: 10 }),
    ...otherTraces(),
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
  const shown = report.runs.filter((run) => !run.front_missing).map(frontOf).concat(shownRun().designs.slice(1));
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
  const rival = run.memory ? "Where one looks beaten, it needs less memory (see below)." : "";
  const beaten = report.runs.length > 1 || !run.dominated ? "" : "Small gray dots are designs that others beat, on the search images.";
  caption("front", [what, "Further right saves more energy, higher up loses less accuracy than the exact network.", rival, quality, beaten, ""]
    .filter((text, k) => text || k === 5).join(" "), make("strong", {}, "Click a point to see its layers."));
  const traces = [...frontTraces(), ringTrace()];
  const layout = layoutOf({
    xaxis: axis(SAVED, { rangemode: "tozero" }),
    yaxis: axis(LOST, { range: lossRange(), zeroline: true, zerolinecolor: color("quiet"), zerolinewidth: 1 }),
    height: isPhone() ? 460 : 560, uirevision: "front",
  });
  draw("front-plot", traces, layout, ({ data, customdata }) => { if (data.meta) select(data.meta.run, data.meta.series, customdata); });
}

/** Moves the ring alone: the rest of the picture stays as it was zoomed. */
function markSelected() {
  const plot = element("front-plot");
  if (!plot.data) return;
  const ring = ringTrace();
  Plotly.restyle(plot, { x: [ring.x], y: [ring.y] }, [plot.data.length - 1]);
}
