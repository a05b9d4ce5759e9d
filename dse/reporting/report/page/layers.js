// Layers of designs: the panel of the selected point, the heat map of the whole front, energy shares, tolerances.
function showPanel() {
  const run = shownRun(), series = shownSeries(), k = view.point;
  if (run.front_missing) { element("panel").hidden = true; return; }
  element("panel").hidden = false;
  const owner = report.runs.length > 1 ? `${run.name}: ` : "";
  const name = nameOf(series, k);
  element("panel-title").textContent = owner + name[0].toUpperCase() + name.slice(1) + (series.exact.includes(k) ? ", the exact network" : "");
  const interval = intervalText(series, k);
  const memory = memorySaved(series, k) === null ? "" : `, ${fixed(memorySaved(series, k), 1)} % of the memory of the weights`;
  const before = series.before ? ` Before fine-tuning it lost ${fixed(series.before[k], 2)} points.` : "";
  const sums = `Saves ${fixed(series.saved[k], 2)} % of the energy${memory} and loses ${fixed(series.lost[k], 2)} percentage points of accuracy`
    + `${interval ? ` (95 % interval ${interval})` : ""}; accuracy ${fixed(100 * series.accuracy[k], 2)} % on ${series.images}.${before}`;
  const choices = choicesOf(run, series, k);
  const columns = choices
    ? " Energy: of the layer's multiplier, exact = 100 %. Share: of this design's energy. Saved: of the exact network's energy, in this layer."
    : " Its layers are not known here.";
  caption("panel", sums + columns);
  const position = ascending(series).indexOf(k);
  const slider = element("position");
  slider.max = series.saved.length - 1;
  slider.value = position;
  slider.setAttribute("aria-valuetext", `${name}, saves ${fixed(series.saved[k], 1)} %`);
  element("previous").disabled = position === 0;
  element("next").disabled = position === series.saved.length - 1;
  showSeries(run);
  fillPanelTable(run, choices);
}

/** What else is drawn besides the front, in a list: a keyboard gets there, too. */
function showSeries(run) {
  element("series-choice").hidden = run.designs.length < 2;
  element("series").replaceChildren(...run.designs.map((series, number) => make("option", { value: String(number) }, shortened(series.label, 70))));
  element("series").value = String(view.series);
}

function fillPanelTable(run, choices) {
  if (!choices) { element("panel-table").replaceChildren(); return; }
  const titles = [["layer", "text"], ["multiplier", "text"], ["energy, %", ""], ["share, %", ""], ["saved, %", ""]];
  const head = make("tr", {}, ...titles.map(([title, kind]) => make("th", { className: kind, scope: "col" }, title)));
  const { after, saved } = sharesOf(run, choices);
  const total = after.reduce((a, b) => a + b, 0) || 1;
  const rows = choices.map(([multiplier, energy], l) => {
    const bar = make("i");
    bar.style.width = `${Math.min(100, 100 * energy)}%`;
    return make("tr", {},
      nameCell(run.layers.names[l]), nameCell(multiplier),
      make("td", { className: "bar" }, fixed(100 * energy, 1), bar), make("td", {}, fixed((100 * after[l]) / total, 1)),
      make("td", {}, fixed(saved[l], 2)));
  });
  element("panel-table").replaceChildren(make("thead", {}, head), make("tbody", {}, ...rows));
}

/** Long names may break anywhere, others nowhere. */
function nameCell(name) {
  return make("td", { className: name.length > 22 ? "text name long" : "text name" }, name);
}

/** Percent of the exact network's energy in every layer: before, after, and the difference. */
function sharesOf(run, choices) {
  const counts = run.layers.n_multiplications, sum = counts.reduce((a, b) => a + b, 0) || 1;
  const before = counts.map((n) => (100 * n) / sum);
  const after = before.map((share, l) => share * choices[l][1]);
  return { before, after, saved: before.map((share, l) => share - after[l]) };
}

function drawShare() {
  const run = shownRun(), choices = run.layers.missing ? null : choicesOf(run, shownSeries(), view.point);
  if (isMissing("share", choices ? {} : { missing: run.layers.missing || "The layers of this point are not known here." })) return;
  const { before, after, saved } = sharesOf(run, choices);
  const name = nameOf(shownSeries(), view.point), names = run.layers.names;
  caption("share", `Gray bars are the exact network's multiplication energy by layer, which sums up to 100 %; colored bars are what ${name} `
    + `leaves of it. The gray that still shows is saved: ${fixed(saved.reduce((a, b) => a + b, 0), 1)} % in all.`);
  const hover = names.map((layer, l) => `<b>${plain(layer)}</b><br>${plain(choices[l][0])}<br>${fixed(before[l], 2)} % before, `
    + `${fixed(after[l], 2)} % after`);
  const bar = (y, label, shade, width) => ({
    type: "bar", name: plain(label), x: names.map((_, l) => l), y, width, marker: { color: shade }, hovertext: hover,
    hovertemplate: "%{hovertext}<extra></extra>",
  });
  draw("share-plot", [bar(before, "exact network", color("other"), 0.86), bar(after, name, color("front"), 0.5)], layoutOf({
    barmode: "overlay", xaxis: layerAxis(names, { tickangle: -90 }), yaxis: axis("energy (% of the exact network's)", { rangemode: "tozero" }),
    height: heightBelow(names),
  }));
}

