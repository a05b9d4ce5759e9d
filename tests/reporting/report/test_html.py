"""dse.reporting.report.html: the file, and the page in a browser. Screenshots go to `DSE_SCREENSHOTS`, if it is set."""

import base64
import csv
import hashlib
import io
import os
import re
import shutil
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dse.errors import MissingDependencyError
from dse.files import replace_file
from dse.reporting.report.contents import report_data
from dse.reporting.report.html import GENERATOR, report_html
from dse.runs.run_groups import runs_at
from dse.testing.browser import chromium, wait_until_drawn
from dse.testing.written_runs import written_run

DOUBLE_CLICK_MS = 400
"""Clicks that follow each other faster are one double click."""
PHONE, WIDE = {"width": 360, "height": 740}, {"width": 1280, "height": 900}
HOSTILE_LAYERS = ("</script><img src=x onerror=alert(1)>", 'a "quoted", layer', "Schicht ü 層", "%{x} $x$ {{y}}")
HOSTILE_MULTIPLIERS = ("<b>m</b>", 'm "1", x', "${alert(1)}", "exact")


def html_of(*paths, **options):
    return report_html(report_data(runs_at(paths), **options))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return written_run(tmp_path_factory.mktemp("r") / "run")


@pytest.fixture(scope="module")
def browser():
    started = chromium()
    try:
        found = started.__enter__()
    except MissingDependencyError as error:
        if os.environ.get("DSE_REQUIRE_BROWSER"):
            pytest.fail(f"DSE_REQUIRE_BROWSER is set, but {error}")
        pytest.skip(str(error))
    yield found
    started.__exit__(None, None, None)


class Pages:
    """Opens pages, and collects what goes wrong in them, or is asked of the network."""

    def __init__(self, browser):
        self.browser, self.wrong, self.contexts = browser, [], []

    def open(self, path, *, size=WIDE, **options):
        context = self.browser.new_context(viewport=size, **options)
        self.contexts.append(context)
        page = context.new_page()
        page.on("console", self.on_console)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("dialog", lambda dialog: (self.wrong.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: self.on_request(request.url, path))
        page.goto(path.as_uri())
        wait_until_drawn(page)
        return page

    def on_console(self, message):
        if message.type in ("warning", "error") and "WebGL" not in message.text and "Canvas2D" not in message.text:
            self.wrong.append(message.text)

    def on_request(self, url, path):
        if url.split("#")[0] != path.as_uri() and not url.startswith(("data:", "blob:")):
            self.wrong.append(f"request {url}")

    def close(self):
        for context in self.contexts:
            context.close()
        assert self.wrong == []


@pytest.fixture
def opened(browser, tmp_path):
    """Opens a text as a page, completely drawn; in the end nothing may have gone wrong, and nothing been loaded."""
    pages = Pages(browser)

    def open_page(text, **options):
        (tmp_path / "report.html").write_text(text, encoding="utf-8")
        return pages.open(tmp_path / "report.html", **options)

    yield open_page
    pages.close()


@pytest.fixture(scope="module")
def page(browser, run, tmp_path_factory):
    """Of one run, for tests that leave it as usable as it was."""
    pages, path = Pages(browser), tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html_of(run.path), encoding="utf-8")
    yield pages.open(path)
    pages.close()


def place_of(page, plot, trace, point):
    """Where a mark is, in pixels of the window."""
    page.locator(f"#{plot}").scroll_into_view_if_needed()
    return page.evaluate(
        """([plot, trace, point]) => {
            const found = document.getElementById(plot), layout = found._fullLayout, data = found.data[trace];
            const box = found.getBoundingClientRect();
            return [box.x + layout.xaxis._offset + layout.xaxis.d2p(data.x[point]),
                    box.y + layout.yaxis._offset + layout.yaxis.d2p(data.y[data.type === "heatmap" ? 0 : point])];
        }""",
        [plot, trace, point],
    )


def trace_named(page, start):
    names = page.evaluate("document.getElementById('front-plot').data.map((trace) => trace.name)")
    return next(number for number, name in enumerate(names) if name.startswith(start))


