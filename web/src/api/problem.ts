/** What went wrong with a request, in the form in which the manager says it (RFC 9457). */
import type { Problem } from './schema'

/** A refused or failed request. `problem` says what, why and what to do. */
export class ApiError extends Error {
  readonly problem: Problem

  constructor(problem: Problem) {
    super(problem.detail)
    this.name = 'ApiError'
    this.problem = problem
  }
}

/** The code of a request that never got an answer. */
export const UNREACHABLE = 'unreachable'

/** Whether an error is one of the API with this code. */
export function hasCode(error: unknown, code: string): boolean {
  return error instanceof ApiError && (error.problem.code as string) === code
}

/** The problem of an answer that is not 2xx. What is no problem body (a proxy's page) becomes one. */
export async function problemOf(answer: Response): Promise<ApiError> {
  const requestId = answer.headers.get('x-request-id') ?? undefined
  try {
    const body = (await answer.json()) as Problem
    if (typeof body?.detail === 'string' && typeof body?.code === 'string') return new ApiError(body)
  } catch {
    // Not JSON: told below.
  }
  return new ApiError({
    type: 'about:blank',
    title: answer.statusText || String(answer.status),
    status: answer.status,
    code: 'internal',
    detail: `${answer.status} ${answer.statusText}`.trim(),
    request_id: requestId ?? null,
  } as Problem)
}

/** The problem of a request that got no answer at all. */
export function unreachable(): ApiError {
  return new ApiError({ type: 'about:blank', title: '', status: 0, code: UNREACHABLE as Problem['code'], detail: '' } as Problem)
}
