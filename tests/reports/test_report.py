"""The report, opened in a headless browser."""

from __future__ import annotations

import json
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import lossfit
from lossfit.reports import report
from lossfit.reports.curves import LEAST_EACH, points_each, thinned
from lossfit.reports.page import embedded
from lossfit.reports.tables import safe
from tests.browser import Browser, executable
from tests.curves import power_runs

READY = "document.documentElement.dataset.ready === 'yes'"
PWNED = '<script>window.pwned=1</script><img src=x onerror="window.pwned=1">'
NAMES = (
    PWNED,
    "</script><script>window.pwned=1</script>",
    "<!--<script>",
    '"><svg onload=window.pwned=1>',
    '<a href="javascript:window.pwned=1">%{x}<extra>{{y}}</extra></a>',
    "__proto__",
    "naïve \u202egnp.exe\u202c & $x^2$ <b>bold</b>",
    "constructor " + "x" * 300,
)


def run_data(page):
    """The data that the figures draw."""
    text = page.split('<script type="application/json" id="data">')[1].split("</script>")[0]
    return json.loads(text)


def decoded(text):
    import base64

    return np.frombuffer(base64.b64decode(text), "<f4")


def quiet(*args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lossfit.LossfitWarning)
        return report(*args, **{"most_phases": 0, **options})


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "llama2.html"
    return quiet("llama2", path, run="llama2-7B", compute_of="llama2-70B", draws=200, most_phases=2)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    frame = power_runs(len(NAMES), tokens_per_step=1000).frame.drop(columns="spike")
    names = dict(zip((f"run{i}" for i in range(len(NAMES))), NAMES, strict=True))
    frame["run"] = frame["run"].map(names)
    frame.loc[3, "loss"] = np.nan  # so that cleaning has something to say of the first run
    path = tmp_path_factory.mktemp("report") / "hostile.html"
    runs = lossfit.Runs.from_frame(frame)
    return quiet(runs, path, draws=50, beside=["power"], title=f"Runs of {PWNED}")


@pytest.fixture(scope="module")
def browser():
    if executable() is None:
        pytest.skip("no chromium on this machine (LOSSFIT_CHROMIUM can name one)")
    with Browser() as found:
        yield found


@pytest.fixture
def page(browser, llama):
    browser.size(1400, 900)
    browser.open(llama.path, READY)
    return browser


def test_the_answer_comes_first_and_is_the_librarys(llama):
    html = llama.path.read_text("utf-8")
    answer = llama.answer
    row = answer.frame.iloc[0]
    assert html.index(f"<strong>{row['median']:.3f}</strong>") < html.index('id="race"')
    assert f"90 % interval {row['lower']:.3f} to {row['upper']:.3f}" in html
    assert safe(str(answer)) in html
    for flag in ("far", "untested"):
        assert f"<strong>{flag}</strong>" in html
    assert "Record: " in html
    order = [html.index(f'<section id="{key}"') for key in (
        "answer", "race", "bands", "phases", "diagnostics",
    )]  # fmt: skip
    assert order == sorted(order)


def test_what_is_drawn_is_what_was_computed(llama):
    data = run_data(llama.path.read_text("utf-8"))
    answer = llama.answer
    run = data["runs"][0]
    assert run["n"] == "llama2-7B"
    assert run["e"]["gpu_hours"] == llama.runs["llama2-7B"].end("gpu_hours")
    row = answer.frame.iloc[0]
    ((share, intervals),) = run["t"]
    assert share == pytest.approx(row["horizon_ratio"])
    assert intervals[0] == pytest.approx([row["lower"], row["median"], row["upper"]], abs=1e-6)
    by_law = answer.by_law.set_index("law")
    names = [law["n"] for law in data["laws"]]
    assert names[0] == "learned"
    for name in ("power", "power_linear"):
        found = intervals[names.index(name)]
        assert found[1] == pytest.approx(by_law.loc[name, "median"], abs=1e-6)
    # The band's last place is the target; a predictive band holds the band of the curve.
    band = decoded(run["b"][0]).reshape(5, -1)
    assert band[1, -1] == pytest.approx(row["median"], abs=0.02)
    slack = 0.1 * (band[2] - band[0])  # both are quantiles of 200 draws
    assert (band[3] <= band[0] + slack).all()
    assert (band[4] >= band[2] - slack).all()
    assert decoded(run["y"])[-1] == pytest.approx(llama.runs["llama2-7B"].loss[-1])


