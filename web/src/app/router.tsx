/** The pages of all nouns in one router. Each is loaded when it is opened. */
import { createRootRoute, createRoute, createRouter, lazyRouteComponent } from '@tanstack/react-router'
import { NotHere } from '../ui/ObjectPage'
import { textSearch } from '../ui/urlState'
import { Crashed } from './Crashed'
import { nouns } from './nouns'
import { Shell } from './Shell'

const root = createRootRoute({ component: Shell, notFoundComponent: NotHere, errorComponent: Crashed })

const pages = nouns.flatMap((noun) =>
  noun.pages.map((page) =>
    createRoute({
      getParentRoute: () => root,
      path: page.path,
      validateSearch: textSearch,
      component: lazyRouteComponent(page.load),
      errorComponent: Crashed,
    }),
  ),
)

/** Queries are plain text: `?filter=state = running`, without JSON around numbers and words. */
function parseSearch(text: string): Record<string, string> {
  return Object.fromEntries(new URLSearchParams(text))
}
function stringifySearch(search: Record<string, unknown>): string {
  const kept = Object.entries(search).filter(([, v]) => v !== undefined && v !== '')
  const text = new URLSearchParams(kept.map(([k, v]) => [k, String(v)])).toString()
  return text ? `?${text}` : ''
}

export const router = createRouter({
  routeTree: root.addChildren(pages),
  parseSearch,
  stringifySearch,
  defaultPreload: 'intent',
  scrollRestoration: true,
  // What the queries hold stays fresh by the event stream; the router keeps nothing of its own.
  defaultPreloadStaleTime: 0,
})
