// The search: hypervolume, predictions, the library, and runs beside each other.
function progressTraces() {
  const several = report.runs.length > 1;
  return report.runs.flatMap((run, number) => {
    const data = run.progress;
    if (data.missing) return [];
    const hover = data.evaluations.map((n, k) => `${several ? `<b>${plain(shortened(run.name, 60))}</b><br>` : ""}`
      + `${count(n)} evaluations${data.images ? `, ${count(data.images[k])} images` : ""}, ${fixed(data.time_s[k], 0)} s<br>`
      + `hypervolume ${fixed(data.hypervolume[k], 5)}`);
    const shade = several ? runColor(run.group) : color("front");
    return [{
      type: "scatter", mode: "lines+markers", ...groupLegend(number), x: data.evaluations, y: data.hypervolume, hovertext: hover,
      hovertemplate: "%{hovertext}<extra></extra>", line: { color: shade, width: 2, dash: several ? runDash(run.group) : "solid", shape: "hv" },
      marker: { size: data.evaluations.length > 60 ? 3 : 6, color: shade, symbol: several ? runSymbol(run.group) : "circle" },
    }];
  });
}

function drawProgress() {
  const traces = progressTraces();
  if (isMissing("progress", traces.length ? {} : shownRun().progress)) return;
  const [energy, loss, memory] = shownRun().reference_point;
  const corner = [`${fixed(100 * energy, 0)} % energy`, `${fixed(100 * loss, 0)} % wrong answers`, ...(memory ? [`${fixed(100 * memory, 0)} % memory`] : [])];
  caption("progress", "The hypervolume puts a front into one number: how much lies between it and the point of "
    + `${corner.slice(0, -1).join(", ")} and ${corner[corner.length - 1]}, on the search images. Higher is better; where the line is flat, `
    + "more evaluations brought nothing.");
  draw("progress-plot", traces, layoutOf({
    xaxis: axis("evaluations (different designs)", { rangemode: "tozero" }), yaxis: axis("hypervolume"), height: 420,
  }));
}

function drawPredictions() {
  const data = shownRun().predictions;
  if (isMissing("predictions", data)) return;
  const shown = data.measured.length < data.n ? ` ${count(data.measured.length)} of ${count(data.n)} are drawn.` : "";
  const known = data.rank_correlation === null ? "" : ` Rank correlation ${fixed(data.rank_correlation, 3)}; `
    + `${fixed(100 * data.share_within_2_std, 0)} % are within two standard deviations, where 95 % is right.`;
  caption("predictions", "Each mark is a simulated design: the accuracy that it was predicted to lose against what it "
    + `lost on ${data.images}. On the dotted line the prediction was right, above it too hopeful.${known}${shown}`);
  const trace = (isBlind, name, shade, symbol) => {
    const chosen = data.measured.map((_, k) => k).filter((k) => data.is_blind[k] === isBlind);
    const errors = chosen.length > 400 ? {} : {
      error_x: { type: "data", array: chosen.map((k) => data.std[k]), thickness: 0.7, width: 0, color: shade },
    };
    return {
      type: "scatter", mode: "markers", name, x: chosen.map((k) => data.predicted[k]), y: chosen.map((k) => data.measured[k]), ...errors,
      marker: { size: 6, color: shade, symbol, opacity: 0.85 }, showlegend: chosen.length > 0,
      hovertemplate: "predicted %{x:.2f} points<br>measured %{y:.2f} points<extra></extra>",
    };
  };
  const top = 1.05 * Math.max(1, ...data.measured), least = Math.min(-0.03 * top, ...data.measured);
  const diagonal = {
    type: "scatter", mode: "lines", x: [0, top], y: [0, top], line: { color: color("quiet"), dash: "dot", width: 1 }, hoverinfo: "skip", showlegend: false,
  };
  draw("predictions-plot", [
    diagonal, trace(true, "before anything was measured", color("other"), "diamond"),
    trace(false, "fitted to all designs before", color("front"), "circle"),
  ], layoutOf({
    xaxis: axis("predicted loss (percentage points)", { range: [-0.03 * top, top] }),
    yaxis: axis("measured loss (percentage points)", { range: [least, top] }), height: 420,
  }));
}

/** Where names stand without lying on each other or on marks, those used most first; some have no place. */
function labelPlaces(data, chosen, floor) {
  const width = 9000 / Math.max(1, element("library-plot").clientWidth), height = 0.45; // of a name: percent of energy, decades of error
  const taken = [], places = new Map();
  const marks = data.error.map((error, m) => [100 * data.energy_rel[m], error === null ? Infinity : Math.log10(Math.max(error, floor))]);
  const isNear = ([left, low], x, y, part) => Math.abs(left - x) < part * width && Math.abs(low - y) < part * height;
  for (const m of [...chosen].sort((a, b) => data.n_uses[b] - data.n_uses[a] || a - b)) {
    for (const [place, shift] of [["top center", height], ["bottom center", -height]]) {
      const [x, y] = [marks[m][0], marks[m][1] + shift];
      if (taken.some((name) => isNear(name, x, y, 1)) || marks.some((mark) => isNear(mark, x, y, 0.5))) continue;
      taken.push([x, y]);
      places.set(m, place);
      break;
    }
  }
  return places;
}