def test_the_predictive_band_is_the_posterior_predictive(llama):
    """Against noise drawn independently for the same recipe."""
    run = run_data(llama.path.read_text("utf-8"))["runs"][0]
    band, grid = decoded(run["b"][1]).reshape(5, -1), decoded(run["g"])
    law = run_data(llama.path.read_text("utf-8"))["laws"][1]["n"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lossfit.LossfitWarning)
        fit = lossfit.fit(
            llama.runs.select(["llama2-7B"]), law=law, axis="gpu_hours", draws=4000, random_seed=9
        )
    at = grid[[0, 20, 40]].astype(float) * run["e"]["gpu_hours"]
    noisy = fit.predict(at, noise=True).values.reshape(-1, 3)
    low, high = np.quantile(noisy, [0.05, 0.95], axis=0)
    sd = noisy.std(axis=0)
    assert np.abs(band[3, [0, 20, 40]] - low).max() < 0.4 * sd.max()
    assert np.abs(band[4, [0, 20, 40]] - high).max() < 0.4 * sd.max()


def test_the_same_seed_gives_the_same_page(tmp_path):
    runs = power_runs(3, tokens_per_step=1000)
    pages = [quiet(runs, tmp_path / f"{i}.html", draws=50, beside=["power"]) for i in range(2)]
    assert pages[0].path.read_bytes() == pages[1].path.read_bytes()
    other = quiet(runs, tmp_path / "other.html", draws=50, beside=["power"], random_seed=1)
    assert other.path.read_bytes() != pages[0].path.read_bytes()


def test_targets_when_nothing_is_asked(tmp_path):
    runs = power_runs(3, ragged=False).with_schedule(
        {
            "run0": lossfit.schedules.cosine(peak=1e-3, total=3000),
            "run1": lossfit.schedules.cosine(peak=1e-3, total=1000),
        }
    )
    made = quiet(runs, tmp_path / "r.html", draws=50, beside=[])
    assert made.frame["at"].tolist() == [3000.0, 2000.0, 2000.0]
    html = made.path.read_text("utf-8")
    assert "each run at the end of its plan (1 run) and twice its data (2 runs)" in html
    with pytest.warns(lossfit.LossfitWarning, match="schedule"):
        made = report(
            runs, tmp_path / "t.html", draws=50, beside=[], total=1500.0, run="run2", most_phases=0
        )
    assert made.frame["at"].tolist() == [1500.0]


def test_phases_are_of_the_rates_that_runs_had(tmp_path):
    """... not of the schedules that are given for what comes."""
    plan = lossfit.schedules.cosine(1e-3, 2000)
    frame = power_runs(3, ragged=False).frame.drop(columns="spike")
    logged = (frame["run"] == "run0") | ((frame["run"] == "run2") & (frame["step"] < 100))
    frame["lr"] = np.where(logged, plan(frame["step"]), np.nan)
    coming = {"run0": lossfit.schedules.constant(1e-3), "run1": plan, "run2": plan}
    runs = lossfit.Runs.from_frame(frame)
    made = quiet(runs, tmp_path / "r.html", draws=50, beside=[], schedule=coming, most_phases=3)
    gains = made.phases.frame.groupby("run")["schedule_gain"].first()
    alone = lossfit.phases(runs.select(["run0"]), draws=50).frame["schedule_gain"]
    assert gains["run0"] == pytest.approx(alone[0])
    assert np.isfinite(gains["run1"])
    assert np.isfinite(gains["run2"])  # too little of its rate was logged to be known


def test_thinning_keeps_ends_and_extremes():
    rng = np.random.default_rng(0)
    x = np.arange(1, 100_001) / 1e5
    loss = 2 + x**-0.3 + rng.normal(0, 0.05, x.size)
    loss[77_000] = 9.0
    keep = thinned(x, loss, 400)
    assert len(keep) <= 500
    assert keep[0] == 0
    assert keep[-1] == x.size - 1
    assert 77_000 in keep
    assert (np.diff(keep) > 0).all()
    # Nothing seen lies outside of what is drawn: strip by strip the range is the same.
    for low, high in ((0.5, 0.52), (0.001, 0.0013)):
        inside = (x >= low) & (x <= high)
        mine = keep[inside[keep]]
        assert np.ptp(loss[mine]) > 0.8 * np.ptp(loss[inside])
    assert points_each(10**6) == LEAST_EACH
    few = thinned(x[:10], loss[:10], 400)
    assert few.tolist() == list(range(10))


