"use strict";
// Draws each lane from the table beside it, with the storms and gaps from their list as bands behind the line. The drawing
// shows nothing that the page does not have as text.

const HEIGHT = 84;
const AXIS = 26; // more, below the last lane
const NARROWEST = 4; // px: short storms and gaps must be visible, too
const dark = matchMedia("(prefers-color-scheme: dark)");
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const plots = new Map(); // element -> uPlot

function dataOf(plot) {
  const step = Number(plot.dataset.step);
  const rows = [...plot.closest("figure").querySelectorAll("tr[data-at]")].reverse();
  const known = (text) => (text === "" ? null : Number(text));
  return [
    rows.map((row) => Number(row.dataset.at) + step / 2),
    rows.map((row) => known(row.dataset.value)),
    rows.map((row) => known(row.dataset.threads)),
  ];
}

const rate = (value) => (value >= 100 ? Math.round(value).toLocaleString("en") : value >= 10 ? value.toFixed(0) : value.toFixed(1).replace(/\.0$/, ""));

// A line of points that are known; `place`: of its values in the data.
function line(place, style) {
  return {
    ...style, spanGaps: false, paths: uPlot.paths.stepped({ align: 0 }),
    points: { show: (u) => single(u.data[place]).length > 0, size: 4, filter: (u) => single(u.data[place]) },
  };
}

// `tops`: the highest rates of all lanes, of processes and of threads. Threads are often ten times as many, so they have a scale
// of their own at the right, where there are any.
function options(plot, tops, isLast, threaded) {
  const axis = { stroke: () => colour("--soft"), font: '11px system-ui, sans-serif', ticks: { show: false } };
  return {
    width: plot.clientWidth,
    height: HEIGHT + (isLast ? AXIS : 0),
    padding: [6, 8, isLast ? 0 : 6, 0],
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    legend: { show: false },
    cursor: { sync: { key: "lanes" }, y: false, drag: { setScale: false }, points: { size: 6 } },
    scales: {
      x: { time: true, range: () => [Number(plot.dataset.from), Number(plot.dataset.to)] },
      y: { range: () => [0, tops()[0] * 1.08 || 1] },
      threads: { range: () => [0, tops()[1] * 1.08 || 1] },
    },
    axes: [
      {
        ...axis, size: isLast ? AXIS : 0, show: isLast, space: 70, grid: { show: false },
        values: [[86400, "{MM}-{DD}", null, null, null, null, null, null, 1], [60, "{HH}:{mm}", null, null, null, null, null, null, 1], [1, "{HH}:{mm}:{ss}", null, null, null, null, null, null, 1]],
      },
      { ...axis, size: 46, space: 26, grid: { stroke: () => colour("--hair"), width: 1 }, values: (_, splits) => splits.map(rate) },
      { ...axis, scale: "threads", side: 1, show: threaded, size: 42, space: 26, stroke: () => colour("--threads"), grid: { show: false }, values: (_, splits) => splits.map(rate) },
    ],
    series: [
      {},
      line(1, { stroke: () => colour("--live"), fill: () => colour("--area"), width: 1.5 }),
      line(2, { scale: "threads", show: threaded, stroke: () => colour("--threads"), width: 1.25, dash: [5, 3] }),
    ],
    hooks: { setSize: [bands], setScale: [bands], setCursor: [reading] },
  };
}

// A known step between two unknown ones is no line: it gets a point.
const single = (values) => values.flatMap((value, place) => (value !== null && (values[place - 1] ?? null) === null && (values[place + 1] ?? null) === null ? [place] : []));

function bands(u) {
  const width = u.over.clientWidth;
  const wanted = [...document.querySelectorAll("#bands li[data-drawn=true]")];
  const under = u.over.parentNode.querySelector(".u-under");
  under.replaceChildren(
    ...wanted.reverse().map((item) => {
      const [first, last] = [item.dataset.start, item.dataset.end].map((at) => u.valToPos(Number(at), "x"));
      const left = Math.max(0, Math.min(first, width - NARROWEST));
      const band = document.createElement("span");
      band.className = "band";
      band.dataset.kind = item.dataset.kind;
      band.style.left = `${left}px`;
      band.style.width = `${Math.max(NARROWEST, Math.min(last, width) - left)}px`;
      band.textContent = item.querySelector(".kind").textContent;
      return band;
    }),
  );
}

function reading(u) {
  const out = u.root.querySelector(".reading");
  const place = u.cursor.idx;
  if (!out) return;
  const [value, threads] = place == null ? [null, null] : [u.data[1][place], u.data[2][place]];
  const at = place == null ? "" : new Date((u.data[0][place] - Number(u.root.parentNode.dataset.step) / 2) * 1000).toISOString().slice(11, 19);
  out.textContent = place == null || u.cursor.left < 0 ? "" : `${at}  ${value === null ? "not known" : `${rate(value)}/s`}${threads ? `, ${rate(threads)} threads/s` : ""}`;
}

function draw() {
  const found = [...document.querySelectorAll(".plot")];
  const all = found.map(dataOf);
  // One scale for all lanes, so that they can be compared.
  const highest = [1, 2].map((place) => Math.max(0, ...all.flatMap((data) => data[place])));
  const threaded = highest[1] > 0;
  for (const legend of document.querySelectorAll(".legend")) legend.hidden = !threaded;
  for (const [plot, u] of plots) {
    if (!found.includes(plot)) {
      u.destroy();
      plots.delete(plot);
    }
  }
  found.forEach((plot, place) => {
    const isLast = place === found.length - 1;
    let u = plots.get(plot);
    if (u && (u.isLast !== isLast || u.threaded !== threaded)) {
      u.destroy();
      u = undefined;
    }
    if (!u) {
      u = new uPlot(options(plot, () => u?.highest ?? highest, isLast, threaded), all[place], plot);
      Object.assign(u, { isLast, threaded });
      const out = document.createElement("output");
      out.className = "reading";
      out.setAttribute("aria-hidden", "true");
      u.root.append(out);
      plots.set(plot, u);
      watch.observe(plot);
    }
    u.highest = highest;
    u.setData(all[place]);
    bands(u); // also where no scale has changed
  });
}

const watch = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const u = plots.get(target);
    if (u && target.clientWidth && target.clientWidth !== u.width) u.setSize({ width: target.clientWidth, height: u.height });
  }
});

dark.addEventListener("change", () => plots.forEach((u) => u.redraw()));
document.addEventListener("fresh", draw);
draw();
