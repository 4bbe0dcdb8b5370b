// Vectors as Postgres keeps them: 32-bit floats, little-endian, on every machine.

export function bytesOf(vector: readonly number[]): Buffer {
  const bytes = Buffer.alloc(vector.length * 4);
  vector.forEach((value, at) => bytes.writeFloatLE(value, at * 4));
  return bytes;
}

export function vectorOf(given: Uint8Array): number[] {
  const bytes = Buffer.from(given.buffer, given.byteOffset, given.byteLength);
  return Array.from({ length: bytes.length / 4 }, (_, at) => bytes.readFloatLE(at * 4));
}