@pytest.mark.parametrize("name", NAMES)
def test_embedded_json_cannot_end_its_element(name):
    text = embedded({"n": name})
    assert not re.search("[<>&]", text)
    assert json.loads(text)["n"] == name


def test_names_are_text_in_the_file(hostile):
    html = hostile.path.read_text("utf-8")
    for sign in ("<img src=x", "<svg", "<script>window", 'javascript:window.pwned=1">'):
        body = re.sub(r"<script.*?</script>", "", html, flags=re.S)
        assert sign not in body
    assert "&lt;script&gt;window.pwned=1&lt;/script&gt;" in html
    assert "\u202e" not in html


def test_names_are_text_in_the_browser(browser, hostile):
    browser.size(1400, 900)
    browser.open(hostile.path, READY)
    assert browser.run("document.querySelector('h1').textContent") == f"Runs of {PWNED}"
    names = browser.run("[...document.querySelectorAll('#run option')].map(o => o.textContent)")
    assert sorted(names) == sorted(NAMES)
    for i in range(len(NAMES)):  # every name through every figure
        browser.run(
            f"(() => {{ const s = document.querySelector('#run'); s.value = '{i}';"
            "s.dispatchEvent(new Event('change')); })()"
        )
        browser.settle()
    browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    legend = browser.run(
        "[...document.querySelectorAll('.legendtext')].map(t => t.textContent).join('\\n')"
    )
    assert "<script>window.pwned=1</script><img src=x" in legend
    assert "<!--<script>" in legend
    assert "<b>bold</b>" in legend  # plotly would make it bold
    box = browser.run(
        "(() => { const p = document.querySelector('#focus'); p.scrollIntoView({block: 'center'});"
        "const b = p.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; })()"
    )
    for k in range(30):  # hover labels
        browser.move(box[0] + 80 + k * (box[2] - 160) / 30, box[1] + box[3] * 0.6)
    browser.settle()
    assert browser.run("document.querySelectorAll('img, svg [onload], iframe, object').length") == 0
    assert browser.run("window.pwned") is None
    assert browser.errors == []
    assert browser.requests == []


def test_the_policy_would_stop_markup_that_got_through(browser, hostile):
    """The second fence, without the first: markup put into the page does not run."""
    browser.open(hostile.path, READY)
    browser.run(
        "document.body.insertAdjacentHTML('beforeend',"
        '\'<img src="http://127.0.0.1:9/x.png" onerror="window.pwned=1">\');'
        "(() => { const s = document.createElement('script'); s.textContent = 'window.pwned = 2';"
        "document.body.append(s); })(); fetch('http://127.0.0.1:9/').catch(() => 0).then(() => 1)"
    )
    browser.settle()
    assert browser.run("window.pwned") is None
    assert any("Content Security Policy" in said for said in browser.errors)


def test_it_opens_without_complaint_or_network(page):
    page.settle()
    assert page.errors == []
    assert page.requests == []
    drawn = "[...document.querySelectorAll('.plot')].map(p => p.querySelectorAll('path').length)"
    assert min(page.run(drawn)) > 0
    labels = page.run("[...document.querySelectorAll('.plot')].map(p => p.ariaLabel)")
    assert all(len(label) > 30 for label in labels)


def test_the_axis_changes_what_is_drawn(page, llama):
    last = "Math.max(...document.querySelector('#focus').data.find(t => t.mode === 'markers').x)"
    title = "document.querySelector('#focus .xtitle').textContent"
    assert page.run(title) == "GPU-hours"
    run = llama.runs["llama2-7B"]
    assert page.run(last) == pytest.approx(run.end("gpu_hours"), rel=1e-5)
    for axis, words in (("tokens", "training tokens"), ("step", "training step"),
                        ("flops", "training FLOP")):  # fmt: skip
        page.run(
            f"(() => {{ const s = document.querySelector('#axis'); s.value = '{axis}';"
            "s.dispatchEvent(new Event('change')); })()"
        )
        page.settle()
        assert page.run(title) == words
        assert page.run(last) == pytest.approx(run.end(axis), rel=1e-5)
        assert page.run("document.querySelector('#race-loss .xtitle').textContent") == words
        ends = page.run("document.querySelector('#race-leader').data.map(t => t.x.at(-1))")
        most = max(run.end(axis) for run in llama.runs)
        assert ends == pytest.approx([most] * len(ends), rel=1e-5)
    path = "document.querySelector('#focus .scatterlayer .js-line').getAttribute('d')"
    log = page.run(path)
    page.click("input[value=linear]")
    assert page.run("document.querySelector('#focus').layout.xaxis.type") == "linear"
    assert page.run(path) != log
    assert page.errors == []


