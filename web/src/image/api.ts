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

/** Sends a file. By XMLHttpRequest, because `fetch` does not tell how far it is. */
export function upload(image: string, file: Blob, onProgress: (sent: number) => void, signal: AbortSignal): Promise<Image> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest()
    request.open('PUT', urlOf('/v1/images/{image}/content', { image }))
    changeHeaders('put').forEach((value, name) => {
      request.setRequestHeader(name, value)
    })
    request.setRequestHeader('content-type', 'application/octet-stream')
    request.upload.onprogress = (e) => onProgress(e.loaded)
    request.onload = () => {
      const body = JSON.parse(request.responseText || '{}') as unknown
      if (request.status < 300) resolve(body as Image)
      else reject(new ApiError(body as Problem))
    }
    request.onerror = () => reject(unreachable())
    request.onabort = () => reject(new DOMException('aborted', 'AbortError'))
    signal.addEventListener('abort', () => request.abort())
    request.send(file)
  })
}

/** The names of images by id, for what knows only the id. */
export const useImageNames = () => useNames('image', listImages)
