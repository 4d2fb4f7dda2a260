// Draws the figures of a report with plotly.js and wires its controls. Names come from logs: they
// reach the page as text (textContent) or, in labels of plotly, through label().
"use strict";
(function () {
const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const runs = data.runs;
const THEMES = {
  light: { ink: "#1c2430", paper: "#ffffff", grid: "#e8ebee", line: "#848e99", data: "#222222", grey: "#999999", soft: "#5b6b7b", accent: "#8a5a00",
    colours: ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"] },
  dark: { ink: "#e2e6eb", paper: "#14181d", grid: "#2a3138", line: "#7d8792", data: "#e2e6eb", grey: "#8a949e", soft: "#9aa5b1", accent: "#d9a441",
    colours: ["#4AA8E0", "#F0843C", "#2FC79C", "#DE96C4", "#F0B840", "#9AD4F5", "#FFFFFF"] },
};
const night = window.matchMedia("(prefers-color-scheme: dark)");
let look, COLOURS, DATA, GREY;
function dress(dark) { look = dark ? THEMES.dark : THEMES.light; COLOURS = look.colours; DATA = look.data; GREY = look.grey; }
dress(night.matches);
const NAMED = 7;  // runs with a colour, a band and a place in the legend
const LONGEST = 42;
const narrow = () => window.innerWidth < 640;
const config = {
  responsive: true, displaylogo: false, showSendToCloud: false, showEditInChartStudio: false,
  modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
};
const state = { run: data.focus, axis: data.axis, scale: "log", law: 0, matching: runs.map((_, i) => i) };

// --- data ---------------------------------------------------------------------------------------
function floats(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length / 4 }, (_, i) => view.getFloat32(4 * i, true));
}
function unpacked(run) {
  if (run.open) return run;
  run.open = true;
  for (const key of ["x", "y", "sx", "sy", "g"]) run[key] = floats(run[key] || "");
  run.b = (run.b || []).map(floats);
  for (const axis in run.w || {}) run.w[axis] = run.w[axis].map(floats);
  return run;
}
function has(run, axis) { return axis in run.e; }
// Shares of the run's end on the answer's axis, as values of another axis.
function along(run, shares, axis) {
  const end = run.e[axis], bent = run.w && run.w[axis];
  return Array.from(shares, (s) => end * (bent ? between(bent[0], bent[1], s) : s));
}
function between(x, y, at) {
  const last = x.length - 1;
  if (at >= x[last]) return y[last] * (at / x[last]);
  if (at <= x[0]) return y[0] * (at / x[0]);
  let low = 0, high = last;
  while (high - low > 1) { const mid = (low + high) >> 1; if (x[mid] <= at) low = mid; else high = mid; }
  return y[low] + (y[high] - y[low]) * (at - x[low]) / (x[high] - x[low]);
}
function band(run, law) {
  const all = run.b[law], n = run.g.length, part = (k) => Array.from(all.slice(k * n, (k + 1) * n));
  return { lower: part(0), median: part(1), upper: part(2), from: part(3), to: part(4) };
}

// --- words --------------------------------------------------------------------------------------
// Without what would move the words around a name.
function plain(text) {
  return String(text).replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, " ");
}
function escaped(text) {
  return plain(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}
// A name for plotly, which reads a little HTML in labels.
function label(name) {
  const signs = Array.from(name);
  return escaped(signs.length > LONGEST ? signs.slice(0, LONGEST - 1).join("") + "\u2026" : name);
}
function amount(value, axis) {
  const units = data.axes[axis].units;
  if (axis === "flops") return Number(value.toPrecision(3)).toExponential() + " " + units;
  if (axis === "tokens") {
    for (const [size, letter] of [[1e12, "T"], [1e9, "B"], [1e6, "M"]]) {
      if (value >= size) return Number((value / size).toPrecision(3)) + letter + " " + units;
    }
  }
  const shown = value >= 100 ? Math.round(value) : Number(value.toPrecision(4));
  return shown.toLocaleString("en-US") + " " + units;
}
function percent(share) { return Number((100 * share).toPrecision(4)) + " %"; }

// --- figures ------------------------------------------------------------------------------------
function layout(axis, yTitle, more) {
  const small = narrow();
  const base = {
    margin: { l: small ? 48 : 60, r: small ? 12 : 40, t: 12, b: 46 },
    modebar: { orientation: "v", bgcolor: tint(look.paper, 0), color: look.line, activecolor: COLOURS[0] },
    font: { family: "system-ui, 'Segoe UI', 'Liberation Sans', sans-serif", size: 13, color: look.ink },
    paper_bgcolor: look.paper, plot_bgcolor: look.paper,
    hovermode: "closest", hoverlabel: { namelength: -1, align: "left" },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, font: { size: 12 },
      itemclick: "toggle", itemdoubleclick: "toggleothers" },
    xaxis: {
      title: { text: data.axes[axis].label, standoff: 6 }, type: state.scale, exponentformat: axis === "flops" ? "power" : "B",
      gridcolor: look.grid, linecolor: look.line, ticks: "outside", tickcolor: look.line, zeroline: false,
      nticks: small ? 4 : 7, minexponent: 3, automargin: true, tickfont: { size: 12 },
    },
    yaxis: { title: { text: yTitle, standoff: 6 }, gridcolor: look.grid, zeroline: false, automargin: true },
    uirevision: state.axis + state.scale,
  };
  return Object.assign(base, more || {});
}
function hover() {
  // The axis value is text that is made here, as plotly's SI prefixes say G where people say B.
  return { hovertemplate: "%{y:.4f} at %{text}<extra>%{fullData.name}</extra>" };
}
// `within` holds the lower and the upper edge of an interval around y.
function curve(run, shares, y, axis, more, within) {
  const x = along(run, shares, axis);
  return Object.assign({ type: "scatter", mode: "lines", x: x, y: Array.from(y), text: places(x, axis, within) }, hover(), more);
}
function places(x, axis, within) {
  return x.map((v, k) => amount(v, axis) + (within ? "<br>" + percent(data.prob) + ": " + within[0][k].toFixed(4) + " to " + within[1][k].toFixed(4) : ""));
}
function filled(run, lower, upper, axis, colour, opacity, name, more) {
  const x = along(run, run.g, axis);
  return Object.assign({
    type: "scatter", mode: "lines", x: x.concat(x.slice().reverse()), y: upper.concat(lower.slice().reverse()),
    fill: "toself", fillcolor: tint(colour, opacity), line: { width: 0 }, hoverinfo: "skip", name: name,
  }, more);
}
function tint(colour, opacity) {
  const n = parseInt(colour.slice(1), 16);
  return "rgba(" + [n >> 16, (n >> 8) & 255, n & 255, opacity].join(",") + ")";
}
// Limits of the loss that show the data and the curve; a wide band is cut rather than pressing them flat.
function limits(values, wanted) {
  let low = Infinity, high = -Infinity, least = Infinity, most = -Infinity;
  for (const v of values) { if (v < low) low = v; if (v > high) high = v; }
  for (const v of wanted) { if (v < least) least = v; if (v > most) most = v; }
  const span = Math.max(high - low, 1e-3 * Math.abs(high)) || 1;
  const bottom = Math.min(low, Math.max(least, low - span)), top = Math.max(high, Math.min(most, high + 0.3 * span));
  const margin = 0.05 * (top - bottom), cut = [];
  if (least < bottom - margin) cut.push("down to " + Number(least.toPrecision(3)));
  if (most > top + margin) cut.push("up to " + Number(most.toPrecision(3)));
  return { range: [bottom - margin, top + margin], cut: cut.length ? " The loss axis is cut: bands go " + cut.join(" and ") + "." : "" };
}
function say(id, words) {
  $(id).setAttribute("aria-label", plain(words));
  $(id + "-caption").textContent = plain(words);
}
function draw(id, traces, shape, words) {
  const node = $(id);
  if (!node) return;
  Plotly.react(node, traces, shape, Object.assign({ displayModeBar: !narrow() }, config));
  say(id, words);
}
function empty(id, words) {
  const node = $(id);
  if (!node) return;
  Plotly.purge(node);
  say(id, words);
}

