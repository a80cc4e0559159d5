/** One image, and the VMs from it. */
import { useParams } from '@tanstack/react-router'
import { useT } from '../i18n'
import { dateTime, size } from '../ui/format'
import { GoLink } from '../ui/Link'
import { ObjectPage } from '../ui/ObjectPage'
import { Facts, Panel } from '../ui/Panel'
import { within } from '../vm/api'
import { VmList } from '../vm/VmList'
import { imageActions } from './actions'
import { useImage } from './api'
import { ImageStateView } from './ImageState'
import { image as noun } from './noun'
import { PackageView } from './PackageView'

export default function ImagePage() {
  const t = useT()
  const { image: name = '' } = useParams({ strict: false }) as { image?: string }
  const { data: image, error, refetch } = useImage(name)
  return (
    <ObjectPage
      crumbs={[{ label: t('image.many'), to: '/images' }, { label: image?.name ?? name }]}
      icon={noun.icon}
      title={image?.name ?? name}
      state={image && <ImageStateView image={image} />}
      object={image}
      error={error}
      onRetry={() => void refetch()}
      actions={imageActions}
      buttons={image?.format === 'ova' ? ['import'] : ['use', 'content']}
    >
      {image && (
        <div className="page" style={{ gap: 12 }}>
          <Panel title={t('image.summary')}>
            <Facts
              items={[
                [t('image.format'), image.format],
                [t('image.size'), size(image.size_bytes)],
                [t('image.virtual'), size(image.virtual_bytes)],
                [t('image.created'), dateTime(image.created_at)],
                [t('image.partOf'), image.part_of && <GoLink to={`/images/${image.part_of}`}>{image.part_of}</GoLink>],
                [t('image.sha'), image.sha256 && <span className="mono">{image.sha256}</span>],
              ]}
            />
          </Panel>
          {image.package && <PackageView content={image.package} />}
          <h2 style={{ fontSize: 14 }}>{t('image.vms')}</h2>
          <VmList id="image-vms" within={within.image(image.id)} />
        </div>
      )}
    </ObjectPage>
  )
}
