/** Links and moves inside the portal. */
import { Link, useNavigate } from '@tanstack/react-router'
import type { ComponentProps, ReactNode } from 'react'
import { useCallback } from 'react'

interface Props extends Omit<ComponentProps<'a'>, 'href' | 'ref'> {
  to: string
  children: ReactNode
}

/** A link inside the portal; it can be opened in another tab. `to` may have a query. */
export function GoLink({ to, children, ...rest }: Props) {
  const [path, query] = to.split('?')
  return (
    <Link
      to={path as never}
      search={query ? (Object.fromEntries(new URLSearchParams(query)) as never) : (undefined as never)}
      {...rest}
    >
      {children}
    </Link>
  )
}

/** Goes to a path of the portal. */
export function useGo() {
  const navigate = useNavigate()
  return useCallback(
    (to: string, options?: { replace?: boolean }) => {
      const [path, query] = to.split('?')
      const search = query ? Object.fromEntries(new URLSearchParams(query)) : undefined
      void navigate({ to: path as never, search: search as never, replace: options?.replace })
    },
    [navigate],
  )
}