def test_the_race_is_the_librarys(llama):
    race = llama.race
    data = run_data(llama.path.read_text("utf-8"))["race"]
    assert data["axis"] == race.axis == "gpu_hours"
    mine = data["on"]["gpu_hours"]
    at = decoded(mine["at"]).astype(float)
    shares = race.leader(np.minimum(at, race.until))
    for leader in mine["leaders"]:
        assert decoded(leader["p"]) == pytest.approx(shares[leader["n"]].to_numpy(), abs=0.02)
    found = race.overtakes(least=0.05)
    assert len(mine["marks"]) == len(found)
    first = found.iloc[0]
    wanted = (first.overtaker, first.overtaken, first["rank"])
    mark = next(m for m in mine["marks"] if (m["a"], m["b"], m["k"]) == wanted)
    assert mark["x"] == pytest.approx(first[["lower", "median", "upper"]].tolist())
    frontier = race.frontier()
    line = decoded(mine["frontier"]["b"]).reshape(3, -1)
    x = decoded(mine["frontier"]["x"])
    assert np.interp(x, frontier["at"], frontier["median"]) == pytest.approx(line[1], abs=1e-4)


def test_the_phases_are_the_librarys(llama):
    data = run_data(llama.path.read_text("utf-8"))["phases"]
    frame = llama.phases.frame
    assert [one["i"] for one in data] == [0, 1]
    row = frame[(frame["run"] == "llama2-7B") & (frame["phase"] == "linear")].iloc[0]
    begin = next(b for b in data[0]["begins"] if b["n"] == "line")
    assert begin["p"] == pytest.approx(row["prob_exists"], abs=1e-3)
    assert begin["x"] == pytest.approx(
        [row["share_lower"], row["share_median"], row["share_upper"]]
    )


def test_the_law_changes_the_band_and_the_words(page, llama):
    by_law = llama.answer.by_law.set_index("law")
    caption = "document.querySelector('#focus-caption').textContent"
    target = "document.querySelector('#focus').data.find(t => t.name === 'at the target').y[0]"
    assert f"learned gives {by_law.loc['learned', 'median']:.3f}" in page.run(caption)
    names = page.run("[...document.querySelectorAll('#law option')].map(o => o.textContent)")
    assert names[:3] == ["learned (the answer)", "power", "power_linear"]
    page.run(
        "(() => { const s = document.querySelector('#law'); s.value = '1';"
        "s.dispatchEvent(new Event('change')); })()"
    )
    page.settle()
    assert page.run(target) == pytest.approx(by_law.loc["power", "median"], abs=1e-5)
    assert f"power gives {by_law.loc['power', 'median']:.3f}" in page.run(caption)
    assert page.errors == []


HEADLINE = "document.querySelector('#headline').textContent"


def choose(browser, i):
    browser.run(
        f"(() => {{ const s = document.querySelector('#run'); s.value = '{i}';"
        "s.dispatchEvent(new Event('change')); })()"
    )
    browser.settle()


def test_the_headline_follows_the_run(page, llama, hostile):
    row = llama.frame.iloc[0]
    first = page.run(HEADLINE)
    assert first.startswith(f"{row['median']:.3f}")
    choose(page, 1)
    assert page.run(HEADLINE) == "\u2013 Nothing was asked of llama2-13B."
    assert page.run("document.querySelector('#answer .facts').hidden")
    choose(page, 0)
    assert page.run(HEADLINE) == first
    assert not page.run("document.querySelector('#answer .facts').hidden")
    page.open(hostile.path, READY)
    frame = hostile.frame.set_index("run")
    names = page.run("[...document.querySelectorAll('#run option')].map(o => o.textContent)")
    lowest = frame["median"].idxmin()
    i = next(i for i, name in enumerate(names) if name != lowest and "\u202e" not in name)
    choose(page, i)
    row = frame.loc[names[i]]
    said = page.run(HEADLINE)
    interval = f"90 % interval {row['lower']:.3f} to {row['upper']:.3f}"
    assert said.startswith(f"{row['median']:.3f} {interval}: {names[i]} at ")


