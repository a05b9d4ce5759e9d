// Three objectives: energy, accuracy and memory, in two projections beside the front, and in space where WebGL works.
const MEMORY = "memory of the weights saved (%)";

function hasWebGl() {
  try { return Boolean(document.createElement("canvas").getContext("webgl")); } catch { return false; }
}

/** A trace of the front for two axes, colored by the third objective. */
function projection(x, y, shade, title) {
  const series = frontOf(shownRun()), all = ascending(series);
  const hover = hoverTexts(shownRun(), series);
  const values = { saved: series.saved, lost: series.lost, memory: series.memory };
  return {
    type: "scatter", mode: "markers", customdata: all, meta: { run: view.run, series: 0 }, showlegend: false,
    x: all.map((k) => values[x][k]), y: all.map((k) => values[y][k]),
    hovertext: all.map((k) => hover[k]), hovertemplate: "%{hovertext}<extra></extra>",
    marker: {
      size: 9, color: all.map((k) => values[shade][k]), colorscale: "Cividis", reversescale: shade !== "saved", showscale: true,
      ...(shade === "lost" ? { cmin: 0, cmax: lossRange()[0] } : {}),
      colorbar: { title: { text: title, side: "right" }, thickness: 12 }, line: { width: 1, color: color("quiet") },
    },
  };
}

function ringAt(x, y) {
  return {
    type: "scatter", mode: "markers", x: [x], y: [y], hoverinfo: "skip", showlegend: false,
    marker: { size: 18, symbol: "circle-open", color: color("ring"), line: { width: 2.5 } },
  };
}

function drawMemory() {
  if (!shownRun().has_memory) return;
  const series = frontOf(shownRun()), k = view.point, isFront = view.series === 0;
  const ring = (x, y) => (isFront ? [ringAt(x, y)] : []);
  const answer = ({ data: trace, customdata }) => { if (trace.meta) select(view.run, 0, customdata); };
  caption("memory", "Memory of the weights, saved against dense int8, is the third objective: a point that looks beaten in energy and accuracy may need less of it. "
    + `${hasWebGl() ? "The first picture has all three and turns when it is dragged; the others show" : "Each picture shows"} two, and the third as color. `
    + "The upper right is best. Click a point to select it.");
  const memory = axis(MEMORY, {});
  draw("memory-energy-plot", [projection("saved", "memory", "lost", "accuracy lost (points)"), ...ring(series.saved[k], series.memory[k])],
    layoutOf({ xaxis: axis(SAVED), yaxis: memory, height: 400 }), answer);
  draw("memory-accuracy-plot", [projection("memory", "lost", "saved", "energy saved (%)"), ...ring(series.memory[k], series.lost[k])],
    layoutOf({ xaxis: memory, yaxis: axis(LOST, { range: lossRange() }), height: 400 }), answer);
  drawSpace(answer);
}

function drawSpace(answer) {
  const plot = element("memory-plot");
  plot.hidden = !hasWebGl();
  if (plot.hidden) return;
  const series = frontOf(shownRun()), all = ascending(series), end = lossRange()[0];
  const shown = all.filter((k) => series.lost[k] <= end);
  const hover = hoverTexts(shownRun(), series);
  const side = (title, more) => ({
    title: { text: title }, gridcolor: color("grid"), color: color("text"), backgroundcolor: "rgba(0,0,0,0)", showbackground: false, ...more,
  });
  const trace = {
    type: "scatter3d", mode: "markers", customdata: shown, meta: { run: view.run, series: 0 }, x: shown.map((k) => series.saved[k]),
    y: shown.map((k) => series.memory[k]), z: shown.map((k) => series.lost[k]), hovertext: shown.map((k) => hover[k]),
    hovertemplate: "%{hovertext}<extra></extra>", showlegend: false,
    marker: { size: 5, color: shown.map((k) => series.lost[k]), colorscale: "Cividis", reversescale: true, line: { width: 1, color: color("quiet") } },
  };
  draw("memory-plot", [trace], layoutOf({
    height: isPhone() ? 380 : 520, margin: { l: 0, r: 0, t: 0, b: 0 },
    scene: {
      xaxis: side("energy saved (%)"), yaxis: side("memory saved (%)"), zaxis: side("lost (points)", { autorange: "reversed" }),
      camera: { eye: isPhone() ? { x: 1.7, y: -1.9, z: 0.8 } : { x: 1.4, y: -1.5, z: 0.6 }, center: { x: 0, y: 0, z: -0.25 } },
    },
  }), answer);
}

function markMemory() {
  if (shownRun().has_memory && !waiting.has("memory")) drawMemory();
}