function drawFocus() {
  const run = unpacked(runs[state.run]), axis = state.axis, law = data.laws[state.law];
  if (!has(run, axis)) return empty("focus", run.n + " has no " + data.axes[axis].label + ".");
  const traces = [], percents = percent(data.prob);
  let shown = Array.from(run.y), wanted = [], words = run.n + ": loss along " + data.axes[axis].label;
  if (run.b.length) {
    const b = band(run, state.law);
    traces.push(filled(run, b.from, b.to, axis, COLOURS[0], 0.13, percents + " of points"));
    traces.push(filled(run, b.lower, b.upper, axis, COLOURS[0], 0.3, percents + " of curves"));
    traces.push(curve(run, run.g, b.median, axis, { name: law.n + ", median", line: { color: COLOURS[0], width: 2 } }, [b.lower, b.upper]));
    shown = shown.concat(b.median); wanted = b.lower.concat(b.upper, b.from, b.to);
  }
  traces.push(curve(run, run.x, run.y, axis, { name: label(run.n), mode: "markers", marker: { color: DATA, size: 4 } }));
  if (run.sx.length) traces.push(curve(run, run.sx, run.sy, axis,
    { name: "spikes, not fitted", mode: "markers", marker: { color: GREY, size: 6, symbol: "x" } }));
  if (data.other !== null && data.other !== state.run) {
    const other = unpacked(runs[data.other]);
    if (has(other, axis)) {
      traces.push(curve(other, other.x, other.y, axis, { name: label(other.n), line: { color: COLOURS[1], width: 1.5 } }));
      shown = shown.concat(Array.from(other.y));
    }
  }
  const shapes = [], beyond = run.t ? Math.max(...run.t.map((t) => t[0])) : 1;
  if (run.t) {
    const at = run.t.map((t) => t[0]), iv = run.t.map((t) => t[1][state.law]);
    traces.push(curve(run, at, iv.map((v) => v[1]), axis, {
      name: "at the target", mode: "markers", marker: { color: COLOURS[0], size: 8 },
      error_y: { type: "data", symmetric: false, array: iv.map((v) => v[2] - v[1]),
        arrayminus: iv.map((v) => v[1] - v[0]), color: COLOURS[0], thickness: 1.6, width: 5 },
    }, [iv.map((v) => v[0]), iv.map((v) => v[2])]));
    const last = iv[iv.length - 1];
    shown = shown.concat(iv.map((v) => v[1])); wanted = wanted.concat(iv.map((v) => v[0]), iv.map((v) => v[2]));
    words += "; " + law.n + " gives " + last[1].toFixed(3) + " (" + percents + " interval " + last[0].toFixed(3) +
      " to " + last[2].toFixed(3) + ") at " + amount(along(run, [at[at.length - 1]], axis)[0], axis);
    if (law.r !== null) words += "; such intervals of this law held the truth in " + law.r + " %";
  }
  const end = along(run, [1], axis)[0];
  if (beyond > 1.0001) {
    shapes.push({ type: "line", x0: end, x1: end, yref: "paper", y0: 0, y1: 1, line: { color: GREY, width: 1, dash: "dot" } });
    words += ". Beyond the dotted line there are no data";
  }
  const lim = limits(shown, wanted), shape = layout(axis, "loss", { shapes: shapes });
  shape.yaxis.range = lim.range;
  shape.uirevision = ["focus", state.run, state.axis, state.scale, state.law].join();
  draw("focus", traces, shape, words + "." + lim.cut);
}