def test_hover_says_the_interval(page, llama):
    row = llama.frame.iloc[0]
    text = "document.querySelector('#focus').data.find(t => t.name === 'at the target').text[0]"
    assert page.run(text).endswith(f"<br>90 %: {row['lower']:.4f} to {row['upper']:.4f}")
    for figure in ("focus", "curves", "race-loss", "phase"):
        lines = page.run(
            f"document.querySelector('#{figure}').data.filter(t => t.mode === 'lines' && "
            "t.text && t.text[0].includes('<br>90 %: ')).length"
        )
        assert lines > 0, figure


def test_dark_where_the_reader_has_it_so_and_white_on_paper(page, llama, tmp_path):
    colours = (
        "[getComputedStyle(document.body).backgroundColor,"
        "document.querySelector('#focus').layout.paper_bgcolor]"
    )
    light = ["rgb(255, 255, 255)", "#ffffff"]
    dark = ["rgb(20, 24, 29)", "#14181d"]
    printed = (
        "window.papers = []; addEventListener('beforeprint', () => "
        "papers.push(document.querySelector('#focus').layout.paper_bgcolor))"
    )
    assert page.run(colours) == light
    try:
        for scheme, wanted in (("dark", dark), ("light", light), ("dark", dark)):
            one = {"name": "prefers-color-scheme", "value": scheme}
            page.call("Emulation.setEmulatedMedia", features=[one])
            page.settle()
            assert page.run(colours) == wanted
        page.run(printed)
        page.pdf(tmp_path / "page.pdf")
        assert page.run("papers") == ["#ffffff"]
        assert page.run(colours) == dark
        assert page.errors == []
    finally:
        page.call("Emulation.setEmulatedMedia", features=[])


def test_without_javascript_there_is_a_picture_and_no_empty_control(browser, llama):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(llama.path)
        width = browser.run("document.querySelector('#picture noscript img').naturalWidth")
        assert width > 500
        assert browser.run("document.querySelector('#tools').offsetHeight") == 0
        assert f"{llama.frame['median'][0]:.3f}" in browser.run(HEADLINE)
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)


