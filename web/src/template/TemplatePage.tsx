/** One template. */
import { useParams } from '@tanstack/react-router'
import { useT } from '../i18n'
import { dateTime, size } from '../ui/format'
import { ObjectPage } from '../ui/ObjectPage'
import { Facts, Panel } from '../ui/Panel'
import { templateActions } from './actions'
import { useTemplate } from './api'
import { template as noun } from './noun'

export default function TemplatePage() {
  const t = useT()
  const { template: name = '' } = useParams({ strict: false }) as { template?: string }
  const { data: template, error, refetch } = useTemplate(name)
  const disks = template?.spec.disks ?? []
  return (
    <ObjectPage
      crumbs={[{ label: t('template.many'), to: '/templates' }, { label: template?.name ?? name }]}
      icon={noun.icon}
      title={template?.name ?? name}
      object={template}
      error={error}
      onRetry={() => void refetch()}
      actions={templateActions}
    >
      {template && (
        <div className="page" style={{ gap: 12 }}>
          <Panel title={t('template.hardware')}>
            <Facts
              items={[
                [t('template.cpus'), template.spec.cpu.count],
                [t('template.memory'), size(template.spec.memory.bytes)],
                [t('template.disks'), disks.map((d) => size(d.size_bytes)).join(', ')],
                [t('template.clones'), <span title={t('template.clonesHelp')}>{template.clones}</span>],
                [t('template.host'), template.host?.name],
                [t('template.owner'), template.owner.name],
                [t('template.description'), template.description],
                [t('template.created'), dateTime(template.created_at)],
              ]}
            />
          </Panel>
        </div>
      )}
    </ObjectPage>
  )
}