function drawCurves() {
  const axis = state.axis, chosen = state.matching.filter((i) => has(runs[i], axis));
  const named = [state.run, ...chosen.filter((i) => i !== state.run).sort((a, b) => rank[a] - rank[b])]
    .filter((i) => has(runs[i], axis)).slice(0, NAMED).sort((a, b) => rank[a] - rank[b]);
  const rest = chosen.filter((i) => !named.includes(i)), traces = [];
  let shown = [], wanted = [];
  if (rest.length) {
    const x = [], y = [], text = [], who = [];
    for (const i of rest) {
      const run = unpacked(runs[i]), name = label(run.n);
      for (const v of along(run, run.x, axis)) { x.push(v); text.push(name); who.push(i); }
      for (const v of run.y) y.push(v);
      x.push(null); y.push(null); text.push(""); who.push(i);
    }
    const opacity = Math.max(0.08, Math.min(0.5, 60 / rest.length));
    traces.push({ type: "scatter", mode: "lines", x: x, y: y, text: text, customdata: who, connectgaps: false,
      name: rest.length.toLocaleString("en-US") + " more", line: { color: tint(look.soft, opacity), width: 1 },
      hovertemplate: "%{text}: %{y:.4f}<extra></extra>" });
    for (const v of y) if (v !== null) shown.push(v);
  }
  named.forEach((i) => {
    const run = unpacked(runs[i]), colour = COLOURS[rank[i] % COLOURS.length], group = "run" + i;
    if (run.b.length) {
      const b = band(run, state.law);
      traces.push(filled(run, b.from, b.to, axis, colour, 0.1, "", { legendgroup: group, showlegend: false }));
      traces.push(filled(run, b.lower, b.upper, axis, colour, 0.25, "", { legendgroup: group, showlegend: false }));
      traces.push(curve(run, run.g, b.median, axis, { name: label(run.n), legendgroup: group, showlegend: false,
        line: { color: colour, width: 1.6, dash: "dash" }, customdata: Array(run.g.length).fill(i) }, [b.lower, b.upper]));
      shown = shown.concat(b.median); wanted = wanted.concat(b.lower, b.upper, b.from, b.to);
    }
    traces.push(curve(run, run.x, run.y, axis, { name: label(run.n), legendgroup: group,
      line: { color: colour, width: i === state.run ? 2.5 : 1.4 }, customdata: Array(run.x.length).fill(i) }));
    shown = shown.concat(Array.from(run.y));
  });
  if (!traces.length) return empty("curves", "No run that matches has " + data.axes[axis].label + ".");
  const lim = limits(shown, wanted), shape = layout(axis, "loss");
  shape.yaxis.range = lim.range;
  shape.uirevision = ["curves", state.axis, state.scale, state.law, state.matching.length].join();
  const law = data.laws[state.law];
  draw("curves", traces, shape, "Loss of " + chosen.length.toLocaleString("en-US") + " runs along " + data.axes[axis].label +
    "; bands by " + law.n + " for " + (named.length === 1 ? "the run chosen" : "the " + named.length + " named runs") +
    ", dashed: its median. Click a curve to choose its run." + lim.cut);
}