/** Of a picture with names of layers that stand upright: long ones leave the picture its height. */
function heightBelow(names) {
  const longest = Math.max(...names.map((name) => Array.from(shortened(name, isPhone() ? 14 : 26)).length));
  return 420 + 6 * Math.max(0, longest - 12);
}

/** Columns by rising energy saved, as in the picture of the front. */
function drawHeatmap() {
  const run = shownRun(), series = frontOf(run);
  const missing = run.front_missing || run.layers.missing || (series.codes ? "" : "The layers of the points are not known here.");
  if (isMissing("heatmap", { missing })) return;
  const order = ascending(series), names = run.layers.names;
  caption("heatmap", `A row is a layer, a column a point of the front: ${plural(order.length, "point")}, those that save most on the right. `
    + "Bright yellow costs as much as the exact multiplier, the darker the cheaper. Rows that stay bright are layers which bear no errors; those that are dark "
    + "everywhere bear many. Click a column to select its point.");
  const picked = order.map((k) => choicesOf(run, series, k));
  const layerTexts = names.map(plain), pointTexts = order.map((k) => [plain(nameOf(series, k)), fixed(series.saved[k], 1)]);
  const z = names.map((_, l) => picked.map((choices) => 100 * choices[l][1]));
  const phone = isPhone(), height = Math.min(1000, Math.max(300, (names.length > 40 ? 11 : 17) * names.length) + 130);
  const trace = {
    type: "heatmap", z, x: order.map((_, at) => at), y: names.map((_, l) => l), colorscale: "Cividis", zmin: 0,
    zmax: Math.max(100, ...run.layers.choices.map((choice) => 100 * choice[1])),
    customdata: layerTexts.map((layer, l) => picked.map((choices, at) => [layer, plain(choices[l][0]), ...pointTexts[at]])),
    hovertemplate: "<b>%{customdata[0]}</b>: %{customdata[1]}<br>%{z:.1f} % of the exact multiplier's energy<br>%{customdata[2]}, saves "
      + "%{customdata[3]} %<extra></extra>",
    xgap: order.length > 120 ? 0 : 1, ygap: names.length > 60 ? 0 : 1,
    colorbar: phone
      ? { title: { text: "energy (% of exact)", side: "top" }, orientation: "h", y: 1.01, yanchor: "bottom", thickness: 12 }
      : { title: { text: "energy (% of the exact multiplier's)", side: "right" }, thickness: 14 },
  };
  const ticks = tickPositions(order.length, phone ? 6 : 16);
  draw("heatmap-plot", [trace], layoutOf({
    xaxis: axis(phone ? "energy saved (%)" : "energy saved by the point (%)", {
      tickmode: "array", tickvals: ticks, ticktext: ticks.map((at) => fixed(series.saved[order[at]], 0)), showgrid: false,
    }),
    yaxis: layerAxis(names, { autorange: "reversed" }), height, shapes: heatmapShapes(),
  }), ({ x }) => select(view.run, 0, ascending(frontOf(shownRun()))[x]));
}

function tickPositions(n, most) {
  const step = Math.max(1, Math.ceil(n / most));
  return Array.from({ length: n }, (_, k) => k).filter((k) => k % step === 0);
}

/** A frame around the column of the selected point. */
function heatmapShapes() {
  if (view.series !== 0) return [];
  const at = ascending(frontOf(shownRun())).indexOf(view.point);
  const line = { color: "#d55e00", width: frontOf(shownRun()).saved.length > 120 ? 1.5 : 3 };
  return [{ type: "rect", xref: "x", yref: "paper", x0: at - 0.5, x1: at + 0.5, y0: 0, y1: 1, line }];
}

function markColumn() {
  if (element("heatmap-plot").data) Plotly.relayout(element("heatmap-plot"), { shapes: heatmapShapes() });
}

function drawTolerances() {
  const data = shownRun().tolerances;
  if (isMissing("tolerances", data)) return;
  caption("tolerances", "How much noise the outputs of each layer bear while the network keeps its accuracy, relative to their standard deviation; "
    + "on a logarithmic scale. Low layers are sensitive and keep accurate multipliers. Open triangles mean: at least so much.");
  const positions = data.layers.map((_, l) => l);
  const trace = (isSaturated, name, symbol) => {
    const chosen = positions.filter((l) => data.is_saturated[l] === isSaturated);
    return {
      type: "scatter", mode: "markers", name, x: chosen, y: chosen.map((l) => data.sigma[l]),
      marker: { size: 9, symbol, color: color("front"), line: { width: isSaturated ? 2 : 0, color: color("front") } },
      hovertext: chosen.map((l) => `<b>${plain(data.layers[l])}</b><br>${isSaturated ? "at least " : ""}${data.sigma[l].toPrecision(3)}`),
      hovertemplate: "%{hovertext}<extra></extra>", showlegend: chosen.length > 0,
    };
  };
  const traces = [trace(false, "tolerated noise", "circle"), trace(true, "at least", "triangle-up-open")];
  draw("tolerances-plot", traces, layoutOf({
    xaxis: layerAxis(data.layers, { tickangle: -90, range: [-0.7, positions.length - 0.3] }),
    yaxis: axis("tolerated noise / std of the outputs", { type: "log", dtick: 1, exponentformat: "power" }), height: heightBelow(data.layers),
  }));
}
