// QR codes (ISO/IEC 18004): bytes, error correction L, versions 1 to 20. Drawn here because the text of a login code must not be sent to another service.

import { html } from "/console/lit-html.js";

/** By version, from 1: error correction bytes of a block, and blocks. */
const CHECKS = [7, 10, 15, 20, 26, 18, 20, 24, 30, 18, 20, 24, 26, 30, 22, 24, 28, 30, 28, 28];
const BLOCKS = [1, 1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 4, 4, 6, 6, 6, 6, 7, 8];

const alignments = (version) => {
  if (version === 1) return [];
  const [count, last] = [Math.floor(version / 7) + 2, version * 4 + 10];
  const step = Math.ceil((version * 4 + 4) / (count * 2 - 2)) * 2;
  return [6, ...Array.from({ length: count - 1 }, (_, n) => last - (count - 2 - n) * step)];
};

/** Capacity of a version in bytes, data and error correction. */
function room(version) {
  let bits = (16 * version + 128) * version + 64;
  if (version >= 2) {
    const n = Math.floor(version / 7) + 2;
    bits -= (25 * n - 10) * n - 55;
    if (version >= 7) bits -= 36;
  }
  return Math.floor(bits / 8);
}

const multiply = (a, b) => {
  let product = 0;
  for (let bit = 7; bit >= 0; bit -= 1) product = (product << 1) ^ ((product >>> 7) * 0x11d) ^ (((b >>> bit) & 1) * a);
  return product;
};

function reedSolomon(data, n) {
  const divisor = Array(n).fill(0);
  divisor[n - 1] = 1;
  for (let round = 0, root = 1; round < n; round += 1, root = multiply(root, 2)) {
    for (let at = 0; at < n; at += 1) divisor[at] = multiply(divisor[at], root) ^ (divisor[at + 1] ?? 0);
  }
  const rest = Array(n).fill(0);
  for (const byte of data) {
    const factor = byte ^ rest.shift();
    rest.push(0);
    divisor.forEach((one, at) => (rest[at] ^= multiply(one, factor)));
  }
  return rest;
}

/** The version that the text fits into, and its bytes with error correction, interleaved. */
function codewords(text) {
  const bytes = [...new TextEncoder().encode(text)];
  const dataRoom = (version) => room(version) - CHECKS[version - 1] * BLOCKS[version - 1];
  const countBits = (version) => (version < 10 ? 8 : 16);
  let version = 1;
  while (version <= CHECKS.length && 4 + countBits(version) + bytes.length * 8 > dataRoom(version) * 8) version += 1;
  if (version > CHECKS.length) throw new RangeError("too long for a code");
  const number = (value, length) => value.toString(2).padStart(length, "0");
  let bits = number(4, 4) + number(bytes.length, countBits(version)) + bytes.map((byte) => number(byte, 8)).join("");
  const most = dataRoom(version) * 8;
  bits += "0".repeat(Math.min(4, most - bits.length));
  bits += "0".repeat((8 - (bits.length % 8)) % 8);
  const data = bits.match(/.{8}/g).map((byte) => parseInt(byte, 2));
  for (let pad = 0xec; data.length < dataRoom(version); pad ^= 0xec ^ 0x11) data.push(pad);

  const [n, checks] = [BLOCKS[version - 1], CHECKS[version - 1]];
  const [short, nShort] = [Math.floor(room(version) / n) - checks, n - (room(version) % n)];
  const blocks = Array.from({ length: n }, (_, at) => data.splice(0, short + (at < nShort ? 0 : 1)));
  const ends = blocks.map((block) => reedSolomon(block, checks));
  const interleaved = (lists) => Array.from({ length: Math.max(...lists.map((one) => one.length)) }, (_, at) => lists.map((one) => one[at])).flat().filter((one) => one !== undefined);
  return { version, bytes: [...interleaved(blocks), ...interleaved(ends)] };
}