function drawResiduals() {
  const run = unpacked(runs[state.run]), axis = state.axis, law = data.laws[state.law];
  if (!has(run, axis) || !run.b.length) return empty("residuals", "No band was made for " + run.n + ".");
  const b = band(run, state.law), x = [], y = [], first = run.g[0];
  for (let i = 0; i < run.x.length; i++) {
    if (run.x[i] < first || run.x[i] > 1.0000001) continue;
    x.push(run.x[i]); y.push(run.y[i] - middle(run.g, b.median, run.x[i]));
  }
  const half = run.g.map((s, k) => (b.to[k] - b.from[k]) / 2), inside = Array.from(run.g).map((s, k) => s <= 1.0000001 ? k : -1).filter((k) => k >= 0);
  const shares = inside.map((k) => run.g[k]);
  const traces = [
    curve(run, shares.concat(shares.slice().reverse()),
      inside.map((k) => b.to[k] - b.median[k]).concat(inside.slice().reverse().map((k) => b.from[k] - b.median[k])), axis,
      { fill: "toself", fillcolor: tint(COLOURS[0], 0.13), line: { width: 0 }, hoverinfo: "skip", hovertemplate: null, name: percent(data.prob) + " of points" }),
    curve(run, x, y, axis, { name: label(run.n), mode: "markers", marker: { color: DATA, size: 4 } }),
  ];
  const shape = layout(axis, "loss minus median");
  shape.yaxis.zeroline = true; shape.yaxis.zerolinecolor = GREY;
  shape.uirevision = ["residuals", state.run, state.axis, state.scale, state.law].join();
  draw("residuals", traces, shape, "Residuals of " + run.n + " under " + law.n +
    " at the points drawn: waves say that the law misses part of the curve.");
}
function middle(x, y, at) {
  const last = x.length - 1;
  if (at <= x[0]) return y[0];
  if (at >= x[last]) return y[last];
  let low = 0, high = last;
  while (high - low > 1) { const mid = (low + high) >> 1; if (x[mid] <= at) low = mid; else high = mid; }
  return y[low] + (y[high] - y[low]) * (at - x[low]) / (x[high] - x[low]);
}