def test_for_readers_who_do_not_see(page):
    """What axe-core asks of such a page; all of its rules passed when they were last run."""
    page.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert (
        page.run("document.querySelectorAll('[role=img] :is(a, button, [tabindex])').length") == 0
    )
    named = "[...document.querySelectorAll('select, input')].every(e => e.labels.length === 1)"
    assert page.run(named)
    still = (
        "[...document.querySelectorAll('pre')]"
        ".every(e => e.scrollWidth <= e.clientWidth && e.scrollHeight <= e.clientHeight)"
    )
    assert page.run(still)
    levels = page.run("[...document.querySelectorAll('h1, h2, h3')].map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert max(np.diff(levels)) <= 1


def test_a_page_is_small(llama):
    assert llama.size < 2e6
    source = (llama.path.read_text("utf-8")).split("<script>")[1]
    assert "plotly.js (basic" in source[:200]


def test_zoom_and_hover(page):
    page.run("document.querySelector('#focus').scrollIntoView({block: 'center'})")
    spot = page.run(
        "(() => { const m = document.querySelectorAll('#focus .points path');"
        "const b = m[m.length - 20].getBoundingClientRect(); return [b.x + 1, b.y + 1]; })()"
    )
    page.move(*spot)
    page.wait("document.querySelector('#focus .hoverlayer text') !== null")
    words = page.run("document.querySelector('#focus .hoverlayer').textContent")
    assert "GPU-hours" in words
    assert "llama2-7B" in words
    ranges = "document.querySelector('#focus').layout.xaxis.range.slice()"
    before = page.run(ranges)
    box = page.run(
        "(() => { const b = document.querySelector('#focus .nsewdrag').getBoundingClientRect();"
        "return [b.x, b.y, b.width, b.height]; })()"
    )
    start, stop = (box[0] + 0.3 * box[2], box[1] + 60), (box[0] + 0.6 * box[2], box[1] + 200)
    mouse = {"button": "left", "clickCount": 1}
    page.call("Input.dispatchMouseEvent", type="mousePressed", x=start[0], y=start[1], **mouse)
    for share in (0.3, 0.7, 1.0):
        page.call(
            "Input.dispatchMouseEvent", type="mouseMoved", buttons=1, button="left",
            x=start[0] + share * (stop[0] - start[0]), y=start[1] + share * (stop[1] - start[1]),
        )  # fmt: skip
    page.call("Input.dispatchMouseEvent", type="mouseReleased", x=stop[0], y=stop[1], **mouse)
    page.settle()
    after = page.run(ranges)
    assert after[0] > before[0]
    assert after[1] < before[1]
    assert page.errors == []


def test_runs_are_chosen_found_and_sorted(page):
    chosen = "document.querySelector('#focus-caption').textContent.split(':')[0]"
    assert page.run(chosen) == "llama2-7B"
    page.click("#diagnostics > .scroll tbody tr:nth-child(3) button.run")
    assert page.run(chosen) == "llama2-34B"
    assert page.run("document.querySelector('#run').selectedOptions[0].textContent") == "llama2-34B"
    page.run("document.querySelector('#find').focus()")
    page.type("13b, 70b")
    page.wait("document.querySelector('#count').textContent === '2 of 4 runs'")
    rows = (
        "[...document.querySelectorAll('#diagnostics > .scroll tbody tr')]"
        ".filter(r => !r.hidden).map(r => r.cells[0].textContent)"
    )
    assert sorted(page.run(rows)) == ["llama2-13B", "llama2-70B"]
    names = page.run("document.querySelector('#curves').data.map(t => t.name).filter(Boolean)")
    assert set(names) == {"llama2-13B", "llama2-70B"}
    page.run(
        "(() => { const f = document.querySelector('#find'); f.value = '';"
        "f.dispatchEvent(new Event('input')); })()"
    )
    page.wait("document.querySelector('#count').textContent === ''")
    table = "#diagnostics > .scroll"
    page.click(f"{table} thead th:nth-child(5) button")
    column = f"[...document.querySelectorAll('{table} tbody tr')].map(r => +r.cells[4].dataset.v)"
    values = page.run(column)
    assert values == sorted(values)
    assert len(values) == 4
    page.click(f"{table} thead th:nth-child(5) button")
    assert page.run(column) == sorted(values, reverse=True)
    assert page.errors == []


def test_the_keyboard_is_enough(page):
    """Tab reaches every control; arrows and Enter work them."""
    page.run("document.body.focus()")
    reached = []
    for _ in range(40):
        page.key("Tab", 9)
        reached.append(page.run("document.activeElement.id || document.activeElement.className"))
    for control in ("skip", "run", "axis", "law", "find"):
        assert control in reached, reached
    page.run("document.querySelector('input[value=log]').focus()")
    page.key("ArrowRight", 39)
    page.settle()
    assert page.run("document.querySelector('#focus').layout.xaxis.type") == "linear"
    page.run(
        "document.querySelector('#diagnostics > .scroll tbody tr:nth-child(2) button.run').focus()"
    )
    page.key("Enter", 13, "\r")
    page.settle()
    assert page.run("document.querySelector('#run').selectedOptions[0].textContent") == "llama2-13B"


@pytest.mark.parametrize("width", [1400, 420])
def test_nothing_is_wider_than_the_window(browser, llama, hostile, width):
    for made in (llama, hostile):
        browser.size(width, 900)
        browser.open(made.path, READY)
        browser.settle()
        assert browser.run("document.documentElement.scrollWidth") <= width
    browser.size(1400, 900)


def test_it_prints(page, tmp_path):
    page.pdf(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    assert page.errors == []


def test_a_thousand_runs(browser, tmp_path):
    runs = power_runs(1000, points=300, tokens_per_step=1000, params=1e8, ragged=False)
    made = quiet(runs, tmp_path / "many.html", draws=40, beside=["power"])
    assert made.size < 20e6
    browser.size(1400, 900)
    seconds = browser.open(made.path, READY)
    assert seconds < 15  # 2 s on two idle cores
    browser.settle()
    assert browser.errors == []
    assert "Points are thinned for drawing" in made.path.read_text("utf-8")
    data = run_data(made.path.read_text("utf-8"))
    assert len(data["runs"]) == 1000
    assert sum(len(decoded(run["x"])) for run in data["runs"]) <= 200_000
    points = "document.querySelector('#curves').data.reduce((n, t) => n + t.x.length, 0)"
    assert browser.run(points) > 20_000
    browser.run(
        "(() => { const f = document.querySelector('#find'); f.value = 'run99';"
        "f.dispatchEvent(new Event('input')); })()"
    )
    browser.wait("document.querySelector('#count').textContent === '11 of 1,000 runs'")


def test_one_run_alone(tmp_path, curve):
    made = quiet(curve, tmp_path / "one.html", draws=50, beside=[])
    assert made.missing["race"] == "A race needs at least two runs."
    assert "A race needs at least two runs." in made.path.read_text("utf-8")
    assert len(made.frame) == 1


def test_runs_without_the_axis_are_named(tmp_path):
    some = power_runs(2, tokens_per_step=1000)
    frame = pd.concat(
        [
            some.frame.drop(columns="spike"),
            pd.DataFrame({"run": "alien", "flops": [1.0, 2, 3, 4], "loss": [4.0, 3, 2.5, 2.2]}),
        ]
    )
    runs = lossfit.Runs.from_frame(frame)
    made = quiet(runs, tmp_path / "r.html", run=["run0", "run1"], at=2e6, draws=50, beside=[])
    html = made.path.read_text("utf-8")
    assert "Not drawn, as they have no tokens: alien." in html
    assert "race" in made.missing


@pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")
def test_when_a_loss_is_reached_and_a_ladder(tmp_path):
    runs = lossfit.load("llama2")
    ladder = lossfit.fit_ladder(runs.select(["llama2-7B", "llama2-13B", "llama2-34B"]))
    begun = runs.select(["llama2-70B"]).until({"tokens": 4e11})
    options = {"at": 2e12, "axis": "tokens", "draws": 100, "beside": []}
    made = quiet(begun, tmp_path / "x.html", target=[1.7, 0.5], ladder=ladder, **options)
    html = made.path.read_text("utf-8")
    row = made.answer.time_to(1.7).iloc[0]
    reached = html.split('<section id="arrivals"')[1].split("</section>")[0]
    assert f'data-v="{float(row["median"])!r}"' in reached
    assert "beyond" in reached  # 0.5 is never reached
    shown = html.split('<section id="ladder"')[1].split("</section>")[0]
    assert safe(str(ladder)) in shown
    frame = ladder.track(begun)
    assert all(f">{row.loss:.3f}<" in shown for row in frame.itertuples())
    assert f"at {frame['outside'].sum()} of {len(frame)} places" in shown
    both = begun + runs.select(["llama2-34B"])
    beside = quiet(both, tmp_path / "y.html", run="llama2-70B", ladder=ladder, **options)
    assert beside.answer.frame["median"].iloc[0] == made.answer.frame["median"].iloc[0]


def test_the_command(tmp_path):
    from lossfit.cli.report import command

    out = tmp_path / "page.html"
    done = CliRunner().invoke(
        command,
        ["llama2", "-o", str(out), "-r", "llama2-7B", "--at", "2x", "--draws", "50",
         "--beside", "power", "--title", "My runs", "--phases", "0", "--target", "1.7"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "When a loss is reached" in out.read_text("utf-8")
    assert "loss there:" in done.stdout
    assert f"wrote {out}" in done.stderr
    assert "<h1>My runs</h1>" in out.read_text("utf-8")
    log = tmp_path / "again.csv"
    steps = [*range(50, 1001, 50), *range(850, 2001, 50)]
    log.write_text("step,loss\n" + "".join(f"{s},{3 + 6 * s**-0.5:.6f}\n" for s in steps))
    done = CliRunner().invoke(command, [str(log), "-o", str(out), "--draws", "50"])
    assert done.stdout.count("1 restart") == 1, done.output
    assert "restart" not in done.stderr
    bad = CliRunner().invoke(command, ["llama2", "-o", str(tmp_path / "no" / "x.html")])
    assert bad.exit_code == 2
    assert "there is no folder" in bad.stderr


def test_bad_input_is_refused(tmp_path):
    with pytest.raises(lossfit.DataError, match="no collection and no file"):
        report("lama2", tmp_path / "x.html")
    with pytest.raises(lossfit.DataError, match="beside must be"):
        report("llama2", tmp_path / "x.html", beside="powr")
    with pytest.raises(lossfit.DataError, match="there is no run"):
        report("llama2", tmp_path / "x.html", run="llama2-8B")
