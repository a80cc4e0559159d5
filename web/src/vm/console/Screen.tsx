/** The screen of a VM, over VNC. */
import { CameraOutlined, SnippetsOutlined } from '@ant-design/icons'
import RFB from '@novnc/novnc'
import { Button, Dropdown, Input, Popover, Switch } from 'antd'
import { type ReactNode, useEffect, useRef, useState } from 'react'
import { useT } from '../../i18n'
import { download } from '../../ui/csv'
import type { Vm } from '../api'
import { Bar } from './Bar'
import { CHORDS, consoleUrl, type Link, press, type } from './connect'

export default function Screen({ vm, before }: { vm: Vm; before: ReactNode }) {
  const t = useT()
  const box = useRef<HTMLDivElement>(null)
  const rfb = useRef<RFB>(undefined)
  const [link, setLink] = useState<Link>('connecting')
  const [error, setError] = useState<unknown>()
  const [round, setRound] = useState(0)
  const [scale, setScale] = useState(true)
  useEffect(() => {
    const abort = new AbortController()
    setLink('connecting')
    setError(undefined)
    void round
    consoleUrl(vm.id, 'vnc', abort.signal)
      .then((url) => {
        if (abort.signal.aborted || !box.current) return
        const r = new RFB(box.current, url, { shared: true })
        r.scaleViewport = true
        r.background = '#101418'
        r.addEventListener('connect', () => {
          setLink('connected')
          r.focus()
        })
        r.addEventListener('disconnect', () => !abort.signal.aborted && setLink('closed'))
        rfb.current = r
      })
      .catch((e: unknown) => {
        if (abort.signal.aborted) return
        setError(e)
        setLink('closed')
      })
    return () => {
      abort.abort()
      rfb.current?.disconnect()
      rfb.current = undefined
    }
  }, [vm.id, round])
  useEffect(() => {
    if (rfb.current) rfb.current.scaleViewport = scale
  }, [scale])
  const picture = () => rfb.current?.toBlob((blob) => blob && download(`${vm.name}.png`, blob), 'image/png')
  const chords = Object.keys(CHORDS).map((c) => ({
    key: c,
    label: c,
    onClick: () => {
      if (rfb.current) press(rfb.current, c)
      rfb.current?.focus()
    },
  }))
  const on = link === 'connected'
  return (
    <div className="page">
      <Bar link={link} error={error} screen={box} onAgain={() => setRound(round + 1)} before={before}>
        <Switch size="small" checked={scale} onChange={setScale} aria-label={t('vm.consoleScale')} title={t('vm.consoleScale')} />
        <Dropdown trigger={['click']} menu={{ items: chords }} disabled={!on}>
          <Button>{t('vm.consoleKeys')}</Button>
        </Dropdown>
        <Paste disabled={!on} onText={(text) => rfb.current && type(rfb.current, text)} />
        <Button
          icon={<CameraOutlined />}
          disabled={!on}
          aria-label={t('vm.consoleShot')}
          title={t('vm.consoleShot')}
          onClick={picture}
        />
      </Bar>
      <div
        ref={box}
        style={{ flex: 1, minHeight: 240, background: '#101418', borderRadius: 4, overflow: 'hidden' }}
        data-testid="screen"
      />
    </div>
  )
}

function Paste({ disabled, onText }: { disabled: boolean; onText: (text: string) => void }) {
  const t = useT()
  const [text, setText] = useState('')
  const [open, setOpen] = useState(false)
  const send = () => {
    onText(text)
    setText('')
    setOpen(false)
  }
  const content = (
    <div className="stack" style={{ width: 320 }}>
      <Input.TextArea
        rows={4}
        aria-label={t('vm.consolePaste')}
        value={text}
        maxLength={4000}
        onChange={(e) => setText(e.target.value)}
      />
      <span className="field-help">{t('vm.consolePasteHelp')}</span>
      <Button type="primary" disabled={!text} onClick={send}>
        {t('vm.consolePasteSend')}
      </Button>
    </div>
  )
  return (
    <Popover trigger="click" placement="bottomRight" content={content} open={open && !disabled} onOpenChange={setOpen}>
      <Button icon={<SnippetsOutlined />} disabled={disabled} aria-label={t('vm.consolePaste')} title={t('vm.consolePaste')} />
    </Popover>
  )
}