// --- race -----------------------------------------------------------------------------------------
const main = data.race ? data.race.on[data.race.axis] : null;
let race = null;
// The race on the axis chosen, where it was run on it, else on its own.
function raceOn(axis) {
  const one = data.race.on[axis] || main;
  if (one.open) return one;
  one.open = true;
  one.at = floats(one.at);
  for (const line of [one.frontier, one.truncated, ...one.curves]) { line.x = floats(line.x); line.b = floats(line.b); }
  for (const leader of one.leaders) leader.p = floats(leader.p);
  if (one.rest) one.rest = floats(one.rest);
  return one;
}
// A run has one colour everywhere: those of the race in its order, then the others.
const rank = Array(runs.length);
[...(main ? main.curves.map((one) => one.i) : []), ...runs.keys()].filter((i) => i !== null)
  .filter((i, k, all) => all.indexOf(i) === k).forEach((i, k) => { rank[i] = k; });
function colourOf(i, k) { return COLOURS[(i == null ? k : rank[i]) % COLOURS.length]; }
function edges(one) {
  const n = one.x.length;
  return [0, 1, 2].map((k) => Array.from(one.b.slice(k * n, (k + 1) * n)));
}
function raceLine(x, y, more, within) {
  x = Array.from(x);
  return Object.assign({ type: "scatter", mode: "lines", x: x, y: Array.from(y), text: places(x, race.axis, within) }, hover(), more);
}
function drawRace() {
  if (!main) return;
  race = raceOn(state.axis);
  const traces = [];
  let shown = [], wanted = [];
  race.curves.forEach((one, k) => {
    const colour = colourOf(one.i, k), group = "race" + k, [lower, median, upper] = edges(one), x = Array.from(one.x);
    traces.push({ type: "scatter", mode: "lines", x: x.concat(x.slice().reverse()), y: upper.concat(lower.slice().reverse()),
      fill: "toself", fillcolor: tint(colour, 0.2), line: { width: 0 }, hoverinfo: "skip", legendgroup: group, showlegend: false });
    const last = x.findIndex((v) => v > one.end * 1.0000001), cut = last < 0 ? x.length : last;
    const part = (from, to, more) => traces.push(raceLine(x.slice(from, to), median.slice(from, to), Object.assign({ legendgroup: group }, more),
      [lower.slice(from, to), upper.slice(from, to)]));
    part(0, cut, { name: label(one.n), line: { color: colour, width: 1.6 } });
    if (cut < x.length) part(Math.max(cut - 1, 0), x.length, { name: label(one.n) + ", forecast", showlegend: false, line: { color: colour, width: 1.6, dash: "dot" } });
    shown = shown.concat(median); wanted = wanted.concat(lower, upper);
  });
  const front = edges(race.frontier), short = edges(race.truncated);
  traces.push(raceLine(race.frontier.x, front[1], { name: "frontier", line: { color: look.ink, width: 3 }, opacity: 0.45 }, [front[0], front[2]]));
  traces.push(raceLine(race.truncated.x, short[1], { name: "truncated frontier", visible: "legendonly", line: { color: look.accent, width: 2.5, dash: "dash" } }, [short[0], short[2]]));
  const marks = race.marks || [];
  if (marks.length) traces.push({ type: "scatter", mode: "markers", name: "overtakings", x: marks.map((m) => m.x[1]), y: marks.map((m) => m.y),
    error_x: { type: "data", symmetric: false, array: marks.map((m) => m.x[2] - m.x[1]), arrayminus: marks.map((m) => m.x[1] - m.x[0]), thickness: 1, width: 3, color: look.soft },
    marker: { color: marks.map((m) => m.in ? look.soft : look.paper), size: marks.map((m) => 5 + 6 * m.p), line: { color: look.soft, width: 1.2 } },
    text: marks.map((m) => label(m.a) + " overtakes " + label(m.b) + "<br>at " + amount(m.x[1], race.axis) + " (" + percent(data.prob) + ": " +
      amount(m.x[0], race.axis) + " to " + amount(m.x[2], race.axis) + ")<br>probability " + m.p.toFixed(2)),
    hovertemplate: "%{text}<extra></extra>" });
  const lim = limits(shown, wanted), shape = layout(race.axis, "loss");
  shape.yaxis.range = lim.range;
  shape.uirevision = ["race", race.axis, state.scale].join();
  draw("race-loss", traces, shape, "Race of " + (race.curves.length === 1 ? "one run" : race.curves.length + " runs") + " along " + race.label +
    ", bands of " + percent(data.prob) + "; dotted: forecast. Marks: overtakings, larger where more probable, hollow where mostly forecast. The truncated frontier is in the legend." + lim.cut);
}
function drawLeader() {
  if (!main) return;
  race = raceOn(state.axis);
  const traces = race.leaders.map((one) => raceLine(race.at, one.p, { name: label(one.n), stackgroup: "lead", line: { width: 0.5, color: colourOf(one.i, one.c) },
    fillcolor: tint(colourOf(one.i, one.c), 0.55), hovertemplate: "%{y:.2f} at %{text}<extra>%{fullData.name}</extra>" }));
  if (race.rest) traces.push(raceLine(race.at, race.rest, { name: "others", stackgroup: "lead", line: { width: 0.5, color: GREY }, fillcolor: tint(GREY, 0.5) }));
  const shape = layout(race.axis, "P(leads)");
  shape.yaxis.range = [0, 1];
  shape.uirevision = ["leader", race.axis, state.scale].join();
  draw("race-leader", traces, shape, "Probability that each run has the lowest loss, along " + race.label + ": stacked, the sum is 1.");
}

