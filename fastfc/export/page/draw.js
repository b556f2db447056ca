// The pad: strokes of mouse, pen or finger, the image that the network sees of them, and which pixels of it speak for the
// answer, and which against.

const pad = byId("pad"), SIDE = MODEL.side, PEN = penWidth(SIDE);
let strokes = [], drawing = null, mask = new Uint8Array(SHEET * SHEET), due = false;

const seen = picture("seen"), spoke = picture("evidence");
seen.caption.textContent = `What the network sees: ${SIDE} × ${SIDE} pixels`;

function picture(id) {
  const figure = add(byId("pictures"), "figure"), canvas = add(figure, "canvas", { id, width: SIDE, height: SIDE, role: "img" });
  return { canvas, caption: add(figure, "figcaption") };
}

// Where the pointer is on the sheet; the pen stays inside.
function place(event) {
  const box = pad.getBoundingClientRect(), least = PEN / 2 + EDGE;
  const inside = value => Math.min(SHEET - least, Math.max(least, value * SHEET));
  return [inside((event.clientX - box.left) / box.width), inside((event.clientY - box.top) / box.height)];
}

function extend(stroke, point) {
  ink(mask, stroke.at(-1) ?? point, point, PEN / 2);
  stroke.push(point);
}

function inkAll() {
  mask = new Uint8Array(SHEET * SHEET);
  for (const stroke of strokes) stroke.forEach((point, i) => ink(mask, stroke[Math.max(0, i - 1)], point, PEN / 2));
}

function paint() {
  const context = sized(pad, SHEET, SHEET);
  Object.assign(context, { lineWidth: PEN, lineCap: "round", lineJoin: "round", strokeStyle: colour("--text") });
  for (const stroke of strokes) {
    context.beginPath();
    context.moveTo(...stroke[0]);
    for (const point of stroke) context.lineTo(...point);
    context.stroke();
  }
}

function update() {
  due = false;
  paint();
  const image = strokes.length ? prepare(mask, SIDE) : null;
  const x = image && Float64Array.from(image, level => level * MODEL.scale), steps = x && forward(layers, x);
  const { label } = show(steps, !drawing, "Nothing drawn yet");
  showSeen(image);
  showEvidence(image, steps && evidence(MODEL, layers, steps, x, label), label);
  byId("hint").hidden = strokes.length > 0;
  byId("undo").disabled = byId("clear").disabled = !strokes.length;
}

function later() {
  if (!due) requestAnimationFrame(update);
  due = true;
}

function showSeen(image) {
  const context = seen.canvas.getContext("2d"), pixels = context.createImageData(SIDE, SIDE);
  image?.forEach((level, i) => pixels.data.set([255, 255, 255, level], 4 * i));
  context.putImageData(pixels, 0, 0);
}

function showEvidence(image, values, label) {
  const context = spoke.canvas.getContext("2d"), shown = values && inColours(values), text = colour("--text");
  context.clearRect(0, 0, SIDE, SIDE);
  shown?.forEach(([fill, alpha], i) => {
    const pixel = [i % SIDE, Math.floor(i / SIDE), 1, 1];
    context.globalAlpha = 0.12 * image[i] / 255;
    context.fillStyle = text;
    context.fillRect(...pixel);
    context.globalAlpha = alpha;
    context.fillStyle = fill;
    context.fillRect(...pixel);
  });
  const answer = label === undefined ? "a larger number" : MODEL.classes[label];
  spoke.caption.innerHTML = 'Pixels that speak <b class="for">for</b> <span></span> and <b class="against">against</b>';
  spoke.caption.querySelector("span").textContent = values ? answer : "it";
}

pad.addEventListener("pointerdown", event => {
  if (drawing || event.button !== 0) return;
  event.preventDefault();
  pad.setPointerCapture(event.pointerId);
  drawing = { id: event.pointerId, stroke: [] };
  strokes.push(drawing.stroke);
  extend(drawing.stroke, place(event));
  later();
});
pad.addEventListener("pointermove", event => {
  if (event.pointerId !== drawing?.id) return;
  const events = event.getCoalescedEvents?.() ?? [];
  for (const one of events.length ? events : [event]) extend(drawing.stroke, place(one));
  later();
});
for (const end of ["pointerup", "pointercancel"]) {
  pad.addEventListener(end, event => {
    if (event.pointerId !== drawing?.id) return;
    drawing = null;
    later();
  });
}

function undo() {
  if (drawing || !strokes.length) return;
  strokes.pop();
  inkAll();
  later();
}
function clear() {
  if (drawing) return;
  strokes = [];
  inkAll();
  later();
}
listen(undo, clear, later);
update();