const MASKS = [
  (x, y) => (x + y) % 2,
  (x, y) => y % 2,
  (x) => x % 3,
  (x, y) => (x + y) % 3,
  (x, y) => (Math.floor(x / 3) + Math.floor(y / 2)) % 2,
  (x, y) => ((x * y) % 2) + ((x * y) % 3),
  (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2,
  (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2,
];

/** Fixed patterns of a version; cells for data are `undefined`. */
function frame(version) {
  const size = version * 4 + 17;
  const grid = Array.from({ length: size }, () => Array(size));
  const set = (x, y, dark) => grid[y]?.[x] === undefined && x >= 0 && x < size && y >= 0 && y < size && (grid[y][x] = Boolean(dark));
  const square = (cx, cy, reach, isDark) => {
    for (let dy = -reach; dy <= reach; dy += 1) for (let dx = -reach; dx <= reach; dx += 1) set(cx + dx, cy + dy, isDark(Math.max(Math.abs(dx), Math.abs(dy))));
  };
  for (const [x, y] of [[3, 3], [size - 4, 3], [3, size - 4]]) square(x, y, 4, (ring) => ring !== 2 && ring !== 4);
  const centres = alignments(version);
  const last = centres.length - 1;
  centres.forEach((x, i) => centres.forEach((y, j) => {
    const isFinder = (i === 0 && (j === 0 || j === last)) || (i === last && j === 0);
    if (!isFinder) square(x, y, 2, (ring) => ring !== 1);
  }));
  for (let at = 0; at < size; at += 1) {
    set(at, 6, at % 2 === 0);
    set(6, at, at % 2 === 0);
  }
  return { size, grid, set };
}

const remainder = (value, polynomial, length) => {
  let rest = value;
  for (let n = 0; n < length; n += 1) rest = (rest << 1) ^ ((rest >>> (length - 1)) * polynomial);
  return rest;
};

/** Format information (the mask, with error correction L) and version information. */
function information({ size, set }, version, mask) {
  const value = (1 << 3) | mask;
  const format = ((value << 10) | remainder(value, 0x537, 10)) ^ 0x5412;
  const bit = (n) => (format >>> n) & 1;
  for (let n = 0; n < 15; n += 1) {
    set(8, n < 6 ? n : n < 8 ? n + 1 : size - 15 + n, bit(n));
    set(n < 8 ? size - 1 - n : n < 9 ? 7 : 14 - n, 8, bit(n));
  }
  set(8, size - 8, true);
  if (version < 7) return;
  const line = (version << 12) | remainder(version, 0x1f25, 12);
  for (let n = 0; n < 18; n += 1) {
    const [a, b] = [size - 11 + (n % 3), Math.floor(n / 3)];
    set(a, b, (line >>> n) & 1);
    set(b, a, (line >>> n) & 1);
  }
}

/** The dark cells of a text's code, line by line. */
export function cells(text) {
  const { version, bytes } = codewords(text);
  const drawn = MASKS.map((mask, number) => {
    const code = frame(version);
    information(code, version, number);
    let bit = 0;
    for (let right = code.size - 1; right >= 1; right -= 2) {
      if (right === 6) right = 5;
      for (let step = 0; step < code.size; step += 1) {
        const y = ((right + 1) & 2) === 0 ? code.size - 1 - step : step;
        for (const x of [right, right - 1]) {
          if (code.grid[y][x] !== undefined) continue;
          const dark = ((bytes[bit >> 3] ?? 0) >>> (7 - (bit & 7))) & 1;
          code.grid[y][x] = Boolean(dark) !== (mask(x, y) === 0);
          bit += 1;
        }
      }
    }
    return code.grid;
  });
  // Any mask is valid; the most balanced one is easiest to scan.
  const uneven = (grid) => {
    const lines = [...grid, ...grid.map((_, x) => grid.map((row) => row[x]))];
    const runs = lines.map((line) => line.map(Number).join("").match(/0{5,}|1{5,}/g) ?? []).flat();
    return runs.reduce((sum, run) => sum + run.length - 2, 0);
  };
  return drawn.reduce((best, one) => (uneven(one) < uneven(best) ? one : best));
}

/** The code as a picture, dark on white in every theme, with the margin that readers need. */
export function qr(text, label) {
  const grid = cells(text);
  const size = grid.length + 8;
  const path = grid.flatMap((row, y) => row.map((dark, x) => (dark ? `M${x + 4} ${y + 4}h1v1h-1z` : ""))).join("");
  return html`<svg id="qr" role="img" aria-label=${label} viewBox="0 0 ${size} ${size}" width="240" height="240" shape-rendering="crispEdges">
    <path fill="#fff" d="M0 0h${size}v${size}H0z"></path><path fill="#000" d=${path}></path></svg>`;
}
