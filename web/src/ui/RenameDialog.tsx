/** Gives something another name. */
import { useT } from '../i18n'
import { FormDialog } from './FormDialog'
import { NameField } from './NameField'

interface Props {
  name: string
  rename: (name: string) => Promise<unknown>
  close: () => void
}

export function RenameDialog({ name, rename, close }: Props) {
  const t = useT()
  return (
    <FormDialog<{ name: string }>
      title={`${t('ui.rename')}: ${name}`}
      ok={t('ui.rename')}
      initial={{ name }}
      close={close}
      submit={(v) => rename(v.name)}
    >
      <NameField label={t('ui.renameTo')} autoFocus />
    </FormDialog>
  )
}
