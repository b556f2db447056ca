// The network: parameters from int8, outputs, and what each input has to do with the answer.

// The error function to 1.5e-7: Abramowitz and Stegun 1964, 7.1.26.
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const p = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
  return Math.sign(x) * (1 - p * Math.exp(-x * x));
}
const sigmoid = z => 1 / (1 + Math.exp(-z));
const softplus = z => Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z)));
const SELU = 1.0507009873554805, SELU_ALPHA = 1.6732632423543772;

const ACTIVATIONS = {
  relu: z => Math.max(z, 0),
  tanh: Math.tanh,
  sigmoid,
  identity: z => z,
  leaky_relu: z => Math.max(z, 0.01 * z),
  elu: z => z > 0 ? z : Math.expm1(z),
  selu: z => SELU * (z > 0 ? z : SELU_ALPHA * Math.expm1(z)),
  gelu: z => z * (1 + erf(z * Math.SQRT1_2)) / 2,
  gelu_tanh: z => z * sigmoid(1.5957691216057308 * (z + 0.044715 * z ** 3)),
  silu: z => z * sigmoid(z),
  mish: z => z * Math.tanh(softplus(z)),
  softplus,
};
const STEP = 1e-4; // of the central difference that is the slope of an activation

// Layers of {n, m, weights (m, n), biases (m), activate}.
function readLayers({ layers, activations, parameters }) {
  const bytes = Uint8Array.from(atob(parameters), c => c.charCodeAt(0));
  let at = 0;
  const take = (Type, count) => {
    const end = at + count * Type.BYTES_PER_ELEMENT;
    const part = new Type(bytes.slice(at, end).buffer);
    at = end;
    return part;
  };
  return activations.map((name, k) => {
    const [n, m] = [layers[k], layers[k + 1]];
    const q = take(Int8Array, n * m), scale = take(Float32Array, m), biases = take(Float32Array, m);
    const weights = Float32Array.from(q, (value, i) => value * scale[Math.floor(i / n)]);
    return { n, m, weights, biases, activate: ACTIVATIONS[name] };
  });
}

// x (inputs) -> for each layer z and a = f(z).
function forward(layers, x) {
  let a = x;
  return layers.map(({ n, m, weights, biases, activate }) => {
    const z = Float64Array.from(biases), on = [];
    for (let i = 0; i < n; i++) if (a[i] !== 0) on.push(i);
    for (let j = 0; j < m; j++) for (const i of on) z[j] += weights[j * n + i] * a[i];
    return { z, a: a = z.map(activate) };
  });
}

function softmax(z) {
  const largest = Math.max(...z), e = Array.from(z, value => Math.exp(value - largest));
  const sum = e.reduce((a, b) => a + b);
  return e.map(value => value / sum);
}

// What the page shows of outputs a: {values, shares, label}; of a regression shares and label are missing. Of one output
// that tells two classes there are two values.
function read({ loss, regression, fromLogits }, a) {
  let values = Array.from(a);
  if (loss === "softmax_ce") values = softmax(a);
  if (loss === "sigmoid_bce") values = values.map(sigmoid);
  if (loss === "poisson") values = values.map(Math.exp);
  if (regression) return { values };
  if (values.length > 1 || loss === "softmax_ce") return { values, shares: values, label: values.indexOf(Math.max(...values)) };
  const both = [1 - values[0], values[0]];
  return { values: both, shares: both, label: Number(a[0] > (fromLogits ? 0 : 0.5)) };
}

// Gradient times input of the answer's logit, less the logarithm of the sum of exp of the others: the logarithm of the odds
// for it, where the loss is softmax_ce. Else, and of a regression, of the output that is meant.
function evidence(model, layers, steps, x, label) {
  const last = steps.at(-1);
  let delta = new Float64Array(last.z.length);
  if (model.loss === "softmax_ce" && delta.length > 1) {
    const others = softmax(last.z.map((z, j) => j === label ? -Infinity : z));
    delta = delta.map((_, j) => j === label ? 1 : -others[j]);
  } else if (delta.length > 1) delta[label ?? 0] = 1;
  else delta[0] = label === 0 ? -1 : 1;
  for (let k = layers.length - 1; k >= 0; k--) {
    const { n, m, weights, activate } = layers[k], before = new Float64Array(n);
    for (let j = 0; j < m; j++) {
      const z = steps[k].z[j];
      const slope = delta[j] * (activate(z + STEP) - activate(z - STEP)) / (2 * STEP);
      if (slope !== 0) for (let i = 0; i < n; i++) before[i] += slope * weights[j * n + i];
    }
    delta = before;
  }
  return delta.map((slope, i) => slope * x[i]);
}
