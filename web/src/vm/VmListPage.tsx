/** All VMs. */
import { ImportOutlined, PlusOutlined } from '@ant-design/icons'
import { Button } from 'antd'
import { useCan } from '../api/rights'
import { useT } from '../i18n'
import { useGo } from '../ui/Link'
import { Page } from '../ui/Page'
import { VmList } from './VmList'

export default function VmListPage() {
  const t = useT()
  const go = useGo()
  const can = useCan()
  return (
    <Page title={t('vm.many')} flush>
      <VmList
        id="vms"
        primary={
          can('vm_create') && (
            <>
              <Button icon={<ImportOutlined />} onClick={() => go('/vms/import')}>
                {t('vm.import')}
              </Button>
              <Button type="primary" icon={<PlusOutlined />} onClick={() => go('/vms/new')}>
                {t('vm.create')}
              </Button>
            </>
          )
        }
      />
    </Page>
  )
}
