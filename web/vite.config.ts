import { defineConfig } from "vite";

// Names without hashes, and nothing that depends on the machine: what is committed is compared with
// what is built. Nothing is put inline, since the page's Content-Security-Policy allows no such thing.
export default defineConfig({
  base: "/",
  build: {
    outDir: process.env["PAGE_DIR"] ?? "../src/petalkit/cli/_console/page",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    cssCodeSplit: false,
    modulePreload: false,
    rollupOptions: {
      output: {
        entryFileNames: "console.js",
        assetFileNames: "console[extname]",
      },
    },
  },
});