function drawLibrary() {
  const data = shownRun().library;
  if (isMissing("library", data)) return;
  const positive = data.error.filter((v) => v > 0);
  const floor = positive.length ? 10 ** (Math.floor(Math.log10(Math.min(...positive))) - 1) : 1e-3;
  const used = data.is_used.filter(Boolean).length;
  caption("library", `Each mark is one of ${plural(data.names.length, "multiplier")}: left needs less energy, lower errs less (mean absolute error, on a `
    + `logarithmic scale). Filled ones, ${used} of them, are on the front; the larger, the more often.`);
  const most = Math.max(1, ...data.n_uses);
  const trace = (isUsed, name) => {
    const chosen = data.names.map((_, m) => m).filter((m) => data.is_used[m] === isUsed && data.error[m] !== null);
    const areLabeled = isUsed && chosen.length <= 12 && !isPhone();
    const places = areLabeled ? labelPlaces(data, chosen, floor) : new Map();
    return {
      type: "scatter", mode: areLabeled ? "markers+text" : "markers", name, x: chosen.map((m) => 100 * data.energy_rel[m]),
      y: chosen.map((m) => Math.max(data.error[m], floor)), text: areLabeled ? chosen.map((m) => (places.has(m) ? plain(shortened(data.names[m], 14)) : "")) : undefined,
      textposition: chosen.map((m) => places.get(m) || "top center"), textfont: { size: 10, color: color("quiet") }, cliponaxis: false,
      marker: isUsed
        ? { size: chosen.map((m) => 7 + 13 * Math.sqrt(data.n_uses[m] / most)), color: faint(color("front"), 0.75), line: { color: color("page"), width: 1 } }
        : { size: 7, symbol: "circle-open", color: color("quiet"), line: { width: 1.5 } },
      hovertext: chosen.map((m) => `<b>${plain(data.names[m])}</b><br>energy ${fixed(100 * data.energy_rel[m], 1)} % of the exact one<br>`
        + `error ${data.error[m] ? data.error[m].toPrecision(3) + " % of 2<sup>16</sup>" : "0"}<br>`
        + (data.n_uses[m] ? `in ${plural(data.n_uses[m], "layer")} of all points together` : "on no point of the front")),
      hovertemplate: "%{hovertext}<extra></extra>", showlegend: chosen.length > 0,
    };
  };
  const ticks = [];
  for (let tick = floor * 10; tick <= 10 * Math.max(floor, ...positive); tick *= 10) ticks.push(tick);
  draw("library-plot", [trace(false, "not on the front"), trace(true, "on the front")], layoutOf({
    xaxis: axis("energy (% of the exact multiplier's)", { rangemode: "tozero" }), height: 420,
    yaxis: axis("mean absolute error (% of 2<sup>16</sup>)", {
      type: "log", tickvals: [floor, ...ticks], ticktext: ["0", ...ticks.map((tick) => String(Number(tick.toPrecision(3))))],
    }),
  }));
}

/** Corners joined by steps: who may lose more than a corner saves at least as much. */
function staircase(corners, bottom) {
  const x = [corners[0][0]], y = [bottom];
  corners.forEach(([saved, lost], k) => {
    const next = k + 1 < corners.length ? corners[k + 1][0] : 0;
    x.push(saved, next);
    y.push(lost, lost);
  });
  return { x, y };
}

function drawAttainment() {
  const groups = report.comparison ? report.comparison.attainment : [];
  if (!groups.length) return;
  caption("attainment", "Runs that differ in nothing but seeds are repetitions of one experiment. Half of them reach every point on or below its line; the "
    + "shaded band is what between a quarter and three quarters of them reach: a narrow band means that the seed matters little.");
  const losses = groups.flatMap((group) => group.corners.flatMap((corners) => corners.map((corner) => corner[1])));
  const bottom = 1.05 * Math.max(1, ...losses), end = Math.min(bottom, 10);
  const traces = groups.flatMap((group, number) => {
    const [best, median, worst] = group.corners.map((corners) => (corners.length ? staircase(corners, bottom) : { x: [], y: [] }));
    const shade = runColor(number);
    const area = {
      type: "scatter", mode: "lines", x: [...best.x, ...worst.x.slice().reverse()], y: [...best.y, ...worst.y.slice().reverse()], fill: "toself",
      fillcolor: faint(shade, 0.18), line: { width: 0 }, hoverinfo: "skip", showlegend: false,
    };
    const line = {
      type: "scatter", mode: "lines", name: plain(`${shortened(group.label, 60)} (${plural(group.n_runs, "run")})`), ...median,
      line: { color: shade, width: 2, dash: runDash(number) }, hovertemplate: "saves %{x:.1f} %, loses %{y:.2f} points<extra>%{fullData.name}</extra>",
    };
    return [area, line];
  });
  draw("attainment-plot", traces, layoutOf({
    xaxis: axis(SAVED, { rangemode: "tozero" }), yaxis: axis(LOST, { range: [end, Math.min(0, ...losses) - 0.05 * end] }), height: 460,
  }));
}
