/** Colours and sizes: dense, calm, and of enough contrast in both themes. */
import { type ThemeConfig, theme } from 'antd'
import { useSyncExternalStore } from 'react'

export type ThemeChoice = 'system' | 'light' | 'dark'
const STORED = 'virga.theme'
const media = window.matchMedia('(prefers-color-scheme: dark)')
const listeners = new Set<() => void>()

export function themeChoice(): ThemeChoice {
  const stored = localStorage.getItem(STORED)
  return stored === 'light' || stored === 'dark' ? stored : 'system'
}

function isDark(): boolean {
  const choice = themeChoice()
  return choice === 'system' ? media.matches : choice === 'dark'
}

function apply() {
  document.documentElement.dataset.theme = isDark() ? 'dark' : 'light'
  for (const l of listeners) l()
}

export function setTheme(choice: ThemeChoice) {
  localStorage.setItem(STORED, choice)
  apply()
}

export function startTheme() {
  media.addEventListener('change', apply)
  apply()
}

export function useDark(): boolean {
  return useSyncExternalStore((l) => {
    listeners.add(l)
    return () => listeners.delete(l)
  }, isDark)
}

/** The settings of every widget. */
export function widgetTheme(dark: boolean): ThemeConfig {
  return {
    algorithm: dark ? theme.darkAlgorithm : theme.defaultAlgorithm,
    // In the dark the red is light, so that it can be read as text; on it, dark words can be read.
    components: { Button: { dangerColor: dark ? '#12181d' : '#ffffff' } },
    token: {
      colorPrimary: dark ? '#22849a' : '#0b6e85',
      colorInfo: dark ? '#22849a' : '#0b6e85',
      colorLink: dark ? '#5cc8df' : '#0b6e85',
      colorSuccess: dark ? '#4caf6e' : '#2c7a46',
      colorWarning: dark ? '#e0a43a' : '#96650a',
      colorError: dark ? '#ff938c' : '#c0322b',
      colorWarningBg: dark ? '#38290e' : '#fbf1dc',
      colorErrorBg: dark ? '#3d1c1b' : '#fbe7e6',
      colorSuccessBg: dark ? '#173323' : '#e6f3ea',
      colorTextPlaceholder: dark ? '#8d99a3' : '#667380',
      colorTextDescription: dark ? '#a4afb8' : '#56636f',
      colorTextTertiary: dark ? '#a4afb8' : '#56636f',
      colorTextDisabled: dark ? '#7f8b95' : '#747f89',
      colorBgBase: dark ? '#12181d' : '#ffffff',
      borderRadius: 4,
      fontSize: 13,
      controlHeight: 30,
      sizeStep: 3,
      fontFamily:
        "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'PingFang SC', 'Microsoft YaHei', 'Noto Sans CJK SC', sans-serif",
      motion: !window.matchMedia('(prefers-reduced-motion: reduce)').matches,
    },
  }
}
