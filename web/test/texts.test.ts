/** Every text is in every language, no text stands outside the catalogues, and every key that is used is there. */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { describe, expect, it } from 'vitest'

const SRC = new URL('../src/', import.meta.url).pathname
type Texts = { en: Record<string, string>; zh: Record<string, string> }
const files = import.meta.glob<Texts>('../src/*/text.ts', { eager: true })

function sources(folder = SRC): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name)
    if (statSync(path).isDirectory()) return sources(path)
    return /\.tsx?$/.test(name) && !/\.(test|gen|d)\.ts/.test(name) && name !== 'text.ts' ? [path] : []
  })
}

const folderOf = (path: string) => path.split('/').at(-2) ?? ''
const variables = (text: string) => [...text.matchAll(/\{\{(\w+)\}\}/g)].map((m) => m[1]).sort()

describe('texts', () => {
  for (const [path, texts] of Object.entries(files)) {
    it(`of ${folderOf(path)} are in both languages, with the same variables`, () => {
      expect(Object.keys(texts.zh).sort()).toEqual(Object.keys(texts.en).sort())
      for (const [key, en] of Object.entries(texts.en)) {
        expect(texts.zh[key], key).toBeTruthy()
        expect(variables(texts.zh[key] ?? ''), key).toEqual(variables(en))
      }
    })

    it(`of ${folderOf(path)} are in Chinese where they are words`, () => {
      const words = Object.entries(texts.zh).filter(
        ([, zh]) => !/[一-鿿]/.test(zh) && /[a-z]{4,}/.test(zh.replace(/\{\{\w+\}\}/g, '')),
      )
      expect(words.filter(([key]) => !SAME.has(`${folderOf(path)}.${key}`))).toEqual([])
    })
  }

  const all = sources().map((path) => ({ path: path.slice(SRC.length), text: readFileSync(path, 'utf8') }))

  it('are all used', () => {
    const code = all.map((f) => f.text).join('\n')
    const unused = Object.entries(files).flatMap(([path, { en }]) =>
      Object.keys(en)
        .map((key) => `${folderOf(path)}.${key.replace(/_(one|other)$/, '')}`)
        // Keys that are put together, `vm.state.${state}`, are used by their first part.
        .filter((key) => !code.includes(`'${key}'`) && !code.includes(`\`${key.slice(0, key.lastIndexOf('.') + 1)}\${`)),
    )
    expect(unused).toEqual([])
  })

  it('stand nowhere else', () => {
    expect(all.filter((f) => f.path.endsWith('.tsx')).flatMap(literals)).toEqual([])
  })
})

/** Names that are the same in both languages. */
const SAME = new Set(['host.ovs', 'vm.createUserData'])
/** Attributes that people read. */
const READ = new Set(['title', 'label', 'placeholder', 'aria-label', 'alt', 'description', 'okText', 'cancelText', 'extra'])

function literals({ path, text }: { path: string; text: string }): string[] {
  const found: string[] = []
  const words = (s: string) => /\p{L}{2,}/u.test(s)
  const visit = (node: ts.Node) => {
    if (ts.isJsxText(node) && words(node.text)) found.push(`${path}: ${node.text.trim()}`)
    if (ts.isJsxAttribute(node) && node.initializer && ts.isStringLiteral(node.initializer)) {
      const name = node.name.getText()
      if (READ.has(name) && words(node.initializer.text)) found.push(`${path}: ${name}=${node.initializer.text}`)
    }
    ts.forEachChild(node, visit)
  }
  visit(ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true, ts.ScriptKind.TSX))
  return found
}
