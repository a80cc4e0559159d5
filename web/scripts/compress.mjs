// Puts a compressed copy beside each built file, keeps the folder's own .gitignore, and holds the budget of the first load.
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { constants, gzipSync } from 'node:zlib'

/** Script that a browser loads before it shows something: 450 kB compressed. */
const FIRST_LOAD_BYTES_MAX = 450_000
const dist = new URL('../dist/', import.meta.url).pathname

function filesOf(folder) {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name)
    return statSync(path).isDirectory() ? filesOf(path) : [path]
  })
}

/** The built scripts that are loaded with `entry`, without those that are loaded when they are needed. */
function firstLoad(manifest, entry, seen = new Set()) {
  if (seen.has(entry)) return seen
  seen.add(entry)
  for (const next of manifest[entry].imports ?? []) firstLoad(manifest, next, seen)
  return seen
}

const manifest = JSON.parse(readFileSync(join(dist, 'manifest.json'), 'utf8'))
const entries = ['index.html', 'src/app/Inside.tsx', 'src/overview/OverviewPage.tsx']
const needed = new Set(entries.flatMap((e) => [...firstLoad(manifest, e)]))
const size = (file) => gzipSync(readFileSync(join(dist, file)), { level: 9 }).length
const total = [...needed].map((n) => manifest[n].file).reduce((sum, file) => sum + size(file), 0)

rmSync(join(dist, 'manifest.json'))
writeFileSync(join(dist, '.gitignore'), '# The built portal; git keeps only that there is such a folder.\n*\n!.gitignore\n')
for (const path of filesOf(dist)) {
  if (!/\.(js|css|html|svg)$/.test(path)) continue
  writeFileSync(`${path}.gz`, gzipSync(readFileSync(path), { level: constants.Z_BEST_COMPRESSION }))
}

const kb = (n) => `${Math.round(n / 1000)} kB`
process.stdout.write(`first load: ${kb(total)} of script, compressed (at most ${kb(FIRST_LOAD_BYTES_MAX)})\n`)
if (total > FIRST_LOAD_BYTES_MAX) {
  process.stderr.write('The first load is over its budget: load what it need not hold when it is opened.\n')
  process.exit(1)
}
