"use strict";
// Draws every figure of the page from the data beside it: lines over seconds, faults as marked spans.
const complaints = [];
addEventListener("error", (event) => complaints.push(event.message));
const WIDE = 640, HIGH = 220, LEFT = 58, RIGHT = 24, TOP = 10, BOTTOM = 26, MOST = 700;
const data = JSON.parse(document.getElementById("data").textContent);

function made(name, attributes, parent) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const key in attributes) node.setAttribute(key, attributes[key]);
  if (parent) parent.appendChild(node);
  return node;
}

// Steps of 1, 2 or 5 times a power of ten, about `count` of them.
function ticks(low, high, count) {
  const rough = (high - low || 1) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step / 1e6; at += step) found.push(at);
  return found;
}

function said(value, unit) {
  if (unit === "s") return value < 1 ? `${+(value * 1e3).toPrecision(3)} ms` : `${+value.toPrecision(3)} s`;
  return `${+value.toPrecision(4)}${unit ? " " + unit : ""}`;
}

// Long series are drawn by the highest of each few neighbours, so that no peak is lost.
function thinned(times, values) {
  const each = Math.ceil(times.length / MOST), points = [];
  for (let at = 0; at < times.length; at += each) {
    let best = null;
    for (let near = at; near < Math.min(at + each, times.length); near++)
      if (values[near] !== null && (best === null || values[near] > values[best])) best = near;
    points.push(best === null ? null : [times[best], values[best]]);
  }
  return points;
}

function path(points, x, y) {
  let drawn = "", pen = "M";
  for (const point of points) {
    if (point === null) { pen = "M"; continue; }
    drawn += `${pen}${x(point[0]).toFixed(1)},${y(point[1]).toFixed(1)}`;
    pen = "L";
  }
  return drawn;
}

function frame(svg, chart, scales) {
  for (const at of ticks(chart.floor, chart.top, 4)) {
    made("line", { x1: LEFT, x2: WIDE - RIGHT, y1: scales.y(at), y2: scales.y(at), class: "grid" }, svg);
    made("text", { x: LEFT - 6, y: scales.y(at) + 4, "text-anchor": "end" }, svg).textContent = said(at, chart.unit);
  }
  for (const at of ticks(0, chart.end, 6))
    made("text", { x: scales.x(at), y: HIGH - 8, "text-anchor": "middle" }, svg).textContent = `${+at.toFixed(6)} s`;
}

function spans(svg, x, end) {
  for (const fault of data.faults) {
    const from = x(Math.max(0, fault.start)), to = x(Math.min(end, Math.max(fault.end, fault.start)));
    const box = { x: from, y: TOP, width: Math.max(2, to - from), height: HIGH - TOP - BOTTOM, class: "fault" };
    made("title", {}, made("rect", box, svg)).textContent = fault.name;
  }
}

function follow(figure, svg, chart, scales) {
  const tip = figure.querySelector(".tip");
  svg.addEventListener("pointerleave", () => { tip.style.display = "none"; });
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect(), at = ((event.clientX - box.left) / box.width) * WIDE;
    const moment = ((at - LEFT) / (WIDE - LEFT - RIGHT)) * chart.end;
    let near = 0;
    chart.t.forEach((when, index) => { if (Math.abs(when - moment) < Math.abs(chart.t[near] - moment)) near = index; });
    const lines = chart.lines.map((line) =>
      `${line.name}: ${line.values[near] === null ? "not measured" : said(line.values[near], chart.unit)}`);
    tip.textContent = [`at ${chart.t[near].toFixed(1)} s`, ...lines].join("\n");
    tip.style.display = "block";
    tip.style.left = `${Math.min(event.clientX - box.left + 20, box.width - 150)}px`;
    tip.style.top = `${event.clientY - box.top + 20}px`;
  });
}

function draw(figure, chart) {
  const values = chart.lines.flatMap((line) => line.values).filter((value) => value !== null);
  if (!values.length) { figure.insertAdjacentHTML("beforeend", '<p class="soft">not measured</p>'); return; }
  chart.floor = chart.from_zero ? 0 : Math.min(...values);
  chart.top = Math.max(...values, chart.floor + 1e-9) + (chart.from_zero ? 0 : 1);
  chart.floor -= chart.from_zero ? 0 : Math.min(1, chart.floor);
  chart.end = Math.max(...chart.t, 1e-3);
  const scales = {
    x: (at) => LEFT + (at / chart.end) * (WIDE - LEFT - RIGHT),
    y: (at) => HIGH - BOTTOM - ((at - chart.floor) / (chart.top - chart.floor)) * (HIGH - TOP - BOTTOM),
  };
  const svg = made("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", "aria-label": chart.title }, figure);
  frame(svg, chart, scales);
  spans(svg, scales.x, chart.end);
  const legend = figure.querySelector(".legend");
  chart.lines.forEach((line, number) => {
    const color = `var(--c${number % 7})`;
    const points = thinned(chart.t, line.values);
    made("path", { d: path(points, scales.x, scales.y), fill: "none", style: `stroke: ${color}; stroke-width: 1.6` }, svg);
    for (const [at, point] of points.entries())  // a lone point has no line
      if (point && !points[at - 1] && !points[at + 1])
        made("circle", { cx: scales.x(point[0]), cy: scales.y(point[1]), r: 2, style: `fill: ${color}` }, svg);
    const name = legend.appendChild(document.createElement("span"));
    name.appendChild(document.createElement("i")).style.background = color;
    name.append(line.name);
  });
  follow(figure, svg, chart, scales);
}

for (const chart of data.charts) draw(document.getElementById(chart.id), chart);
document.documentElement.dataset.drawn = String(document.querySelectorAll("figure svg path").length);
document.documentElement.dataset.complaints = complaints.join("; ");
