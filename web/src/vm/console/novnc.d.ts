/** What the portal uses of noVNC, which brings no types. */
declare module '@novnc/novnc' {
  export default class RFB extends EventTarget {
    constructor(target: HTMLElement, url: string, options?: { shared?: boolean })
    scaleViewport: boolean
    background: string
    focusOnClick: boolean
    disconnect(): void
    focus(): void
    sendKey(keysym: number, code: string | null, down?: boolean): void
    clipboardPasteFrom(text: string): void
    toBlob(callback: (blob: Blob | null) => void, type?: string): void
  }
}
