// What every page shows of an input: the answer, a bar for each output, and the hidden units.

const byId = id => document.getElementById(id);
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name);
const isProbability = MODEL.loss === "softmax_ce" || MODEL.loss === "sigmoid_bce";
const layers = readLayers(MODEL), hidden = MODEL.layers.slice(1, -1);

function add(parent, tag, properties) {
  const child = Object.assign(document.createElement(tag), properties);
  parent.append(child);
  return child;
}

const number = value => String(Number(value.toPrecision(4)));
const share = value => isProbability ? `${value > 0.9995 && value < 1 ? "> 99.9" : (100 * value).toFixed(1)} %` : number(value);

const bars = (MODEL.regression ? Array.from({ length: MODEL.layers.at(-1) }, (_, i) => `y${i + 1}`) : MODEL.classes).map(name => {
  const row = add(byId("bars"), "li");
  add(row, "span", { className: "name", textContent: name, title: name });
  const track = add(row, "span", { className: "track" });
  return { row, fill: add(track, "div", { className: "fill" }), text: add(row, "span", { className: "share" }) };
});
byId("bars").hidden = MODEL.regression && bars.length === 1;

// Grids of small squares, as many in a row for all layers.
const perRow = Math.min(64, Math.max(20, Math.ceil(Math.sqrt(3 * Math.max(...hidden)))));
const grids = hidden.map((size, k) => {
  const figure = add(byId("units"), "figure");
  const canvas = add(figure, "canvas", { role: "img", ariaLabel: `Outputs of the ${size} units of hidden layer ${k + 1}` });
  return { size, canvas, caption: add(figure, "figcaption") };
});
if (!hidden.length) document.querySelector(".inside h2").hidden = true;

// A canvas as large as it is shown, in the pixels of the screen; drawn in units of which `width` go across.
function sized(canvas, width, height) {
  const pixels = Math.round(canvas.clientWidth * devicePixelRatio);
  canvas.width = pixels;
  canvas.height = Math.round(pixels * height / width);
  const context = canvas.getContext("2d");
  context.scale(pixels / width, pixels / width);
  return context;
}

// Values relative to the largest, as colours: for what is above 0, and against below.
function inColours(values) {
  const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-12);
  const [above, below] = [colour("--for"), colour("--against")];
  return Array.from(values, value => [value > 0 ? above : below, Math.sqrt(Math.abs(value) / largest)]);
}

function showUnits({ size, canvas, caption }, k, a) {
  const rows = Math.ceil(size / perRow), gap = 0.16, context = sized(canvas, perRow - gap, rows - gap);
  const shown = a && inColours(a), off = colour("--track");
  for (let j = 0; j < size; j++) {
    const square = [j % perRow, Math.floor(j / perRow), 1 - gap, 1 - gap];
    context.globalAlpha = 1;
    context.fillStyle = off;
    context.fillRect(...square);
    if (shown) [context.fillStyle, context.globalAlpha] = shown[j];
    if (shown) context.fillRect(...square);
  }
  const on = a ? a.filter(value => Math.abs(value) > 1e-3).length : 0;
  caption.textContent = `Layer ${k + 1}: ${on} of ${size} active`;
}

// The answer for what `forward` gave, or for nothing; spoken where it is settled. Gives what `read` gives.
function show(steps, settled, nothing = "") {
  const result = steps ? read(MODEL, steps.at(-1).a) : { values: [] }, { values, shares, label } = result;
  bars.forEach(({ row, fill, text }, i) => {
    const part = shares ? Math.min(1, Math.max(0, shares[i])) : 0;
    row.className = i === label ? "best" : "";
    fill.style.transform = `translateX(${100 * part - (part > 0 ? 100 : 101)}%)`;
    text.textContent = i in values ? share(values[i]) : "";
  });
  let answer = "?", sure = nothing;
  if (shares) {
    const second = shares.reduce((best, value, i) => i !== label && (best < 0 || value > shares[best]) ? i : best, -1);
    answer = MODEL.classes[label];
    sure = share(shares[label]) + (second < 0 || shares[second] < 0.0005 ? "" : `\nthen ${MODEL.classes[second]}, ${share(shares[second])}`);
  } else if (steps) [answer, sure] = [values.length > 1 ? "" : number(values[0]), ""];
  byId("label").textContent = answer;
  byId("label").parentNode.className = `verdict ${steps ? answer.length > 2 ? "long" : "" : "none"}`;
  byId("sureness").textContent = sure;
  if (settled) byId("spoken").textContent = steps ? `${answer || values.map(number).join(", ")} ${sure.split("\n")[0]}` : nothing;
  grids.forEach((grid, k) => showUnits(grid, k, steps && steps[k].a));
  return result;
}

// Keys, buttons, another theme or another width.
function listen(undo, clear, redraw) {
  byId("undo").onclick = undo;
  byId("clear").onclick = clear;
  addEventListener("keydown", event => {
    if (event.altKey || event.target.type === "number") return;
    const key = event.key.toLowerCase(), withControl = event.ctrlKey || event.metaKey;
    if (key === "z") undo();
    else if (key === "escape" || (key === "x" && !withControl)) clear();
    else return;
    event.preventDefault();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  new ResizeObserver(redraw).observe(document.body);
}
