import { describe, expect, it } from 'vitest'
import { urlOf } from '../src/api/client'
import { all, chips, looksLikeFilter, quoted, split, term } from '../src/api/filter'
import { parseMessage } from '../src/api/live'
import { faults, racks } from '../src/demo/api'
import { type Room, survival } from '../src/overview/survive'
import { csvCell } from '../src/ui/csv'
import { keysOf } from '../src/vm/console/connect'
import { asCommand, type Choice, requestOf } from '../src/vm/create/request'

describe('filters', () => {
  it('are taken apart at their top level only', () => {
    expect(chips('state = running and name ~ web')).toEqual(['state = running', 'name ~ web'])
    expect(chips('(a = 1 and b = 2) and c = "x and y"')).toEqual(['(a = 1 and b = 2)', 'c = "x and y"'])
    expect(chips('a = 1 or b = 2 and c = 3')).toEqual(['a = 1 or b = 2 and c = 3'])
    expect(chips('name = brand and label.band = on')).toEqual(['name = brand', 'label.band = on'])
    expect(chips('name = "a \\" and b"')).toEqual(['name = "a \\" and b"'])
    expect(chips('  ')).toEqual([])
  })

  it('are put together so that they mean the same', () => {
    expect(all(['a = 1', undefined, '', 'b = 2'])).toBe('a = 1 and b = 2')
    expect(all(['a = 1 or b = 2', 'c = 3'])).toBe('(a = 1 or b = 2) and c = 3')
    expect(all(['a = 1 or b = 2'])).toBe('a = 1 or b = 2')
    expect(split('a = 1 OR b = 2', 'or')).toEqual(['a = 1', 'b = 2'])
  })

  it('hold whatever somebody types', () => {
    expect(quoted('web-1')).toBe('web-1')
    expect(quoted('a b')).toBe('"a b"')
    expect(quoted('and')).toBe('"and"')
    expect(quoted('')).toBe('""')
    expect(term('name', '~', '<img onerror="x">')).toBe('name ~ "<img onerror=\\"x\\">"')
    expect(looksLikeFilter('web')).toBe(false)
    expect(looksLikeFilter('state = running')).toBe(true)
  })
})

describe('addresses', () => {
  it('are escaped', () => {
    expect(urlOf('/v1/vms/{vm}', { vm: '../a b' }, { dry_run: true, filter: 'a = "b&c"', sort: undefined })).toBe(
      '/v1/vms/..%2Fa%20b?dry_run=true&filter=a+%3D+%22b%26c%22',
    )
  })
})

describe('the event stream', () => {
  it('is read message by message', () => {
    expect(parseMessage('id: 7\nevent: vm.created\ndata: {"a":1}')).toEqual({ id: '7', data: '{"a":1}' })
    expect(parseMessage(': still here')).toEqual({})
  })
})

describe('CSV', () => {
  it('cannot become a formula or leave its cell', () => {
    expect(csvCell('a,"b"')).toBe('"a,""b"""')
    expect(csvCell('=1+1')).toBe("'=1+1")
    expect(csvCell(-5)).toBe('-5')
    expect(csvCell(undefined)).toBe('')
  })
})

describe('typing into a console', () => {
  it('holds Shift where a US keyboard does', () => {
    expect(keysOf('aB!\n')).toEqual([
      { keysym: 0x61, shift: false },
      { keysym: 0x42, shift: true },
      { keysym: 0x21, shift: true },
      { keysym: 0xff0d, shift: false },
    ])
    expect(keysOf('ä')).toEqual([])
  })
})

describe('creating a VM', () => {
  const choice: Choice = {
    name: 'web-1',
    image: 'debian',
    cpus: 2,
    memory_bytes: 4 * 1024 ** 3,
    network: 'nat',
    start: true,
    firmware: 'bios',
    cpu_mode: 'default',
  }
  it('asks for what was chosen, and for nothing else', () => {
    expect(requestOf(choice)).toEqual({
      name: 'web-1',
      cpus: 2,
      memory_bytes: 4 * 1024 ** 3,
      disks: [{ image: 'debian' }],
      nics: [{ network: 'nat' }],
      start: true,
    })
    expect(requestOf({ ...choice, user_data: '#cloud-config', ssh_key: 'ssh-ed25519 A' }).cloud_init).toEqual({
      user_data: '#cloud-config',
    })
  })
  it('can be said as a command', () => {
    expect(asCommand({ ...choice, description: "it's" })).toContain(`--description 'it'\\''s'`)
    expect(asCommand(choice)).toContain('--memory 4GiB')
  })
})

describe('the loss of any one host', () => {
  const GiB = 1024 ** 3
  const host = (name: string, promised: number, more?: Partial<Room>): Room => ({
    id: name,
    name,
    state: 'up',
    maintenance: false,
    // One GiB of it is the host's own.
    facts: { memory_bytes: 17 * GiB },
    memory_allocated_bytes: promised * GiB,
    ...more,
  })
  it('is survived when the others have room', () => {
    expect(survival([])).toEqual({ answer: 'nothing' })
    expect(survival([host('a', 0), host('b', 0)])).toEqual({ answer: 'nothing' })
    expect(survival([host('a', 4)])).toEqual({ answer: 'one' })
    expect(survival([host('a', 8), host('b', 6)])).toMatchObject({ answer: 'yes', left: 2 * GiB, tightest: { name: 'a' } })
    expect(survival([host('a', 8), host('b', 8)])).toMatchObject({ answer: 'yes', left: 0 })
  })
  it('is not survived when they have not, and it is said by how much', () => {
    expect(survival([host('a', 12), host('b', 6)])).toMatchObject({
      answer: 'no',
      short: [
        { host: { name: 'a' }, missing: 2 * GiB },
        { host: { name: 'b' }, missing: 2 * GiB },
      ],
    })
  })
  it('counts no room on hosts that are silent or in maintenance', () => {
    expect(survival([host('a', 8), host('b', 0, { maintenance: true })])).toMatchObject({ answer: 'no' })
    expect(survival([host('a', 8), host('b', 0, { state: 'silent' })])).toEqual({ answer: 'one' })
  })
  it('looks whether the largest VM fits on one of the others', () => {
    const hosts = [host('a', 10), host('b', 10), host('c', 10)]
    expect(survival(hosts, { bytes: 6 * GiB, host: 'a' })).toMatchObject({ answer: 'yes' })
    expect(survival(hosts, { bytes: 7 * GiB, host: 'a' })).toMatchObject({ answer: 'large' })
  })
})

describe('the machines of a demo', () => {
  const machine = {
    name: 'rack-01-host-01',
    rack: 'rack-01',
    power: 'on',
    agent: true,
    network: 'heal',
    storage: 'ok',
    libvirt: 'ok',
    vms: 3,
    running: 2,
  } as const
  it('say what is broken', () => {
    expect(faults(machine)).toEqual([])
    expect(faults({ ...machine, network: 'cut', agent: false })).toEqual([
      ['network', 'cut'],
      ['agent', 'kill'],
    ])
    // An agent cannot run without power; that is no fault of its own.
    expect(faults({ ...machine, power: 'off', agent: false })).toEqual([['power', 'off']])
    expect(racks([{ ...machine, rack: 'b' }, machine]).map(([r]) => r)).toEqual(['b', 'rack-01'])
  })
})
