/** The frame of a page that is no object's: a list, a form, a report. */
import { type ReactNode, useEffect } from 'react'
import { type Crumb, Crumbs } from './ObjectPage'

export function Page({
  title,
  crumbs,
  extra,
  flush,
  children,
}: {
  title: string
  crumbs?: Crumb[]
  extra?: ReactNode
  flush?: boolean
  children: ReactNode
}) {
  useEffect(() => {
    document.title = `${title} – Virga`
  }, [title])
  return (
    <div className="page">
      <div className="page-head">
        {crumbs && <Crumbs crumbs={[...crumbs, { label: title }]} />}
        <div className="row wide">
          <h1 className="grow clip">{title}</h1>
          {extra}
        </div>
      </div>
      <div className={`page-body${flush ? ' flush' : ''}`}>{children}</div>
    </div>
  )
}
