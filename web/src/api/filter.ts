/** The API's filter language, as far as a list page needs it: taking a filter apart into chips, and putting it together. */

/** A value as it stands in a filter: bare when it may be, else quoted. */
export function quoted(value: string): string {
  return /^[A-Za-z0-9._:/+-]+$/.test(value) && !/^(and|or|not|in)$/i.test(value)
    ? value
    : `"${value.replace(/(["\\])/g, '\\$1')}"`
}

/** One comparison. */
export function term(field: string, op: string, value: string): string {
  return `${field} ${op} ${quoted(value)}`
}

/** All of these hold. A part with `or` at its top is put in parentheses. */
export function all(parts: (string | undefined | false)[]): string {
  const kept = parts.filter((p): p is string => !!p && p.trim() !== '')
  return kept.length === 1 ? (kept[0] ?? '') : kept.map((p) => (split(p, 'or').length > 1 ? `(${p})` : p)).join(' and ')
}

/** One of these ids. */
export function anyId(ids: string[]): string {
  return `id in (${ids.join(', ')})`
}

/** The parts of a filter between a word at its top level, not inside parentheses or quotes. */
export function split(text: string, word: 'and' | 'or'): string[] {
  const parts: string[] = []
  let [depth, inText, from, i] = [0, false, 0, 0]
  for (; i < text.length; i++) {
    const c = text[i]
    if (inText) {
      if (c === '\\') i++
      else if (c === '"') inText = false
    } else if (c === '"') inText = true
    else if (c === '(') depth++
    else if (c === ')') depth--
    else if (
      depth === 0 &&
      boundary(text[i - 1]) &&
      text.slice(i, i + word.length).toLowerCase() === word &&
      boundary(text[i + word.length])
    ) {
      parts.push(text.slice(from, i))
      from = i + word.length
      i = from - 1
    }
  }
  parts.push(text.slice(from))
  return parts.map((p) => p.trim()).filter((p) => p !== '')
}

function boundary(c: string | undefined): boolean {
  return c === undefined || /[\s()"]/.test(c)
}

/** The chips of a filter: its parts when they are all joined by `and`, else the whole as one. */
export function chips(filter: string): string[] {
  const text = filter.trim()
  if (text === '') return []
  return split(text, 'or').length > 1 ? [text] : split(text, 'and')
}

/** Whether a text is meant as a filter and not as a name to look for. */
export function looksLikeFilter(text: string): boolean {
  return /[=<>~]|\bin\s*\(/.test(text)
}
