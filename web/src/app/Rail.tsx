/** The main menu: the nouns, and administration below them. */
import { useCan } from '../api/rights'
import { useT } from '../i18n'
import { useAble } from '../system/api'
import { GoLink } from '../ui/Link'
import type { Noun } from './noun'
import { nouns } from './nouns'

export function Rail() {
  const t = useT()
  const can = useCan()
  const able = useAble()
  const listed = (under?: 'administration') =>
    nouns
      .filter((n) => n.menu && n.menu.under === under && can(n.privilege) && able(n.capability))
      .sort((a, b) => (a.menu?.order ?? 0) - (b.menu?.order ?? 0))
  const administration = listed('administration')
  return (
    <nav className="rail" aria-label={t('app.menu')}>
      <ul>
        {listed().map((n) => (
          <Item key={n.kind} noun={n} />
        ))}
      </ul>
      {administration.length > 0 && (
        <>
          <hr />
          <ul aria-label={t('app.administration')}>
            {administration.map((n) => (
              <Item key={n.kind} noun={n} />
            ))}
          </ul>
        </>
      )}
    </nav>
  )
}

function Item({ noun }: { noun: Noun }) {
  const t = useT()
  return (
    <li>
      <GoLink to={noun.menu?.to ?? '/'}>
        <span aria-hidden="true">{noun.icon}</span>
        <span>{t(noun.label)}</span>
      </GoLink>
    </li>
  )
}
