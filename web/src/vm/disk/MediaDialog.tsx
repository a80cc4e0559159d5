/** Putting an ISO into an optical drive, or taking it out. */
import { Form } from 'antd'
import { api } from '../../api/client'
import { all, term } from '../../api/filter'
import type { Schemas } from '../../api/schema'
import { useT } from '../../i18n'
import { listImages } from '../../image/api'
import { FormDialog } from '../../ui/FormDialog'
import { ObjectSelect } from '../../ui/ObjectSelect'
import type { Vm } from '../api'

export const findIsos = async (text: string, signal: AbortSignal) =>
  (
    await listImages(
      { filter: all(['format = iso', text && term('name', '~', text)]), limit: 20, fields: 'name', sort: 'name' },
      signal,
    )
  ).items

export function MediaDialog({ vm, drive, close }: { vm: Vm; drive: Schemas['CdromSpec']; close: () => void }) {
  const t = useT()
  return (
    <FormDialog<{ image?: string }>
      title={`${t('vm.mediaChange')}: ${vm.name}`}
      ok={t('ui.save')}
      close={close}
      submit={(v) =>
        api.put('/v1/vms/{vm}/cdroms/{disk}', { path: { vm: vm.id, disk: drive.id }, body: { image: v.image ?? null } })
      }
    >
      <Form.Item name="image" label={t('vm.createIso')}>
        <ObjectSelect kind="iso" find={findIsos} by="name" allowClear placeholder={t('vm.mediaEject')} />
      </Form.Item>
    </FormDialog>
  )
}
