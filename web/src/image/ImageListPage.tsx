/** The library. */
import { CloudUploadOutlined } from '@ant-design/icons'
import { Button } from 'antd'
import { useMemo } from 'react'
import { useCan } from '../api/rights'
import { useT } from '../i18n'
import { createdColumn } from '../ui/createdColumn'
import type { Column } from '../ui/DataTable'
import type { FilterField } from '../ui/FilterBar'
import { size } from '../ui/format'
import { GoLink, useGo } from '../ui/Link'
import { ListView } from '../ui/ListView'
import { Page } from '../ui/Page'
import { imageActions } from './actions'
import { type Image, imageSource } from './api'
import { ImageStateView } from './ImageState'

const FIELDS: FilterField[] = [
  { name: 'name' },
  { name: 'format', words: ['qcow2', 'raw', 'iso', 'vmdk', 'vhd', 'vhdx', 'ova'] },
  { name: 'state', words: ['empty', 'ready', 'deleting'] },
  { name: 'size', kind: 'bytes' },
  { name: 'created_at', kind: 'time' },
]

export default function ImageListPage() {
  const t = useT()
  const go = useGo()
  const can = useCan()
  const columns = useMemo(
    (): Column<Image>[] => [
      {
        id: 'name',
        header: t('image.name'),
        sort: 'name',
        cell: (r) => <GoLink to={`/images/${r.id}`}>{r.name}</GoLink>,
        csv: (r) => r.name,
      },
      {
        id: 'state',
        header: t('image.state'),
        width: 140,
        sort: 'state',
        cell: (r) => <ImageStateView image={r} />,
        csv: (r) => r.state,
      },
      { id: 'format', header: t('image.format'), width: 90, sort: 'format', cell: (r) => r.format ?? '–', csv: (r) => r.format },
      {
        id: 'size',
        header: t('image.size'),
        width: 110,
        numeric: true,
        sort: 'size',
        cell: (r) => size(r.size_bytes),
        csv: (r) => r.size_bytes,
      },
      {
        id: 'virtual',
        header: t('image.virtual'),
        width: 170,
        numeric: true,
        sort: 'virtual_size',
        cell: (r) => size(r.virtual_bytes),
        csv: (r) => r.virtual_bytes,
      },
      createdColumn(t('image.created')),
      {
        id: 'sha',
        header: t('image.sha'),
        width: 200,
        optional: true,
        cell: (r) => <span className="mono">{r.sha256}</span>,
        csv: (r) => r.sha256,
      },
    ],
    [t],
  )
  return (
    <Page title={t('image.many')} flush>
      <ListView<Image>
        id="images"
        label={t('image.many')}
        source={imageSource}
        columns={columns}
        fields={FIELDS}
        example="format = iso"
        defaultSort="name"
        actions={imageActions}
        open={(r) => `/images/${r.id}`}
        empty={t('image.none')}
        primary={
          can('image_manage') && (
            <Button type="primary" icon={<CloudUploadOutlined />} onClick={() => go('/images/new')}>
              {t('image.upload')}
            </Button>
          )
        }
      />
    </Page>
  )
}
