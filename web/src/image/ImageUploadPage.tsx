/** Uploading an image. */
import { InboxOutlined } from '@ant-design/icons'
import { Alert, Button, Form, Input, Progress, Segmented, Upload } from 'antd'
import { useState } from 'react'
import { useT } from '../i18n'
import { size } from '../ui/format'
import { GoLink } from '../ui/Link'
import { NameField } from '../ui/NameField'
import { Page } from '../ui/Page'
import { Panel } from '../ui/Panel'
import { ProblemAlert } from '../ui/ProblemAlert'
import { useUrlState } from '../ui/urlState'
import { type Upload as Running, startFetch, startUpload, useUploads } from './uploads'

interface Values {
  name: string
  url?: string
  sha256?: string
}

export default function ImageUploadPage() {
  const t = useT()
  const [search] = useUrlState()
  const [form] = Form.useForm<Values>()
  const [way, setWay] = useState<'file' | 'url'>(search.from === 'url' ? 'url' : 'file')
  const [file, setFile] = useState<File>()
  const [error, setError] = useState<unknown>()
  const uploads = useUploads()
  const choose = (chosen: File) => {
    setFile(chosen)
    // A file's name, as far as it may be a name here.
    const name = chosen.name
      .replace(/\.(qcow2|img|raw|iso|vmdk|vhdx?|ova)$/i, '')
      .replace(/[^A-Za-z0-9._-]+/g, '-')
      .replace(/^[^A-Za-z0-9]+/, '')
    if (!form.getFieldValue('name')) form.setFieldsValue({ name: name.slice(0, 63) })
    return false
  }
  const start = async ({ name, url, sha256 }: Values) => {
    setError(undefined)
    try {
      if (way === 'url' && url) await startFetch(name, { url, sha256: sha256?.trim() || null })
      else if (file) await startUpload(name, file)
    } catch (e) {
      setError(e)
    }
  }
  return (
    <Page title={t('image.upload')} crumbs={[{ label: t('image.many'), to: '/images' }]}>
      <div className="stack form-page">
        <ProblemAlert error={error} />
        <Panel title={t('image.upload')}>
          <Form form={form} layout="vertical" initialValues={{ name: search.name }} onFinish={(v: Values) => void start(v)}>
            <Form.Item>
              <Segmented
                aria-label={t('image.upload')}
                value={way}
                onChange={setWay}
                options={[
                  { value: 'file', label: t('image.fromFile') },
                  { value: 'url', label: t('image.fromUrl') },
                ]}
              />
            </Form.Item>
            <Form.Item label={t('image.uploadFile')} extra={t('image.uploadHelp')} hidden={way !== 'file'}>
              <Upload.Dragger beforeUpload={choose} showUploadList={false} maxCount={1}>
                <p>
                  <InboxOutlined style={{ fontSize: 28, color: 'var(--accent)' }} />
                </p>
                <p>{file ? `${file.name} (${size(file.size)})` : t('image.uploadChoose')}</p>
              </Upload.Dragger>
            </Form.Item>
            {way === 'url' && (
              <>
                <Form.Item
                  name="url"
                  label={t('image.url')}
                  extra={t('image.urlHelp')}
                  rules={[{ required: true, message: t('ui.needed') }]}
                >
                  <Input type="url" autoComplete="off" spellCheck={false} maxLength={2000} />
                </Form.Item>
                <Form.Item name="sha256" label={t('image.sha')} extra={t('image.shaHelp')}>
                  <Input autoComplete="off" spellCheck={false} className="mono" maxLength={64} />
                </Form.Item>
              </>
            )}
            <NameField label={t('image.name')} />
            <Button type="primary" htmlType="submit" disabled={way === 'file' && !file}>
              {t(way === 'url' ? 'image.fetchStart' : 'image.uploadStart')}
            </Button>
          </Form>
        </Panel>
        {uploads.map((u) => (
          <UploadView key={u.name} upload={u} />
        ))}
      </div>
    </Page>
  )
}

function UploadView({ upload: u }: { upload: Running }) {
  const t = useT()
  if (u.state === 'failed') return <ProblemAlert error={u.error} />
  if (u.state === 'stopped') return <Alert type="info" showIcon title={`${u.name}: ${t('image.uploadStopped')}`} />
  if (u.state === 'done') {
    const name = encodeURIComponent(u.name)
    return (
      <Alert
        type="success"
        showIcon
        title={t('image.uploadDone', { name: u.name })}
        action={
          u.noDisk ? (
            <GoLink to={`/images/${name}`}>{t('image.open')}</GoLink>
          ) : (
            <GoLink to={`/vms/new?image=${name}`}>{t('image.use')}</GoLink>
          )
        }
      />
    )
  }
  const part = u.bytes ? Math.floor((u.sent / u.bytes) * 100) : 0
  return (
    <Panel
      title={t(u.url ? 'image.fetching' : u.state === 'checking' ? 'image.uploadChecking' : 'image.uploading', { name: u.name })}
      extra={
        <Button size="small" onClick={u.stop}>
          {t('image.uploadStop')}
        </Button>
      }
    >
      {u.url ? (
        <div className="dim wrap">{t('image.fetched', { size: size(u.sent), url: u.url })}</div>
      ) : (
        <>
          <Progress percent={part} status="active" aria-label={t('image.uploading', { name: u.name })} />
          <div className="dim">
            {size(u.sent)} / {size(u.bytes)}. {t('image.uploadLeave')}
          </div>
        </>
      )}
    </Panel>
  )
}
