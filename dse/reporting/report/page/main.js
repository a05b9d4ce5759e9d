// Puts everything on the page, and answers clicks.
function select(run, series, point) {
  const isOtherRun = run !== view.run;
  Object.assign(view, { run, series, point, isChosen: true });
  if (isOtherRun) { drawAll(); } else { markSelected(); markColumn(); markMemory(); markRow(); showPanel(); if (!waiting.has("share")) drawShare(); }
  keepView();
}

function step(by) {
  const series = shownSeries(), order = ascending(series);
  const to = order.indexOf(view.point) + by;
  if (to >= 0 && to < order.length) select(view.run, view.series, order[to]);
}

function chooseRun(number) {
  const series = frontOf(report.runs[number]);
  select(number, 0, series ? bestPoint(series) : 0);
}

function drawAll() {
  showHeader(); showPanel(); showComparison();
  drawFront();
  for (const [id, drawer] of LATER) drawSoon(id, drawer);
  showTable(); showMade();
  element("attainment").hidden = !(report.comparison && report.comparison.attainment.length);
  element("memory").hidden = !shownRun().has_memory;
  showContents();
  element("run").value = String(view.run);
  drawRest();
}

const LATER = [
  ["attainment", drawAttainment], ["memory", drawMemory], ["heatmap", drawHeatmap], ["share", drawShare], ["tolerances", drawTolerances],
  ["progress", drawProgress], ["predictions", drawPredictions], ["library", drawLibrary],
];

function listen() {
  element("theme").value = window.dseTheme.choice;
  element("theme").addEventListener("change", (event) => { window.dseTheme.choose(event.target.value); drawAll(); });
  window.dseTheme.onSystemChange(drawAll);
  element("previous").addEventListener("click", () => step(-1));
  element("next").addEventListener("click", () => step(1));
  element("position").addEventListener("input", (event) => select(view.run, view.series, ascending(shownSeries())[Number(event.target.value)]));
  element("download").addEventListener("click", download);
  element("series").addEventListener("change", (event) => {
    const number = Number(event.target.value);
    select(view.run, number, bestPoint(shownRun().designs[number]));
  });
  element("run-choice").hidden = report.runs.length < 2;
  if (report.runs.length > 1) {
    element("run").append(...report.runs.map((run, number) => make("option", { value: String(number) }, run.name)));
    element("run").addEventListener("change", (event) => chooseRun(Number(event.target.value)));
  }
  window.addEventListener("beforeprint", drawEverything);
  let wasPhone = isPhone();
  window.addEventListener("resize", () => { if (isPhone() !== wasPhone) { wasPhone = isPhone(); drawAll(); } });
}

/** `dse report --watch` writes more often than that while it runs. */
const staleAfterS = () => Math.max(90, 3 * report.refresh_s);

/** The file is written again while a run goes on: look at it every few seconds, unless nobody looks. */
function watch() {
  element("watch").hidden = !report.refresh_s;
  if (!report.refresh_s) return;
  const age = Date.now() / 1000 - report.written_s;
  if (age > staleAfterS()) {
    element("watch-text").textContent = `This page was written on ${report.written}, and nobody writes it again: start dse report --watch, then reload.`;
    element("watch-pause").hidden = true;
    return;
  }
  let isPaused = false;
  element("watch-text").textContent = `The search goes on: this page reloads itself every ${report.refresh_s} seconds (written ${report.written}).`;
  element("watch-pause").addEventListener("click", (event) => {
    isPaused = !isPaused;
    event.target.textContent = isPaused ? "Go on" : "Pause";
  });
  setInterval(() => {
    if (isPaused || document.hidden) return;
    keepView();
    location.reload();
  }, 1000 * report.refresh_s);
}

function begin() {
  const kept = restoredView();
  Object.assign(view, kept || { run: 0, series: 0, point: bestPoint(frontOf(report.runs[0])) });
  listen();
  drawAll();
  if (kept) { drawEverything(); window.scrollTo(0, kept.scroll); }
  window.addEventListener("pagehide", keepView);
  watch();
  performance.mark("dse-opened");
}

begin();
