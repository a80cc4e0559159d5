import react from '@vitejs/plugin-react'
import { defineConfig } from 'vite'

// For `npm run dev`: the manager that answers the API, e.g. that of `make demo`.
const manager = process.env.VIRGA_URL ?? 'https://127.0.0.1:8443'

export default defineConfig({
  plugins: [react()],
  build: {
    // Hashed names: the manager serves them as immutable.
    assetsDir: 'assets',
    // Nothing inlined: the content policy allows no data in scripts.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    manifest: 'manifest.json',
    target: 'es2022',
    chunkSizeWarningLimit: 800,
  },
  server: {
    proxy: {
      '/v1': { target: manager, secure: false, changeOrigin: true, ws: true },
      '/docs': { target: manager, secure: false, changeOrigin: true },
    },
  },
})
