/** The bar at the top: where one is signed in, search, whether it is live, events, one's own settings. */
import { ApartmentOutlined, GlobalOutlined, QuestionCircleOutlined, SearchOutlined, UserOutlined } from '@ant-design/icons'
import { useIsFetching } from '@tanstack/react-query'
import { Dropdown } from 'antd'
import { lazy, Suspense, useEffect, useState, useSyncExternalStore } from 'react'
import { liveState } from '../api/live'
import { EventBell } from '../event/EventBell'
import { LANGUAGES, type Language, language, setLanguage, useT } from '../i18n'
import { signOut, useSession } from '../session/api'
import { GoLink, useGo } from '../ui/Link'
import { Status } from '../ui/Status'
import { setTheme, type ThemeChoice, themeChoice } from '../ui/theme'

const Palette = lazy(() => import('./Palette'))

export function TopBar({ tree, onTree }: { tree: boolean; onTree: () => void }) {
  const t = useT()
  const [searching, setSearching] = useState(false)
  useEffect(() => {
    const press = (e: KeyboardEvent) => {
      if ((e.ctrlKey || e.metaKey) && e.key.toLowerCase() === 'k') {
        e.preventDefault()
        setSearching(true)
      }
    }
    window.addEventListener('keydown', press)
    return () => window.removeEventListener('keydown', press)
  }, [])
  return (
    <header className="top">
      <button
        type="button"
        className="top-button"
        aria-pressed={tree}
        title={t(tree ? 'app.inventoryHide' : 'app.inventoryShow')}
        aria-label={t('app.inventory')}
        onClick={onTree}
      >
        <ApartmentOutlined />
      </button>
      <GoLink to="/" className="brand">
        <img src="/favicon.svg" alt="" width={24} height={24} />
        {/* The product's name is the same in every language. */}
        {'Virga'}
      </GoLink>
      <span className="grow" />
      <button type="button" className="top-button search-button" onClick={() => setSearching(true)}>
        <SearchOutlined />
        <span className="grow">{t('app.searchHint')}</span>
        <kbd>{'Ctrl K'}</kbd>
      </button>
      <span className="grow" />
      <Live />
      <EventBell />
      <HelpMenu />
      <LanguageMenu />
      <UserMenu />
      <Reading />
      {searching && (
        <Suspense fallback={null}>
          <Palette close={() => setSearching(false)} />
        </Suspense>
      )}
    </header>
  )
}

function Live() {
  const t = useT()
  const state = useSyncExternalStore(liveState.subscribe, liveState.get)
  return (
    <span role="status" data-testid="live" data-state={state}>
      {state === 'live' && (
        <Status tone="good" title={t('app.liveTitle')}>
          {t('app.live')}
        </Status>
      )}
      {state === 'connecting' && <Status tone="off">{t('app.liveConnecting')}</Status>}
      {state === 'lost' && (
        <Status tone="bad" title={t('app.liveLostTitle')}>
          {t('app.liveLost')}
        </Status>
      )}
    </span>
  )
}

/** A line under the bar while something is being read; it is seen only when that takes long. */
function Reading() {
  const busy = useIsFetching() > 0
  return <span className="reading" data-testid="reading" data-busy={busy} aria-hidden="true" />
}

function HelpMenu() {
  const t = useT()
  return (
    <a
      className="top-button"
      href="/docs"
      target="_blank"
      rel="noreferrer"
      aria-label={t('app.apiDocs')}
      title={t('app.apiDocs')}
    >
      <QuestionCircleOutlined />
    </a>
  )
}

function LanguageMenu() {
  const t = useT()
  const items = (Object.keys(LANGUAGES) as Language[]).map((l) => ({
    key: l,
    label: LANGUAGES[l],
    onClick: () => setLanguage(l),
  }))
  return (
    <Dropdown trigger={['click']} menu={{ items, selectedKeys: [language()] }}>
      <button
        type="button"
        className="top-button"
        aria-label={`${t('app.language')}: ${LANGUAGES[language()]}`}
        title={t('app.language')}
        data-testid="language"
      >
        <GlobalOutlined />
        <span>{LANGUAGES[language()]}</span>
      </button>
    </Dropdown>
  )
}

function UserMenu() {
  const t = useT()
  const go = useGo()
  const who = useSession().data
  const [choice, setChoice] = useState<ThemeChoice>(themeChoice)
  const theme = (key: ThemeChoice, label: string) => ({
    key,
    label,
    onClick: () => {
      setTheme(key)
      setChoice(key)
    },
  })
  const items = [
    { key: 'account', label: t('session.account'), onClick: () => go('/account') },
    {
      key: 'theme',
      type: 'group' as const,
      label: t('app.theme'),
      children: [theme('system', t('app.themeSystem')), theme('light', t('app.themeLight')), theme('dark', t('app.themeDark'))],
    },
    { type: 'divider' as const },
    { key: 'out', label: t('session.signOut'), onClick: () => void signOut() },
  ]
  return (
    <Dropdown trigger={['click']} menu={{ items, selectedKeys: [choice] }}>
      <button
        type="button"
        className="top-button"
        aria-label={t('app.userMenu', { name: who?.name ?? '' })}
        data-testid="user-menu"
      >
        <UserOutlined />
        <span>{who?.name}</span>
      </button>
    </Dropdown>
  )
}
