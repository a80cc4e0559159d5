/** An empty installation: the way to the first VM. */
import { CheckCircleOutlined } from '@ant-design/icons'
import { useT } from '../i18n'
import { GoLink } from '../ui/Link'
import { Panel } from '../ui/Panel'

export function FirstSteps({ hosts, images, vms }: { hosts: number; images: number; vms: number }) {
  const t = useT()
  const steps = [
    { done: hosts > 0, title: t('overview.firstHost'), text: t('overview.firstHostText'), to: '/hosts/new' },
    { done: images > 0, title: t('overview.firstImage'), text: t('overview.firstImageText'), to: '/images/new' },
    { done: vms > 0, title: t('overview.firstVm'), text: t('overview.firstVmText'), to: '/vms/new' },
  ]
  return (
    <Panel title={t('overview.firstTitle')} extra={<span className="dim">{t('overview.firstText')}</span>}>
      <ol className="figures" style={{ listStyle: 'none', padding: 0, margin: 0 }}>
        {steps.map((s, i) => (
          <li key={s.to}>
            <GoLink to={s.to} className="figure">
              <b style={{ fontSize: 15 }}>
                {s.done ? <CheckCircleOutlined style={{ color: 'var(--good)' }} aria-label={t('overview.done')} /> : `${i + 1}.`}{' '}
                {s.title}
              </b>
              <span>{s.text}</span>
            </GoLink>
          </li>
        ))}
      </ol>
    </Panel>
  )
}
