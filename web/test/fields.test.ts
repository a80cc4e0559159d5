/**
 * The help beside fields and the page of the guide about them are one text: `docs/guide/fields.md` is written from the
 * catalogues by `VIRGA_UPDATE=1 scripts/web.sh run npm --prefix web test`, and this finds it when it is old.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { expect, it } from 'vitest'

type Texts = { en: Record<string, string>; zh: Record<string, string> }
const files = import.meta.glob<Texts>('../src/*/text.ts', { eager: true })
const PAGE = new URL('../../docs/guide/fields.md', import.meta.url)
const HEAD = `# Fields of the portal

What the portal says beside its fields. The texts are the portal's own (\`web/src/*/text.ts\`, keys that end in \`Help\`); this page is written from them and not by hand.
`

/** The words of a key: the text of the field itself, where it has one. */
function labelOf(texts: Record<string, string>, key: string): string {
  const field = key.replace(/Help$/, '')
  return texts[field] ?? texts[`${field}Title`] ?? field.replace(/[A-Z]/g, (c) => ` ${c.toLowerCase()}`)
}

const cell = (text: string) => text.replace(/\|/g, '\\|').replace(/\{\{(\w+)\}\}/g, '…')

function page(): string {
  const nouns = Object.entries(files).map(([path, { en }]) => ({ noun: path.split('/').at(-2) ?? '', en }))
  const parts = nouns
    .map(({ noun, en }) => ({
      noun,
      title: en.many ?? en.title ?? en.tree ?? noun,
      en,
      helps: Object.keys(en).filter((k) => k.endsWith('Help')),
    }))
    .filter((p) => p.helps.length > 0)
    .sort((a, b) => a.noun.localeCompare(b.noun))
  const tables = parts.map(({ noun, title, en, helps }) => {
    const rows = helps.map((k) => `| ${cell(labelOf(en, k))} | ${cell(en[k] ?? '')} |`)
    return `\n## ${noun === 'ui' ? 'Everywhere' : title}\n\n| Field | Help |\n|---|---|\n${rows.join('\n')}\n`
  })
  return HEAD + tables.join('')
}

it('the guide says what stands beside the fields', () => {
  const wanted = page()
  if (process.env.VIRGA_UPDATE) writeFileSync(PAGE, wanted)
  expect(readFileSync(PAGE, 'utf8'), 'run: VIRGA_UPDATE=1 scripts/web.sh run npm --prefix web test').toBe(wanted)
})