function drawPhases() {
  if (!data.phases) return;
  const run = unpacked(runs[state.run]), axis = state.axis, one = data.phases.find((p) => p.i === state.run);
  if (!one) return empty("phase", "The phases of " + run.n + " were not looked at: choose a run of the table.");
  if (!has(run, axis)) return empty("phase", run.n + " has no " + data.axes[axis].label + ".");
  if (!one.open) { for (const key of ["x", "b", "t", "y"]) one[key] = floats(one[key]); one.open = true; }
  const [lower, median, upper] = edges(one), x = along(run, one.x, axis);
  const traces = [
    { type: "scatter", mode: "lines", x: x.concat(x.slice().reverse()), y: upper.concat(lower.slice().reverse()), fill: "toself",
      fillcolor: tint(COLOURS[0], 0.25), line: { width: 0 }, hoverinfo: "skip", name: percent(data.prob) + " of curves" },
    curve(run, one.x, median, axis, { name: "with phases, median", line: { color: COLOURS[0], width: 2 } }, [lower, upper]),
    curve(run, one.t, one.y, axis, { name: label(run.n) + ", means of bins", mode: "markers", marker: { color: DATA, size: 5 } }),
  ];
  const shapes = [], notes = [];
  one.begins.forEach((phase, k) => {
    const [low, middle, high] = along(run, phase.x, axis), colour = phase.n === "line" ? COLOURS[2] : COLOURS[1];
    shapes.push({ type: "rect", x0: low, x1: high, yref: "paper", y0: 0, y1: 1, fillcolor: tint(colour, 0.15), line: { width: 0 }, layer: "below" });
    shapes.push({ type: "line", x0: middle, x1: middle, yref: "paper", y0: 0, y1: 1, line: { color: colour, width: 1.2, dash: "dot" } });
    notes.push(phase.n + " from " + amount(middle, axis) + " (" + amount(low, axis) + " to " + amount(high, axis) + "), P(exists) " + phase.p.toFixed(2));
  });
  const lim = limits(Array.from(one.y).concat(median), []), shape = layout(axis, "loss", { shapes: shapes });
  shape.yaxis.range = lim.range;
  shape.uirevision = ["phase", state.run, axis, state.scale].join();
  draw("phase", traces, shape, "Phases of " + run.n + ": " + (notes.join("; ") || "no phase but the power law") + ". Shaded: where a phase begins, green the line, orange the tip.");
}

