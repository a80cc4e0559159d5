/** The whole: language, theme, cache; and the gate, behind which is the portal. */
import { QueryClientProvider } from '@tanstack/react-query'
import { App, ConfigProvider } from 'antd'
import en from 'antd/locale/en_GB'
import zh from 'antd/locale/zh_CN'
import { lazy, Suspense } from 'react'
import { useTranslation } from 'react-i18next'
import { queryClient } from '../api/query'
import { Gate } from '../session/Gate'
import { useDark, widgetTheme } from '../ui/theme'

const Inside = lazy(() => import('./Inside'))

export function Portal() {
  const { i18n } = useTranslation()
  const dark = useDark()
  return (
    <ConfigProvider locale={i18n.language === 'zh' ? zh : en} theme={widgetTheme(dark)} componentSize="middle">
      <App style={{ height: '100%' }}>
        <QueryClientProvider client={queryClient}>
          <Gate>
            <Suspense fallback={null}>
              <Inside />
            </Suspense>
          </Gate>
        </QueryClientProvider>
      </App>
    </ConfigProvider>
  )
}
