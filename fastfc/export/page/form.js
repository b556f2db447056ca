// The form: a slider and a number for each column, and how much each speaks for the answer, or against.

const form = byId("form"), past = [];
const middle = ([, low, high]) => (low + high) / 2;
let values = MODEL.columns.map(middle);

const fields = MODEL.columns.map(([name, low, high], i) => {
  const row = add(form, "div", { className: "column" });
  add(row, "label", { textContent: name, htmlFor: `n${i}`, title: name });
  const text = add(row, "input", { type: "number", id: `n${i}`, step: "any" });
  const slider = add(row, "input", { type: "range", ariaLabel: name, min: low, max: high, step: (high - low) / 200 });
  const bar = add(add(row, "div", { className: "speaks" }), "i");
  const set = source => {
    if (Number.isFinite(source.valueAsNumber)) values[i] = source.valueAsNumber;
    update(source);
  };
  for (const input of [text, slider]) {
    input.onfocus = input.onpointerdown = keep;
    input.oninput = () => set(input);
  }
  return { text, slider, bar };
});
add(form, "p", {
  className: "legend",
  innerHTML: 'The lines below show what speaks <b class="for">for</b> the answer and <b class="against">against</b> it.',
});
form.prepend(form.lastChild);
form.onsubmit = event => event.preventDefault();

// The values as they are, for undo, unless they are kept.
function keep() {
  if (String(past.at(-1)) !== String(values)) past.push([...values]);
}

function update(source) {
  fields.forEach(({ text, slider }, i) => {
    if (text !== source) text.value = number(values[i]);
    if (slider !== source) slider.value = values[i];
  });
  const x = Float64Array.from(values, value => value * MODEL.scale), steps = forward(layers, x);
  const { label } = show(steps, true), spoken = evidence(MODEL, layers, steps, x, label);
  const largest = spoken.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-12);
  fields.forEach(({ bar }, i) => {
    const size = 50 * Math.abs(spoken[i]) / largest;
    Object.assign(bar.style, {
      width: `${size}%`,
      marginLeft: `${spoken[i] > 0 ? 50 : 50 - size}%`,
      background: `var(--${spoken[i] > 0 ? "for" : "against"})`,
    });
  });
  byId("undo").disabled = !past.some(old => String(old) !== String(values));
  byId("clear").disabled = String(values) === String(MODEL.columns.map(middle));
}

function undo() {
  while (past.length) {
    const old = past.pop();
    if (String(old) === String(values)) continue;
    values = old;
    break;
  }
  update();
}
function clear() {
  keep();
  values = MODEL.columns.map(middle);
  update();
}
listen(undo, clear, () => update());
update();
