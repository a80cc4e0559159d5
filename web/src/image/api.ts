/** Images, as the API has them. */
import { api, changeHeaders, urlOf } from '../api/client'
import { term } from '../api/filter'
import type { ListSource } from '../api/list'
import { useNames } from '../api/names'
import { useObject } from '../api/object'
import { ApiError, unreachable } from '../api/problem'
import type { ListQuery, Page, Problem, Schemas } from '../api/schema'

export type Image = Schemas['Image']

export const listImages = (query: ListQuery, signal?: AbortSignal) =>
  api.get('/v1/images', { query, signal }) as Promise<Page<Image>>
export const imageSource: ListSource<Image> = { kind: 'image', fetch: listImages }
export const useImage = (name: string) =>
  useObject('image', name, (signal) => api.get('/v1/images/{image}', { path: { image: name }, signal }))
export const findImages = async (text: string, signal: AbortSignal) =>
  (await listImages({ filter: term('name', '~', text), limit: 10, fields: 'name', sort: 'name' }, signal)).items

/** Where an upload begins, and the digest of the whole, which it needs unless it begins at the beginning. */
export interface UploadFrom {
  offset: number
  sha256?: string
}

/** Sends a file. By XMLHttpRequest, because `fetch` does not tell how far it is. */
export function upload(
  image: string,
  file: Blob,
  from: UploadFrom,
  onProgress: (sent: number) => void,
  signal: AbortSignal,
): Promise<Image> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest()
    const query = from.offset > 0 ? `?offset=${from.offset}&sha256=${from.sha256}` : ''
    request.open('PUT', urlOf('/v1/images/{image}/content', { image }) + query)
    changeHeaders('put').forEach((value, name) => {
      request.setRequestHeader(name, value)
    })
    request.setRequestHeader('content-type', 'application/octet-stream')
    request.upload.onprogress = (e) => onProgress(from.offset + e.loaded)
    request.onload = () => {
      const body = JSON.parse(request.responseText || '{}') as unknown
      if (request.status < 300) resolve(body as Image)
      else reject(new ApiError(body as Problem))
    }
    request.onerror = () => reject(unreachable())
    request.onabort = () => reject(new DOMException('aborted', 'AbortError'))
    signal.addEventListener('abort', () => request.abort())
    request.send(from.offset > 0 ? file.slice(from.offset) : file)
  })
}

/** Bytes that the library has of an upload that broke off. */
export async function arrivedBytes(image: string, signal: AbortSignal): Promise<number> {
  const now = (await api.get('/v1/images/{image}', { path: { image }, signal })) as Image
  return now.arrived_bytes ?? 0
}

/** Packages of the library: what VMs can be made of as a whole. */
export const findPackages = async (text: string, signal: AbortSignal) => {
  const packages = 'format = ova and state = ready'
  const filter = text ? `${packages} and ${term('name', '~', text)}` : packages
  return (await listImages({ filter, limit: 10, fields: 'name', sort: 'name' }, signal)).items
}

/** The names of images by id, for what knows only the id. */
export const useImageNames = () => useNames('image', listImages)
