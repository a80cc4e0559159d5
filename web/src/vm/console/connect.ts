/** A way to a console: a ticket that is good once, and the WebSocket that it opens. */
import { api } from '../../api/client'
import type { Schemas } from '../../api/schema'

export type Link = 'connecting' | 'connected' | 'closed'

export async function consoleUrl(vm: string, kind: Schemas['ConsoleKind'], signal?: AbortSignal): Promise<string> {
  const { path } = await api.post('/v1/vms/{vm}/consoles', { path: { vm }, body: { kind }, signal })
  return `wss://${location.host}${path}`
}

const SHIFT = 0xffe1
const ENTER = 0xff0d
const TAB = 0xff09
/** Characters that a US keyboard writes with Shift. */
const SHIFTED = /[A-Z~!@#$%^&*()_+{}|:"<>?]/

/** The keys that write a text: each with whether Shift is held. What no key writes is left out. */
export function keysOf(text: string): { keysym: number; shift: boolean }[] {
  return [...text.replace(/\r\n?/g, '\n')].flatMap((c) => {
    if (c === '\n') return { keysym: ENTER, shift: false }
    if (c === '\t') return { keysym: TAB, shift: false }
    const code = c.codePointAt(0) ?? 0
    return code >= 0x20 && code < 0x7f ? { keysym: code, shift: SHIFTED.test(c) } : []
  })
}

interface Keyboard {
  sendKey: (keysym: number, code: string | null, down?: boolean) => void
}

/** Types a text, key by key. */
export function type(keyboard: Keyboard, text: string) {
  for (const { keysym, shift } of keysOf(text)) {
    if (shift) keyboard.sendKey(SHIFT, 'ShiftLeft', true)
    keyboard.sendKey(keysym, null)
    if (shift) keyboard.sendKey(SHIFT, 'ShiftLeft', false)
  }
}

/** Keys that a browser or the desktop around it keeps for itself. */
export const CHORDS: Record<string, [number, string][]> = {
  'Ctrl+Alt+Del': [
    [0xffe3, 'ControlLeft'],
    [0xffe9, 'AltLeft'],
    [0xffff, 'Delete'],
  ],
  'Ctrl+Alt+F1': [
    [0xffe3, 'ControlLeft'],
    [0xffe9, 'AltLeft'],
    [0xffbe, 'F1'],
  ],
  'Ctrl+Alt+F2': [
    [0xffe3, 'ControlLeft'],
    [0xffe9, 'AltLeft'],
    [0xffbf, 'F2'],
  ],
  'Alt+Tab': [
    [0xffe9, 'AltLeft'],
    [0xff09, 'Tab'],
  ],
  'Alt+F4': [
    [0xffe9, 'AltLeft'],
    [0xffc1, 'F4'],
  ],
  Win: [[0xffeb, 'MetaLeft']],
  Esc: [[0xff1b, 'Escape']],
  PrintScreen: [[0xff61, 'PrintScreen']],
}

export function press(keyboard: Keyboard, chord: string) {
  const keys = CHORDS[chord] ?? []
  for (const [keysym, code] of keys) keyboard.sendKey(keysym, code, true)
  for (const [keysym, code] of [...keys].reverse()) keyboard.sendKey(keysym, code, false)
}
