/** The bar above a console: how the connection is, and what can be done with it. */
import { ExpandOutlined, ExportOutlined } from '@ant-design/icons'
import { Button } from 'antd'
import type { ReactNode, RefObject } from 'react'
import { useT } from '../../i18n'
import { ProblemAlert } from '../../ui/ProblemAlert'
import { Status, type Tone } from '../../ui/Status'
import type { Link } from './connect'

const TONES: Record<Link, Tone> = { connecting: 'busy', connected: 'good', closed: 'bad' }

interface Props {
  link: Link
  error: unknown
  screen: RefObject<HTMLElement | null>
  onAgain: () => void
  before: ReactNode
  children?: ReactNode
}

export function Bar({ link, error, screen, onAgain, before, children }: Props) {
  const t = useT()
  return (
    <>
      <div className="toolbar" role="toolbar" aria-label={t('vm.tab.console')}>
        {before}
        <span data-testid="console" data-state={link}>
          <Status tone={TONES[link]} title={link === 'closed' ? t('vm.consoleClosedHelp') : undefined}>
            {t(
              link === 'connecting' ? 'vm.consoleConnecting' : link === 'connected' ? 'vm.consoleConnected' : 'vm.consoleClosed',
            )}
          </Status>
        </span>
        {link === 'closed' && (
          <Button type="primary" onClick={onAgain}>
            {t('vm.consoleReconnect')}
          </Button>
        )}
        <span className="grow" />
        {children}
        <Button
          icon={<ExportOutlined />}
          aria-label={t('vm.consolePopOut')}
          title={t('vm.consolePopOut')}
          onClick={() => window.open(location.href, '_blank', 'popup,width=1100,height=820')}
        />
        <Button
          icon={<ExpandOutlined />}
          aria-label={t('vm.consoleFull')}
          title={t('vm.consoleFull')}
          onClick={() => void screen.current?.requestFullscreen()}
        />
      </div>
      <ProblemAlert error={error} />
      {link === 'closed' && !error && <p className="dim">{t('vm.consoleClosedHelp')}</p>}
    </>
  )
}
