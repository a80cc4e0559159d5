/**
 * The one place that speaks to the manager: a typed `fetch`, made from the paths of openapi/v1.json.
 * It never keeps an answer; that is the query cache's work.
 */
import { problemOf, unreachable } from './problem'
import type { paths } from './v1.gen'

type Method = 'get' | 'post' | 'put' | 'patch' | 'delete'
type Operation<P extends keyof paths, M extends Method> = NonNullable<paths[P][M]>
/** The paths that take a method. */
export type PathOf<M extends Method> = { [P in keyof paths]: [Operation<P, M>] extends [never] ? never : P }[keyof paths]

type PathParams<O> = O extends { parameters: { path: infer X } } ? { path: X } : { path?: undefined }
type Body<O> = O extends { requestBody: { content: { 'application/json': infer B } } } ? { body: B } : { body?: undefined }
type QueryParams<O> = O extends { parameters: { query?: infer Q } } ? { query?: Q } : { query?: undefined }
type Content<R> = R extends { content: { 'application/json': infer T } } ? T : undefined
type Ok<R> = R extends { 200: infer A } ? A : R extends { 201: infer A } ? A : R extends { 202: infer A } ? A : undefined
/** What an operation answers. */
export type Answer<O> = O extends { responses: infer R } ? Content<Ok<R>> : undefined

interface Common {
  /** The generation that the change is meant for; refused with 412 when somebody was first. */
  ifMatch?: number
  signal?: AbortSignal
}
type Options<O> = PathParams<O> & Body<O> & QueryParams<O> & Common

const CSRF_HEADER = 'x-virga-csrf'
const CSRF_KEY = 'virga.csrf'

/** The value that must come with each change; given at sign-in, shared by all tabs. It is worth nothing without the cookie. */
export const csrf = {
  get: () => localStorage.getItem(CSRF_KEY),
  set: (value: string) => localStorage.setItem(CSRF_KEY, value),
  forget: () => localStorage.removeItem(CSRF_KEY),
}

let signedOut: () => void = () => {}
/** Called when an answer says that nobody is signed in any more. */
export function onSignedOut(listener: () => void) {
  signedOut = listener
}

/** A path with its parts put in and its query behind. */
export function urlOf(path: string, parts?: Record<string, unknown>, query?: Record<string, unknown>): string {
  const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(String(parts?.[name] ?? '')))
  const search = new URLSearchParams()
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== undefined && value !== null && value !== '') search.set(name, String(value))
  }
  const text = search.toString()
  return text ? `${filled}?${text}` : filled
}

/** Headers of a change. A POST can be repeated by the browser or a proxy without being done twice. */
export function changeHeaders(method: string, ifMatch?: number): Headers {
  const headers = new Headers()
  if (method === 'get') return headers
  const value = csrf.get()
  if (value) headers.set(CSRF_HEADER, value)
  if (method === 'post') headers.set('idempotency-key', crypto.randomUUID())
  if (ifMatch !== undefined) headers.set('if-match', `"${ifMatch}"`)
  return headers
}

async function send<T>(method: Method, path: string, options: Partial<Options<unknown>> & { body?: unknown }): Promise<T> {
  const headers = changeHeaders(method, options.ifMatch)
  if (options.body !== undefined) headers.set('content-type', 'application/json')
  let answer: Response
  try {
    answer = await fetch(urlOf(path, options.path as never, options.query as never), {
      method: method.toUpperCase(),
      headers,
      body: options.body === undefined ? undefined : JSON.stringify(options.body),
      signal: options.signal,
      credentials: 'same-origin',
    })
  } catch (e) {
    if (options.signal?.aborted) throw e
    throw unreachable()
  }
  if (answer.ok) return (answer.status === 204 ? undefined : await answer.json()) as T
  const error = await problemOf(answer)
  if (answer.status === 401 && path !== '/v1/session') signedOut()
  throw error
}

type Call<M extends Method> = <P extends PathOf<M>>(
  path: P,
  ...rest: [Options<Operation<P, M>>] extends [{ path: unknown } | { body: unknown }]
    ? [options: Options<Operation<P, M>>]
    : [options?: Options<Operation<P, M>>]
) => Promise<Answer<Operation<P, M>>>

function caller<M extends Method>(method: M): Call<M> {
  const call = (path: string, options?: object) => send(method, path, (options ?? {}) as never)
  // The paths and their options are checked where it is called.
  return call as unknown as Call<M>
}

/** The API: `api.get('/v1/vms/{vm}', { path: { vm } })`. */
export const api = {
  get: caller('get'),
  post: caller('post'),
  put: caller('put'),
  patch: caller('patch'),
  delete: caller('delete'),
}
