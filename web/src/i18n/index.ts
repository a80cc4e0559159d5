/**
 * Texts in every language. Each folder's `text.ts` holds `en` and `zh`, and says its keys to the type `Catalog`;
 * a key that is missing in one language does not compile.
 */
import i18next from 'i18next'
import { initReactI18next, useTranslation } from 'react-i18next'

/** Every folder adds its keys: `interface Catalog { vm: keyof typeof en }`. */
// biome-ignore lint/suspicious/noEmptyInterface: filled by the folders
export interface Catalog {}

type Base<K> = K extends `${infer B}_one` | `${infer B}_other` ? B : K
/** A key of a text, e.g. `vm.create`. */
export type Key = { [N in keyof Catalog]: `${N & string}.${Base<Catalog[N]> & string}` }[keyof Catalog]
/** Gives the text of a key. */
export type T = (key: Key, params?: Record<string, string | number>) => string

export const LANGUAGES = { en: 'English', zh: '中文' } as const
export type Language = keyof typeof LANGUAGES

type TextFile = { en: Record<string, string>; zh: Record<string, string> }
const files = import.meta.glob<TextFile>('../*/text.ts', { eager: true })
const STORED = 'virga.language'

/** All texts of a language, by full key. */
export function catalog(language: Language): Record<string, string> {
  const all: Record<string, string> = {}
  for (const [path, file] of Object.entries(files)) {
    const folder = path.split('/').at(-2)
    for (const [key, text] of Object.entries(file[language])) all[`${folder}.${key}`] = text
  }
  return all
}

/** What was chosen, else what the browser asks for. */
export function startLanguage(): Language {
  const stored = localStorage.getItem(STORED)
  if (stored === 'en' || stored === 'zh') return stored
  return navigator.language.toLowerCase().startsWith('zh') ? 'zh' : 'en'
}

export function setLanguage(language: Language) {
  localStorage.setItem(STORED, language)
  document.documentElement.lang = language === 'zh' ? 'zh-CN' : 'en'
  void i18next.changeLanguage(language)
}

export async function startTexts() {
  await i18next.use(initReactI18next).init({
    lng: startLanguage(),
    fallbackLng: 'en',
    resources: { en: { translation: catalog('en') }, zh: { translation: catalog('zh') } },
    keySeparator: false,
    nsSeparator: false,
    // React escapes by itself.
    interpolation: { escapeValue: false },
    showSupportNotice: false,
  } as never)
  document.documentElement.lang = startLanguage() === 'zh' ? 'zh-CN' : 'en'
}

/** The texts in the language of now. */
export function useT(): T {
  return useTranslation().t as unknown as T
}

/** For what is no component. */
export const text: T = (key, params) => i18next.t(key, params as never) as unknown as string

export function language(): Language {
  return i18next.language === 'zh' ? 'zh' : 'en'
}

/** The locale for numbers and times. */
export const locale = () => (language() === 'zh' ? 'zh-CN' : 'en-GB')