const byRun = [drawFocus, drawCurves, drawPhases, drawResiduals];
const byLaw = [drawFocus, drawCurves, drawResiduals];
const all = [drawFocus, drawRace, drawLeader, drawCurves, drawPhases, drawResiduals];
function redraw(figures) { for (const one of figures) one(); }

// --- controls -----------------------------------------------------------------------------------
function option(select, value, text) {
  const one = document.createElement("option");
  one.value = value; one.textContent = text;
  select.append(one);
}
function choose(i) {
  if (!(i >= 0 && i < runs.length)) return;
  state.run = i;
  $("run").value = String(i);
  mark();
  headline();
  redraw(byRun);
}
// The answer's number is that of the run chosen; the run of the question has its own words.
const question = Array.from($("headline").childNodes);
function headline() {
  const run = runs[state.run], asked = state.run === data.focus, facts = document.querySelector("#answer .facts");
  if (facts) facts.hidden = !asked;
  if (asked) return $("headline").replaceChildren(...question);
  const number = document.createElement("strong"), words = document.createElement("span"), name = document.createElement("bdi");
  name.textContent = plain(run.n);
  if (run.no) {
    number.textContent = "\u2013";
    words.append("No forecast: ", name, ": ", run.no, ".");
  } else if (run.t) {
    const [share, laws] = run.t[run.t.length - 1], [lower, median, upper] = laws[0];
    number.textContent = median.toFixed(3);
    words.append(percent(data.prob) + " interval " + lower.toFixed(3) + " to " + upper.toFixed(3) + ": ", name,
      " at " + amount(along(run, [share], data.axis)[0], data.axis));
  } else {
    number.textContent = "\u2013";
    words.append("Nothing was asked of ", name, ".");
  }
  $("headline").replaceChildren(number, " ", words);
}
function mark() {
  for (const row of document.querySelectorAll("tr[data-run]")) {
    const mine = Number(row.dataset.run) === state.run;
    row.classList.toggle("chosen", mine);
    const button = row.querySelector("button.run");
    if (button) { if (mine) button.setAttribute("aria-current", "true"); else button.removeAttribute("aria-current"); }
  }
}
// Words that must all be in the name; a comma gives alternatives.
function matches(text, wanted) { return wanted.some((all) => all.every((word) => text.includes(word))); }
function find() {
  const wanted = $("find").value.toLowerCase().split(",").map((part) => part.split(/\s+/).filter(Boolean)).filter((part) => part.length);
  const lower = runs.map((run) => run.n.toLowerCase());
  state.matching = lower.map((_, i) => i).filter((i) => !wanted.length || matches(lower[i], wanted));
  for (const row of document.querySelectorAll("tr[data-run]")) {
    const about = row.querySelector("button.run");
    row.hidden = wanted.length > 0 && !(about && matches(about.textContent.toLowerCase(), wanted));
  }
  $("count").textContent = wanted.length ? state.matching.length.toLocaleString("en-US") + " of " + runs.length.toLocaleString("en-US") + " runs" : "";
  if (wanted.length && state.matching.length && !state.matching.includes(state.run)) choose(state.matching[0]);
  else drawCurves();
}
function sort(button) {
  const head = button.closest("th"), table = head.closest("table"), body = table.tBodies[0];
  const column = head.cellIndex, up = head.getAttribute("aria-sort") !== "ascending";
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const key = (row) => { const cell = row.cells[column]; return "v" in cell.dataset ? Number(cell.dataset.v) : cell.textContent; };
  const numeric = Array.from(body.rows).some((row) => "v" in row.cells[column].dataset);
  const order = Array.from(body.rows, (row, i) => ({ row: row, key: key(row), i: i })).sort((a, b) => {
    if (numeric) {  // empty cells last, either way
      const x = typeof a.key === "number", y = typeof b.key === "number";
      if (x !== y) return x ? -1 : 1;
      return ((x ? a.key - b.key : 0) || 0) * (up ? 1 : -1) || a.i - b.i;
    }
    return a.key.localeCompare(b.key, "en", { numeric: true }) * (up ? 1 : -1) || a.i - b.i;
  });
  body.append(...order.map((one) => one.row));
}
function start() {
  $("tools").hidden = false;
  runs.forEach((run, i) => option($("run"), i, run.n));
  for (const axis in data.axes) option($("axis"), axis, data.axes[axis].label);
  data.laws.forEach((law, i) => option($("law"), i, law.n + (i === 0 ? " (the answer)" : "")));
  $("axis").value = state.axis;
  document.querySelector("#tools input[value=log]").checked = true;
  $("tools").addEventListener("submit", (event) => event.preventDefault());
  $("run").addEventListener("change", () => choose(Number($("run").value)));
  $("axis").addEventListener("change", () => { state.axis = $("axis").value; redraw(all); });
  $("law").addEventListener("change", () => { state.law = Number($("law").value); redraw(byLaw); });
  for (const radio of document.querySelectorAll("#tools input[name=scale]")) {
    radio.addEventListener("change", () => { state.scale = radio.value; redraw(all); });
  }
  let waiting = 0;
  $("find").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(find, 150); });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.classList.contains("sort")) sort(button);
    const row = button.closest("tr[data-run]");
    if (row && button.classList.contains("run")) choose(Number(row.dataset.run));
  });
  redraw(all);
  mark();
  $("curves").on("plotly_click", (event) => {
    const who = event.points.length ? event.points[0].customdata : undefined;
    if (typeof who === "number" && who !== state.run) choose(who);
  });
  night.addEventListener("change", () => { dress(night.matches); redraw(all); });
  // Paper is white and narrower than most windows, and printing tells no figure of it.
  const sized = (width) => {
    if (night.matches) { dress(!width); redraw(all); }
    for (const node of document.querySelectorAll(".js-plotly-plot")) Plotly.relayout(node, width ? { width: width } : { width: null, autosize: true });
  };
  window.addEventListener("beforeprint", () => sized(680));
  window.addEventListener("afterprint", () => sized(0));
  document.documentElement.dataset.ready = "yes";
}
start();
})();
