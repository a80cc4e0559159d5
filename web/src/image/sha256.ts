/**
 * SHA-256 of a file that need not fit into memory: the browser's own digest wants all bytes at once.
 * It shows that two parts of an upload are of one file, and is no protection of a secret.
 */

const PIECE = 4 << 20

const K = Uint32Array.from(
  (
    '428a2f98 71374491 b5c0fbcf e9b5dba5 3956c25b 59f111f1 923f82a4 ab1c5ed5 d807aa98 12835b01 243185be 550c7dc3 72be5d74 80deb1fe ' +
    '9bdc06a7 c19bf174 e49b69c1 efbe4786 0fc19dc6 240ca1cc 2de92c6f 4a7484aa 5cb0a9dc 76f988da 983e5152 a831c66d b00327c8 bf597fc7 ' +
    'c6e00bf3 d5a79147 06ca6351 14292967 27b70a85 2e1b2138 4d2c6dfc 53380d13 650a7354 766a0abb 81c2c92e 92722c85 a2bfe8a1 a81a664b ' +
    'c24b8b70 c76c51a3 d192e819 d6990624 f40e3585 106aa070 19a4c116 1e376c08 2748774c 34b0bcb5 391c0cb3 4ed8aa4a 5b9cca4f 682e6ff3 ' +
    '748f82ee 78a5636f 84c87814 8cc70208 90befffa a4506ceb bef9a3f7 c67178f2'
  )
    .split(' ')
    .map((w) => Number.parseInt(w, 16)),
)

/** The state after the whole blocks of `bytes`. */
function blocks(h: Uint32Array, bytes: Uint8Array, w: Uint32Array) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let at = 0; at + 64 <= bytes.length; at += 64) {
    for (let i = 0; i < 16; i++) w[i] = view.getUint32(at + 4 * i)
    for (let i = 16; i < 64; i++) {
      const a = w[i - 15] as number
      const b = w[i - 2] as number
      const s0 = ((a >>> 7) | (a << 25)) ^ ((a >>> 18) | (a << 14)) ^ (a >>> 3)
      const s1 = ((b >>> 17) | (b << 15)) ^ ((b >>> 19) | (b << 13)) ^ (b >>> 10)
      w[i] = ((w[i - 16] as number) + s0 + (w[i - 7] as number) + s1) | 0
    }
    let [a, b, c, d, e, f, g, x] = h as unknown as [number, number, number, number, number, number, number, number]
    for (let i = 0; i < 64; i++) {
      const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7))
      const t1 = (x + s1 + ((e & f) ^ (~e & g)) + (K[i] as number) + (w[i] as number)) | 0
      const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10))
      const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0
      x = g
      g = f
      f = e
      e = (d + t1) | 0
      d = c
      c = b
      b = a
      a = (t1 + t2) | 0
    }
    const sums = [a, b, c, d, e, f, g, x]
    for (let i = 0; i < 8; i++) h[i] = (h[i] as number) + (sums[i] as number)
  }
}

/** The digest in hexadecimal digits; `onDone` is told how many bytes were read. */
export async function sha256(file: Blob, onDone: (bytes: number) => void, signal: AbortSignal): Promise<string> {
  const h = Uint32Array.from([0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19])
  const w = new Uint32Array(64)
  let rest = new Uint8Array(0)
  for (let at = 0; at < file.size; at += PIECE) {
    signal.throwIfAborted()
    rest = new Uint8Array(await file.slice(at, at + PIECE).arrayBuffer())
    blocks(h, rest, w)
    onDone(Math.min(at + PIECE, file.size))
  }
  // Pieces are whole blocks, so only the last one leaves something over.
  const tail = rest.subarray(rest.length - (rest.length % 64))
  const last = new Uint8Array(tail.length < 56 ? 64 : 128)
  last.set(tail)
  last[tail.length] = 0x80
  const view = new DataView(last.buffer)
  view.setBigUint64(last.length - 8, BigInt(file.size) * 8n)
  blocks(h, last, w)
  return Array.from(h, (n) => n.toString(16).padStart(8, '0')).join('')
}
