// Text around the pictures: facts in short, runs side by side, how a run was made, what goes on.
function showHeader() {
  const run = shownRun();
  document.title = element("title").textContent = report.title;
  element("subtitle").textContent = report.runs.length > 1 ? `Figures and pictures of layers are those of the run in the list: ${run.name}`
    : `${run.path} · ${run.state}`;
  const notes = [...report.notes, ...run.notes];
  element("notes").replaceChildren(...notes.map((note) => make("p", { className: "notice" }, note)));
  element("facts").replaceChildren(...run.facts.map(({ label, value, detail }) => make("div", {},
    make("dt", {}, label), make("dd", {}, value), ...(detail ? [make("dd", { className: "detail" }, detail)] : []))));
  element("footer").textContent = `Written by dse ${report.dse} on ${report.written}. This file is complete: it loads nothing and sends nothing.`;
}

function showContents() {
  const sections = Array.from(document.querySelectorAll("main section")).filter((section) => !section.hidden);
  element("contents").replaceChildren(...sections.map((section) => make("a", { href: "#" + section.id }, SHORT_NAMES[section.id])));
}

const SHORT_NAMES = {
  comparison: "Comparison", front: "Front", attainment: "Seeds", memory: "Memory", heatmap: "Layers", share: "Energy", tolerances: "Tolerances",
  progress: "Search", predictions: "Predictions", library: "Multipliers", table: "Table", made: "How it was made",
};

function showComparison() {
  const found = report.comparison;
  element("comparison").hidden = !found;
  if (!found) return;
  caption("comparison", found.caption);
  const head = make("tr", {}, ...found.columns.map(({ title, is_text }) => make("th", { scope: "col", className: is_text ? "text" : "" }, title)));
  const rows = found.rows.map((cells, number) => {
    const made = cells.map((cell, c) => make("td", { className: found.columns[c].is_text ? "text name" : "" }, cell));
    const swatch = make("span", { "aria-hidden": "true" }, "■ ");
    swatch.style.color = runColor(report.runs[number].group);
    made[0].prepend(swatch);
    return make("tr", {}, ...made);
  });
  element("comparison-table").replaceChildren(make("thead", {}, head), make("tbody", {}, ...rows));
}

function pairs(entries) {
  return make("dl", { className: "pairs" }, ...entries.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

function folded(title, content, isOpen) {
  return make("details", { open: Boolean(isOpen) }, make("summary", {}, title), content);
}

function showMade() {
  const made = shownRun().made;
  caption("made", made.caption);
  const parts = [make("pre", {}, make("code", {}, made.command))];
  parts.push(make("h3", {}, "Settings that are not dse's defaults"));
  parts.push(made.changed.length ? pairs(made.changed) : make("p", {}, "None: all are the defaults."));
  if (made.origin.length) parts.push(make("h3", {}, "Data, seed, machine"), pairs(made.origin));
  parts.push(folded("All settings (resolved.toml)", make("pre", {}, make("code", {}, made.settings))));
  if (made.versions.length) parts.push(folded("Versions", pairs(made.versions)));
  if (made.hashes.length) parts.push(folded("Hashes of what decides the results (SHA-256)", pairs(made.hashes)));
  element("made-body").replaceChildren(...parts);
}
