/** What is behind the sign-in. */
import { RouterProvider } from '@tanstack/react-router'
import { useEffect } from 'react'
import { startLive, stopLive } from '../api/live'
import { keepObjectsFresh } from '../api/object'
import { registerKind } from '../ui/ObjectLink'
import { nouns } from './nouns'
import { router } from './router'

for (const noun of nouns) registerKind(noun.kind, { icon: noun.icon, path: noun.path })

export default function Inside() {
  useEffect(() => {
    startLive()
    const stop = keepObjectsFresh()
    return () => {
      stop()
      stopLive()
    }
  }, [])
  return <RouterProvider router={router} />
}
