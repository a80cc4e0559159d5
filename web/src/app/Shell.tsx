/** The frame around every page. */
import { Outlet, useRouterState } from '@tanstack/react-router'
import { App } from 'antd'
import { useState } from 'react'
import { useT } from '../i18n'
import { TaskDrawer } from '../task/TaskDrawer'
import { TaskNotices } from '../task/TaskNotices'
import { ActionHost } from '../ui/ActionHost'
import { remember, remembered } from '../ui/urlState'
import { Rail } from './Rail'
import { TopBar } from './TopBar'
import { TreePane } from './TreePane'

export function Shell() {
  const t = useT()
  const [tree, setTree] = useState(() => remembered('tree', window.innerWidth > 1100))
  const path = useRouterState({ select: (s) => s.location.pathname })
  const toggle = () => {
    setTree(!tree)
    remember('tree', !tree)
  }
  return (
    // Its notices are shown inside the router, so that links in them work.
    <App component={false}>
      <ActionHost>
        <div className="shell">
          <a className="skip" href="#content">
            {t('app.skip')}
          </a>
          <TopBar tree={tree} onTree={toggle} />
          <Rail />
          <div className="work">
            {tree && <TreePane />}
            <main className="content" id="content" key={path.split('/')[1]}>
              <Outlet />
            </main>
          </div>
          <TaskDrawer />
          <TaskNotices />
        </div>
      </ActionHost>
    </App>
  )
}
