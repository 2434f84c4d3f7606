// SPDX-License-Identifier: Apache-2.0
// wire.js - bytes to fields: gzip, and the protobuf wire format. Owns a cursor over bytes that nobody vouches
// for: what ends too early, or is no number, throws Malformed. Knows no message; profile.js does.

export class Malformed extends Error {}

const MOST = 512 << 20; // bytes that a gzip member may become

/** What is in the gzip member, or the bytes themselves where they are none. */
export async function gunzip(bytes) {
  if (bytes.length < 2 || bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip")).getReader();
  const parts = [];
  let n = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      n += value.length;
      if (n > MOST) throw new Malformed("more than 512 MiB uncompressed");
      parts.push(value);
    }
  } catch (e) {
    throw e instanceof Malformed ? e : new Malformed("not gzip, or cut short");
  }
  if (parts.length === 1) return parts[0];
  const all = new Uint8Array(n);
  let at = 0;
  for (const p of parts) {
    all.set(p, at);
    at += p.length;
  }
  return all;
}

const decoder = new TextDecoder();

/** A cursor from `pos` to `end`. Numbers of 64 bits are read as two halves: nothing is rounded unasked. */
export class Cursor {
  constructor(bytes) {
    this.b = bytes;
    this.pos = 0;
    this.end = bytes.length;
    this.field = this.wire = this.lo = this.hi = 0;
  }

  /** The next field's number, 0 at the end; its wire type is in this.wire. */
  next() {
    if (this.pos >= this.end) return 0;
    this.varint();
    this.field = this.lo >>> 3;
    this.wire = this.lo & 7;
    if (!this.field || this.hi) throw new Malformed("no field");
    return this.field;
  }

  varint() {
    const b = this.b;
    let p = this.pos, x = b[p++];
    let lo = x & 127, hi = 0;
    if (x > 127) {
      for (let shift = 7; ; shift += 7) {
        x = b[p++];
        if (shift < 28) lo |= (x & 127) << shift;
        else if (shift === 28) {
          lo |= (x & 15) << 28;
          hi = (x & 127) >> 4;
        } else if (shift < 64) hi |= (x & 127) << (shift - 32);
        else throw new Malformed("a number of more than 10 bytes");
        if (!(x > 127)) break;
      }
    }
    if (p > this.end) throw new Malformed("cut short");
    this.pos = p;
    this.lo = lo >>> 0;
    this.hi = hi >>> 0;
  }

  /** Unsigned: a Number where it is exact, else a BigInt. Equal values are equal keys of a Map. */
  uint() {
    this.varint();
    return this.hi < 0x200000 ? this.hi * 0x100000000 + this.lo : (BigInt(this.hi) << 32n) | BigInt(this.lo);
  }

  /** Signed, as a double: above 2^53 the last bits are rounded, which a sum of samples bears. */
  int() {
    this.varint();
    if (this.hi < 0x80000000) return this.hi * 0x100000000 + this.lo;
    return -((~this.hi >>> 0) * 0x100000000 + (~this.lo >>> 0) + 1);
  }

  /** Enters a field of bytes: its end. The cursor's own end is the caller's to move. */
  open() {
    if (this.wire !== 2) throw new Malformed("a field of the wrong kind");
    this.varint();
    const end = this.pos + this.lo;
    if (this.hi || end > this.end) throw new Malformed("cut short");
    return end;
  }

  text() {
    const end = this.open();
    const s = decoder.decode(this.b.subarray(this.pos, end));
    this.pos = end;
    return s;
  }

  skip() {
    if (this.wire === 0) this.varint();
    else if (this.wire === 2) this.pos = this.open();
    else if (this.wire === 1 || this.wire === 5) this.pos += this.wire === 1 ? 8 : 4;
    else throw new Malformed("a field of an unknown kind");
    if (this.pos > this.end) throw new Malformed("cut short");
  }

  /** Calls take() for each number of a repeated field, packed or not. */
  each(take) {
    if (this.wire === 0) return take();
    const end = this.open();
    while (this.pos < end) take();
    if (this.pos !== end) throw new Malformed("numbers beyond their field");
  }
}
