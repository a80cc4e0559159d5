/** The serial line of a VM, in a terminal. */
import { FitAddon } from '@xterm/addon-fit'
import { Terminal } from '@xterm/xterm'
import '@xterm/xterm/css/xterm.css'
import { type ReactNode, useEffect, useRef, useState } from 'react'
import type { Vm } from '../api'
import { Bar } from './Bar'
import { consoleUrl, type Link } from './connect'

const SCROLLBACK = 5_000

export default function Serial({ vm, before }: { vm: Vm; before: ReactNode }) {
  const box = useRef<HTMLDivElement>(null)
  const [link, setLink] = useState<Link>('connecting')
  const [error, setError] = useState<unknown>()
  const [round, setRound] = useState(0)
  useEffect(() => {
    const element = box.current
    if (!element) return
    void round
    const abort = new AbortController()
    const terminal = new Terminal({
      scrollback: SCROLLBACK,
      fontSize: 13,
      theme: { background: '#101418' },
      screenReaderMode: true,
    })
    const fit = new FitAddon()
    terminal.loadAddon(fit)
    terminal.open(element)
    fit.fit()
    const watch = new ResizeObserver(() => fit.fit())
    watch.observe(element)
    setLink('connecting')
    setError(undefined)
    let socket: WebSocket | undefined
    consoleUrl(vm.id, 'serial', abort.signal)
      .then((url) => {
        if (abort.signal.aborted) return
        socket = new WebSocket(url)
        socket.binaryType = 'arraybuffer'
        socket.onopen = () => {
          setLink('connected')
          terminal.focus()
        }
        socket.onmessage = (e: MessageEvent<ArrayBuffer>) => terminal.write(new Uint8Array(e.data))
        socket.onclose = () => !abort.signal.aborted && setLink('closed')
      })
      .catch((e: unknown) => {
        if (abort.signal.aborted) return
        setError(e)
        setLink('closed')
      })
    const encoder = new TextEncoder()
    terminal.onData((text) => socket?.readyState === WebSocket.OPEN && socket.send(encoder.encode(text)))
    return () => {
      abort.abort()
      watch.disconnect()
      socket?.close()
      terminal.dispose()
    }
  }, [vm.id, round])
  return (
    <div className="page">
      <Bar link={link} error={error} screen={box} onAgain={() => setRound(round + 1)} before={before} />
      <div
        ref={box}
        style={{ flex: 1, minHeight: 240, background: '#101418', borderRadius: 4, padding: 6, overflow: 'hidden' }}
        data-testid="terminal"
      />
    </div>
  )
}