def rows_of(page, table):
    texts = "(row) => Array.from(row.cells, (cell) => cell.innerText)"
    return page.evaluate(f"Array.from(document.querySelectorAll('#{table} tbody tr'), {texts})")


def screenshot(page, tmp_path, name):
    folder = Path(os.environ.get("DSE_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"{name}.png", full_page=True)
    assert (folder / f"{name}.png").stat().st_size > 20_000


class Scripts(HTMLParser):
    """The scripts of a page, as browsers see them."""

    def __init__(self, text):
        super().__init__()
        self.found, self.kinds, self.tags = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == "script":
            self.kinds.append(dict(attributes).get("type", ""))
            self.found.append("")

    def handle_data(self, data):
        if self.lasttag == "script" and self.found:
            self.found[-1] += data

    def handle_endtag(self, tag):
        self.lasttag = ""


def test_the_policy_names_every_script_and_forbids_the_rest(run):
    text = html_of(run.path)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1]
    scripts = Scripts(text)
    executed = [body for kind, body in zip(scripts.kinds, scripts.found, strict=True) if kind == ""]
    assert len(executed) == 3
    for body in executed:
        assert base64.b64encode(hashlib.sha256(body.encode()).digest()).decode() in policy
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy
    assert GENERATOR in text
    assert len(text.encode()) < 8_000_000


def test_names_from_outside_stay_text(tmp_path):
    hostile = written_run(tmp_path / "a <i>&run", layers=HOSTILE_LAYERS, multipliers=HOSTILE_MULTIPLIERS)
    plain = written_run(tmp_path / "plain", layers=tuple("abcd"), multipliers=tuple("abcd"))
    assert Scripts(html_of(hostile.path)).tags == Scripts(html_of(plain.path)).tags


def test_without_plotly_the_install_line_is_said(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'dse\[report\]'"):
        html_of(run.path)


def test_a_click_on_a_point_shows_its_layers(run, page, tmp_path):
    trace = trace_named(page, "front")
    for at in (0, 2):
        point = page.evaluate(f"document.getElementById('front-plot').data[{trace}].customdata[{at}]")
        page.mouse.move(*place_of(page, "front-plot", trace, at))
        page.wait_for_selector(f"#front-plot .hovertext:has-text('point {point}')")
        page.wait_for_timeout(DOUBLE_CLICK_MS)
        page.mouse.click(*place_of(page, "front-plot", trace, at))
        page.wait_for_selector(f"h3:has-text('Point {point}')")
        expected = run.assignment(point)
        shown = rows_of(page, "panel-table")
        assert [row[:2] for row in shown] == expected[["layer", "multiplier"]].values.tolist()
        figures = ("energy_share_pct", 1), ("saved_share_pct", 2)
        for column, (name, digits) in enumerate(figures, start=3):
            assert [row[column] for row in shown] == [f"{v:.{digits}f}".replace("-", "−") for v in expected[name]]
        assert page.get_attribute("tr.chosen", "data-point") == str(point)
    screenshot(page, tmp_path, "clicked")


def test_a_click_on_a_column_selects_its_point(run, page):
    saved = run.front["energy_saved_pct"]
    page.mouse.click(*place_of(page, "heatmap-plot", 0, len(saved) - 1))
    page.wait_for_selector(f"h3:has-text('Point {saved.idxmax()}')")
    assert "colored bars are what point" in page.inner_text("#share-caption")
    shape = page.evaluate("document.getElementById('heatmap-plot').layout.shapes[0].x0")
    assert shape == len(saved) - 1.5


def test_the_keyboard_reaches_every_point(run, page):
    by_saving = run.front.sort_values("energy_saved_pct")["point"].tolist()
    page.focus("#position")
    page.keyboard.press("Home")
    for point in by_saving:
        assert page.inner_text("#panel-title").startswith(f"Point {point}")
        page.keyboard.press("ArrowRight")
    assert page.is_disabled("#next")
    page.click("#previous")
    assert page.inner_text("#panel-title") == f"Point {by_saving[-2]}"
    page.focus("#front-table button.pick")
    page.keyboard.press("Enter")
    assert page.inner_text("#panel-title") == "Point 0"


def downloaded(page):
    with page.expect_download() as download:
        page.click("#download")
    return Path(download.value.path()).read_bytes(), download.value.suggested_filename


def test_the_table_sorts_and_downloads_as_csv(run, page):
    assert downloaded(page) == (run.directory.front.read_bytes(), "front.csv")
    losses = (100 * (run.front.loc[run.front["is_exact"], "accuracy"].iloc[0] - run.front["accuracy"])).round(6)
    for order in ("ascending", "descending"):
        page.click("th[data-column=lost] button")
        assert page.get_attribute("th[data-column=lost]", "aria-sort") == order
        expected = losses.sort_values(ascending=order == "ascending", kind="stable").index.tolist()
        assert [int(row[0]) for row in rows_of(page, "front-table")] == expected
    table = list(csv.DictReader(io.StringIO(downloaded(page)[0].decode())))
    assert [int(row["point"]) for row in table] == expected
    assert table[0]["assignment"] == run.front["assignment"][expected[0]]


def test_colors_follow_the_system_and_the_switch(run, opened, tmp_path):
    page = opened(html_of(run.path), color_scheme="dark")

    def await_colors(background, text):  # pictures are drawn anew when the browser has time
        expected, end = [background, text], time.monotonic() + 20
        shown = """() => [getComputedStyle(document.body).backgroundColor,
                          document.getElementById("front-plot")._fullLayout.font.color]"""
        while (found := page.evaluate(shown)) != expected:  # the page allows no `wait_for_function`, which is eval
            assert time.monotonic() < end, found
            page.wait_for_timeout(50)

    await_colors("rgb(20, 23, 27)", "#e9ecf0")
    screenshot(page, tmp_path, "dark")
    page.select_option("#theme", "light")
    await_colors("rgb(255, 255, 255)", "#1b1f24")
    page.select_option("#theme", "dark")
    await_colors("rgb(20, 23, 27)", "#e9ecf0")
    page.select_option("#theme", "auto")
    page.emulate_media(color_scheme="light")
    await_colors("rgb(255, 255, 255)", "#1b1f24")


@pytest.mark.parametrize("color_scheme", ["light", "dark"])
def test_phones_scroll_in_one_direction(run, opened, tmp_path, color_scheme):
    page = opened(html_of(run.path), size=PHONE, color_scheme=color_scheme, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    page.tap("#next")
    assert page.locator("#panel-table tbody tr").count() == 6
    screenshot(page, tmp_path, f"phone-{color_scheme}")


def test_hostile_names_are_shown_as_they_are(opened, tmp_path):
    hostile = written_run(tmp_path / 'a <i>&"run', layers=HOSTILE_LAYERS, multipliers=HOSTILE_MULTIPLIERS)
    page = opened(html_of(hostile.path))
    assert tuple(row[0] for row in rows_of(page, "panel-table")) == HOSTILE_LAYERS
    assert str(hostile.path) in page.inner_text("#subtitle")
    ticks = page.evaluate("Array.from(document.querySelectorAll('#share-plot .xtick text'), (t) => t.textContent)")
    assert ticks[2:] == list(HOSTILE_LAYERS[2:])
    assert ticks[0].startswith("</script><im")
    page.mouse.move(*place_of(page, "heatmap-plot", 0, 0))
    page.wait_for_selector("#heatmap-plot .hovertext")
    assert HOSTILE_LAYERS[0] in page.text_content("#heatmap-plot .hoverlayer")
    assert page.locator("img[src=x]").count() == 0
    assert downloaded(page)[0] == hostile.directory.front.read_bytes()


def test_the_page_may_not_use_the_network(browser, run, tmp_path):
    (tmp_path / "report.html").write_text(html_of(run.path), encoding="utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "report.html").as_uri())
    refused = "new Promise((done) => document.addEventListener('securitypolicyviolation', (e) => done(e.blockedURI)))"
    address = "https://example.invalid/"
    asked = page.evaluate(f"async () => {{ const r = {refused}; fetch('{address}').catch(() => {{}}); return r; }}")
    assert asked == address
    page.close()


def test_runs_can_be_chosen_by_list_and_by_click(opened, tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        written_run(tmp_path / "runs" / name, seed=seed)
    page = opened(html_of(tmp_path / "runs"))
    assert page.is_visible("#comparison-table")
    assert page.is_visible("#attainment-plot .plot-container")
    page.select_option("#run", "1")
    wait_until_drawn(page)
    assert page.inner_text("#panel-title").startswith("b: Point")
    page.mouse.click(*place_of(page, "front-plot", 0, 3))
    page.wait_for_selector("h3:has-text('a: Point')")
    assert page.eval_on_selector("#run", "(e) => e.value") == "0"
    assert downloaded(page)[1] == "a-front.csv"


def test_memory_is_a_third_objective(run, opened):
    data = report_data(runs_at([run.path]))
    n_points = len(run.front)
    data["runs"][0]["has_memory"] = True
    data["runs"][0]["designs"][0]["memory"] = [90.0 - 10 * k for k in range(n_points)]
    page = opened(report_html(data))
    assert page.is_visible("#memory-accuracy-plot .plot-container")
    assert "needs less memory" in page.inner_text("#front-caption")
    page.mouse.click(*place_of(page, "memory-energy-plot", 0, n_points - 1))
    page.wait_for_selector("h3:has-text('Point 0')")
    assert "90.0 % of the memory of the weights" in page.inner_text("#panel-caption")
    page.click("th[data-column=memory] button")
    assert rows_of(page, "front-table")[-1][2] == "90.0"


def test_every_mark_of_one_run_can_be_clicked(run, opened):
    data = report_data(runs_at([run.path]))
    shown = data["runs"][0]
    front, others = shown["designs"]
    exact = front["exact"][0]
    made = [
        front | {"kind": kind, "noun": noun, "label": kind, "exact": [], "saved": [saved], "lost": [lost]}
        for kind, noun, saved, lost in (("points", "operating point", 20.0, 12.0), ("tuned", "fine-tuned", 30.0, 13.0))
    ]
    others["saved"][:2], others["lost"][:2] = [front["saved"][exact] + 0.2, 40.0], [front["lost"][exact], 14.0]
    shown["designs"] = [front, *made, others]
    page = opened(report_html(data))
    last = str(len(shown["designs"]) - 1)
    first, second = (f"Evaluation {name}" for name in others["names"][:2])

    def click_at(start, point, title):
        trace, end = trace_named(page, start), time.monotonic() + 60
        at = page.evaluate(f"document.getElementById('front-plot').data[{trace}].customdata.indexOf({point})")
        while page.inner_text("#panel-title") != title:  # a busy machine may take two clicks for a double one
            assert time.monotonic() < end, page.inner_text("#panel-title")
            page.wait_for_timeout(DOUBLE_CLICK_MS)
            page.mouse.click(*place_of(page, "front-plot", trace, at))
            page.wait_for_timeout(DOUBLE_CLICK_MS)

    for start, point, title in (
        ("points", 0, "Operating point 0"), ("tuned", 0, "Fine-tuned 0"), ("other", 1, second),
        ("other", 0, f"Point {front['names'][exact]}, the exact network"),  # it lies below, though it is smaller
    ):  # fmt: skip
        click_at(start, point, title)
    page.wait_for_selector("#front-plot .hovertext:has-text('exact network')")
    page.select_option("#series", last)
    page.focus("#position")
    page.keyboard.press("Home")
    assert page.inner_text("#panel-title") == f"Evaluation {_least_saved(others)}"
    click_at("other", 1, second)
    assert first != second
    choices = [name for name, _ in shown["layers"]["choices"]]
    assert [row[1] for row in rows_of(page, "panel-table")] == [choices[code] for code in others["codes"][1]]
    assert "on 600 search images" in page.inner_text("#panel-caption")


def _least_saved(series):
    return series["names"][min(range(len(series["saved"])), key=lambda k: series["saved"][k])]


def test_missing_sections_say_why(run, opened, tmp_path):
    path = shutil.copytree(run.path, tmp_path / "run")
    for name in ("front.csv", "predictions.csv", "tolerances.csv"):
        (path / name).unlink()
    page = opened(html_of(path))
    assert "search is not finished" in page.inner_text("#predictions-caption")
    assert page.locator("#predictions-plot svg").count() == 0
    assert "flatter the designs" in page.inner_text("#front-caption")
    assert "was interrupted" in page.inner_text("#notes")
    assert page.is_hidden("#watch")
    for name in ("manifest.json", "evaluations.jsonl", "generations.csv"):
        (path / name).unlink()
    page = opened(html_of(path))
    assert "has not begun" in page.inner_text("#front-caption")
    assert page.is_hidden("#panel")
    assert page.is_hidden("#download")


def test_a_reloaded_page_keeps_what_was_selected(run, opened, tmp_path):
    path = shutil.copytree(run.path, tmp_path / "run")
    (path / "front.csv").unlink()
    page = opened(html_of(path, refresh_s=3600.0))
    assert "The search goes on" in page.inner_text("#watch-text")
    page.click("#next")
    design = rows_of(page, "panel-table")
    page.evaluate("window.scrollTo(0, 700)")
    (tmp_path / "report.html").write_text(html_of(run.path), encoding="utf-8")
    page.reload()
    wait_until_drawn(page)
    assert rows_of(page, "panel-table") == design  # the number of the point may be another one now
    assert 500 < page.evaluate("window.scrollY") < 900
    assert page.is_hidden("#watch")


def test_a_watched_page_reloads_itself(run, opened, tmp_path):
    path = shutil.copytree(run.path, tmp_path / "run")
    (path / "front.csv").unlink()
    page = opened(html_of(path, refresh_s=1.0))
    assert page.inner_text("#subtitle").endswith("interrupted")
    replace_file(tmp_path / "report.html", html_of(run.path))
    page.wait_for_selector("#subtitle:has-text('finished')", timeout=60_000)


def test_a_page_that_nobody_writes_any_more_says_so(run, opened):
    text = html_of(run.path, refresh_s=1.0)
    written = re.search(r'"written_s":([0-9.]+)', text)[1]
    page = opened(text.replace(f'"written_s":{written}', f'"written_s":{time.time() - 1000}'))
    assert "nobody writes it again" in page.inner_text("#watch-text")
    assert page.is_hidden("#watch-pause")


def test_a_real_run_opens(opened):
    page = opened(html_of(Path(__file__).parents[2] / "assets" / "run_format_2"))
    assert page.title() == "digits_cnn, digits, accelerator free"
    assert page.locator("#front-table tbody tr").count() > 1


def test_a_page_that_is_written_seldom_is_not_given_up(run, opened):
    text = html_of(run.path, refresh_s=300.0)
    written = re.search(r'"written_s":([0-9.]+)', text)[1]
    page = opened(text.replace(f'"written_s":{written}', f'"written_s":{time.time() - 290}'))
    assert "The search goes on" in page.inner_text("#watch-text")


def test_names_of_multipliers_do_not_lie_on_each_other(run, opened):
    data = report_data(runs_at([run.path]))
    library = data["runs"][0]["library"]
    n = len(library["names"])
    library["energy_rel"], library["is_used"] = [0.9 + 0.005 * m for m in range(n - 1)] + [1.0], [True] * n
    library["error"] = [0.5] * (n - 1) + [0.0]
    page = opened(report_html(data))
    names = "document.querySelectorAll('#library-plot .textpoint text')"
    boxes = page.evaluate(f"Array.from({names}, (text) => text.getBoundingClientRect().toJSON())")
    assert 3 <= len(boxes) < n
    for k, a in enumerate(boxes):
        for b in boxes[:k]:
            assert (
                a["right"] <= b["left"] or b["right"] <= a["left"] or a["bottom"] <= b["top"] or b["bottom"] <= a["top"]
            )
