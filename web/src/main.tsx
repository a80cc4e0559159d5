import { createRoot } from 'react-dom/client'
import { Portal } from './app/Portal'
import { startTexts } from './i18n'
import './ui/ui.css'
import './app/app.css'
import { startTheme } from './ui/theme'

startTheme()
await startTexts()
const root = document.getElementById('root')
if (root) createRoot(root).render(<Portal />)
