/** The machine in a package, and what of it Virga maps, leaves out or cannot give. */
import { Alert } from 'antd'
import type { Schemas } from '../api/schema'
import { useT } from '../i18n'
import { size } from '../ui/format'
import { GoLink } from '../ui/Link'
import { Facts, Panel } from '../ui/Panel'

export function PackageView({ content }: { content: Schemas['Package'] }) {
  const t = useT()
  const m = content.machine
  const networks = [...new Set(m.nics.map((n) => n.network))]
  return (
    <Panel title={t('image.machine')}>
      <Facts
        items={[
          [t('image.machineName'), m.name],
          [t('image.cpus'), m.cpus],
          [t('image.memory'), size(m.memory_bytes)],
          [t('image.firmware'), m.firmware],
          [
            t('image.disks'),
            content.disks.map((d) => (
              <div key={d.file}>
                {d.image ? <GoLink to={`/images/${d.image}`}>{d.file}</GoLink> : d.file} ({d.format}, {size(d.virtual_bytes)})
              </div>
            )),
          ],
          [t('image.networks'), networks.join(', ')],
          [t('image.manifest'), content.manifest ?? t('image.manifestNone')],
        ]}
      />
      <Words title={t('image.notes')} words={m.notes} type="info" />
      <Words title={t('image.refusals')} words={m.refusals} type="warning" />
    </Panel>
  )
}

function Words({ title, words, type }: { title: string; words?: string[]; type: 'info' | 'warning' }) {
  if (!words?.length) return null
  return (
    <Alert
      type={type}
      title={title}
      description={
        <ul className="notes">
          {words.map((w) => (
            <li key={w}>{w}</li>
          ))}
        </ul>
      }
      style={{ marginTop: 12 }}
    />
  )
}
