/** Who was granted a role on this VM alone. */
import { term } from '../api/filter'
import { useCan } from '../api/rights'
import { useT } from '../i18n'
import { BindingList } from '../role/BindingList'
import type { Vm } from './api'

export default function PermissionsTab({ vm }: { vm: Vm }) {
  const t = useT()
  const can = useCan()
  return (
    <div className="page" style={{ gap: 8 }}>
      <p className="dim" style={{ margin: 0 }}>
        {t('vm.permissionsHelp')}
      </p>
      {can('user_read') ? <BindingList id="vm-bindings" within={term('scope_id', '=', vm.id)} /> : t('ui.denied')}
    </div>
  )
}
