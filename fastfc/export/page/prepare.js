// Strokes -> the image that the network sees: as fastfc.images.prepare makes it of the same picture, trimmed, scaled to
// 20/28 of the side, and placed by the centre of mass. Paper and pen are known here, so that neither has to be found.

const SHEET = 224; // pixels a side of the mask that is prepared
const EDGE = 3; // that stay free of ink all around
// The pen's width, of SHEET: 2.4 pixels of 28. No stroke of it is so thin that it would have to be widened.
const penWidth = side => SHEET * 2.4 / side;

// Sets the pixels of mask (SHEET, SHEET) whose centre is at most `radius` from the line between two points.
function ink(mask, [x0, y0], [x1, y1], radius) {
  const dx = x1 - x0, dy = y1 - y0, square = dx * dx + dy * dy || 1;
  const first = value => Math.max(0, Math.floor(value - radius)), last = value => Math.min(SHEET - 1, Math.ceil(value + radius));
  for (let y = first(Math.min(y0, y1)); y <= last(Math.max(y0, y1)); y++) {
    for (let x = first(Math.min(x0, x1)); x <= last(Math.max(x0, x1)); x++) {
      const px = x + 0.5 - x0, py = y + 0.5 - y0;
      const t = Math.min(1, Math.max(0, (px * dx + py * dy) / square));
      if ((px - t * dx) ** 2 + (py - t * dy) ** 2 <= radius * radius) mask[y * SHEET + x] = 1;
    }
  }
}

// Of the 3 x 3 around each pixel the sum, or whether any is set; none is at the edge.
function around(mask, join) {
  const rows = new Uint8Array(mask.length), all = new Uint8Array(mask.length);
  for (let i = 1; i < mask.length - 1; i++) rows[i] = join(mask[i - 1], mask[i], mask[i + 1]);
  for (let i = SHEET; i < mask.length - SHEET; i++) all[i] = join(rows[i - SHEET], rows[i], rows[i + SHEET]);
  return all;
}
const counted = mask => around(mask, (a, b, c) => a + b + c);
const grown = mask => around(mask, (a, b, c) => a | b | c);

// Where there is more than a quarter of the strongest ink, 2 of 9 pixels, without 8-connected parts that have less than 4 %
// of the largest's pixels: dirt.
function withoutSpecks(counts) {
  const part = new Uint16Array(counts.length), areas = [0], kept = new Uint8Array(counts.length);
  for (let start = 0; start < counts.length; start++) {
    if (counts[start] < 3 || part[start]) continue;
    const open = [start];
    part[start] = areas.length;
    let area = 0;
    while (open.length) {
      const i = open.pop();
      area++;
      for (const row of [i - SHEET, i, i + SHEET]) for (let k = row - 1; k <= row + 1; k++) {
        if (counts[k] > 2 && !part[k]) {
          part[k] = areas.length;
          open.push(k);
        }
      }
    }
    areas.push(area);
  }
  const least = Math.max(4, 0.04 * Math.max(...areas));
  for (let i = 0; i < kept.length; i++) kept[i] = areas[part[i]] >= least;
  return kept;
}

// (new) lists of [pixel, weight]: the mean over the area of each new pixel, of `old` ones.
function resampling(old, size) {
  const reach = old / size;
  return Array.from({ length: size }, (_, i) => {
    const centre = (i + 0.5) * reach, weights = [];
    for (let k = 0; k < old; k++) {
      const overlap = Math.min(1, (reach + 1) / 2 - Math.abs(k + 0.5 - centre));
      if (overlap > 0) weights.push([k, overlap]);
    }
    const sum = weights.reduce((total, [, weight]) => total + weight, 0);
    return weights.map(([k, weight]) => [k, weight / sum]);
  });
}

// To the nearest whole number; halves to the even one, as Python rounds.
function rounded(value) {
  const below = Math.floor(value), rest = value - below;
  return below + (rest > 0.5 || (rest === 0.5 && below % 2 !== 0));
}

// mask (SHEET, SHEET) of 0 and 1 -> (side * side) levels 0 to 255; null where there is no ink.
function prepare(mask, side) {
  const counts = counted(mask), near = grown(grown(withoutSpecks(counts))), edge = new Uint8Array(mask.length);
  let [top, bottom, left, right] = [SHEET, -1, SHEET, -1];
  for (let y = 0; y < SHEET; y++) for (let x = 0; x < SHEET; x++) {
    const i = y * SHEET + x;
    if (!near[i] || counts[i] < 2) continue; // more than 12 % of the strongest ink
    edge[i] = 1;
    [top, bottom] = [Math.min(top, y), y];
    [left, right] = [Math.min(left, x), Math.max(right, x)];
  }
  if (bottom < 0) return null;
  const strokes = grown(edge);
  for (let i = 0; i < mask.length; i++) strokes[i] &= mask[i];
  const height = bottom - top + 1, width = right - left + 1, scale = rounded(side * 20 / 28) / Math.max(height, width);
  const rows = Math.max(1, rounded(height * scale)), columns = Math.max(1, rounded(width * scale));
  return centred(fit(strokes, [top, left, height, width], rows, columns), rows, columns, side);
}

// The strokes in a box -> (rows, columns), the strongest 255.
function fit(strokes, [top, left, height, width], rows, columns) {
  const across = resampling(width, columns), narrow = new Float64Array(height * columns);
  for (let y = 0; y < height; y++) across.forEach((weights, x) => {
    for (const [k, weight] of weights) narrow[y * columns + x] += weight * strokes[(top + y) * SHEET + left + k];
  });
  const fitted = new Float64Array(rows * columns);
  resampling(height, rows).forEach((weights, y) => {
    for (const [k, weight] of weights) for (let x = 0; x < columns; x++) fitted[y * columns + x] += weight * narrow[k * columns + x];
  });
  const largest = Math.max(...fitted);
  return fitted.map(level => level * 255 / largest);
}

// (rows, columns) in (side, side), its centre of mass as near to the middle as the ink allows.
function centred(fitted, rows, columns, side) {
  let [mass, massX, massY] = [0, 0, 0];
  fitted.forEach((level, i) => {
    mass += level;
    massX += level * (i % columns);
    massY += level * Math.floor(i / columns);
  });
  const corner = (middle, size) => Math.min(Math.max(rounded(side / 2 - middle), 0), side - size);
  const top = corner(massY / mass, rows), left = corner(massX / mass, columns), image = new Uint8Array(side * side);
  fitted.forEach((level, i) => {
    image[(top + Math.floor(i / columns)) * side + left + i % columns] = rounded(level);
  });
  return image;
}
