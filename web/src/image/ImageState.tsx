/** An image's state in a word. */
import { useT } from '../i18n'
import { Status } from '../ui/Status'
import type { Image } from './api'

export function ImageStateView({ image }: { image: Image }) {
  const t = useT()
  return (
    <Status tone={image.state === 'ready' ? 'good' : image.state === 'empty' ? 'warn' : 'busy'}>
      {t(`image.state.${image.state}`)}
    </Status>
  )
}
