/** The nouns of the portal. A new noun is a folder, and a line here. */
import { audit } from '../audit/noun'
import { dataStore } from '../data_store/noun'
import { demo } from '../demo/noun'
import { event } from '../event/noun'
import { host } from '../host/noun'
import { image } from '../image/noun'
import { network } from '../network/noun'
import { overview } from '../overview/noun'
import { role } from '../role/noun'
import { schedule } from '../schedule/noun'
import { session } from '../session/noun'
import { system } from '../system/noun'
import { task } from '../task/noun'
import { template } from '../template/noun'
import { token } from '../token/noun'
import { user } from '../user/noun'
import { vm } from '../vm/noun'
import type { Noun } from './noun'

export const nouns: Noun[] = [
  overview,
  vm,
  template,
  host,
  image,
  network,
  dataStore,
  schedule,
  task,
  event,
  user,
  role,
  token,
  audit,
  system,
  demo,
  session,
]
