// Builds web/dist: the stock Tinode web app with everything its page loads beside it, so that a
// browser can run it with no internet.
//
//     npm ci && npm run assemble
//
// Copies the published package as it is and edits index.html only: each address on somebody else's
// server is replaced by a file from the npm registry, and mend.js is loaded before the app. Then it reads the result and refuses to
// finish if a page or style sheet would still fetch anything from elsewhere, or misses a file.

import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const WEB = dirname(fileURLToPath(import.meta.url));
const MODULES = join(WEB, 'node_modules');
const DIST = join(WEB, 'dist');
const PAGE = join(DIST, 'index.html');

// Development builds and source maps, and the service worker, which serves Firebase push only (it
// takes Firebase from a CDN, and the app registers it only where there is a firebase-init.js).
const NOT_SERVED = /(\.map|\.dev\.js|index-dev\.html|service-worker\.js|package\.json|README\.md)$/;

// Asked for by the page, not in the package; without it the app runs with no push messages.
const OPTIONAL = new Set(['firebase-init.js']);

// Before the app itself, when the SDK is there.
const APP = '<script src="umd/index.prod.js"></script>';
const MEND = 'mend.js';

const ROBOTO_FACES = ['300', '400', '400-italic', '500', '700', '700-italic'];

// What the page takes from elsewhere, and the files of which packages stand in for it. `null`: every
// browser that can run the rest of the app has Intl.Segmenter, so nothing is needed instead.
const STAND_INS = [
  { address: 'https://fonts.googleapis.com/css?family=Roboto', from: '@fontsource/roboto', files: ROBOTO_FACES.map((face) => `${face}.css`) },
  { address: 'https://fonts.googleapis.com/icon?family=Material+Icons', from: 'material-icons', files: ['iconfont/filled.css'] },
  { address: 'https://polyfill-fastly.io/v3/polyfill.min.js?features=Intl.Segmenter', from: null, files: [] },
  { address: 'https://cdn.jsdelivr.net/npm/react@18.3.1/', from: 'react', files: ['umd/react.production.min.js'] },
  { address: 'https://cdn.jsdelivr.net/npm/react-dom@18.3.1/', from: 'react-dom', files: ['umd/react-dom.production.min.js'] },
  { address: 'https://cdn.jsdelivr.net/npm/react-intl@7.1.6/', from: 'react-intl', files: ['react-intl.iife.js'] },
  { address: 'https://cdn.jsdelivr.net/npm/qrcodejs@1.0.0/', from: 'qrcodejs', files: ['qrcode.min.js'] },
];

class AssemblyError extends Error {}

function assemble() {
  rmSync(DIST, { recursive: true, force: true });
  copyApp();
  STAND_INS.forEach(vendor);
  editPage();
  verify();
}

function copyApp() {
  const app = packageFolder('tinode-webapp');
  cpSync(app, DIST, { recursive: true, filter: (file) => !NOT_SERVED.test(relative(app, file)) });
}

function packageFolder(name) {
  const folder = join(MODULES, name);
  if (!existsSync(folder)) {
    throw new AssemblyError(`the npm package ${name} is not installed: run "npm ci" in ${WEB} first`);
  }
  return folder;
}

function vendor({ from, files }) {
  if (from === null) return;
  const source = packageFolder(from);
  const licences = readdirSync(source).filter((file) => /^licen[cs]e/i.test(file));
  const wanted = [...files, ...files.filter(isStyle).flatMap((file) => fontsOf(source, file)), ...licences];
  for (const file of wanted) {
    const target = join(DIST, vendored(from, file));
    mkdirSync(dirname(target), { recursive: true });
    cpSync(join(source, file), target);
  }
}

function fontsOf(source, style) {
  const fonts = addressesInStyle(readFileSync(join(source, style), 'utf8'));
  return fonts.map((font) => join(dirname(style), font));
}

function editPage() {
  const page = STAND_INS.reduce(replaceTag, readFileSync(PAGE, 'utf8'));
  if (page.split(APP).length !== 2) throw new AssemblyError(`index.html of tinode-webapp was expected to load the app once by ${APP}`);
  cpSync(join(WEB, MEND), join(DIST, MEND));
  writeFileSync(PAGE, page.replace(APP, `${tagFor(MEND)}\n${APP}`));
}

function replaceTag(page, { address, from, files }) {
  const literal = address.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  const tag = new RegExp(`<(?:script|link)\\b[^>]*"${literal}[^"]*"[^>]*>(?:</script>)?\\n?`, 'g');
  const found = page.match(tag)?.length ?? 0;
  if (found !== 1) {
    throw new AssemblyError(`index.html of tinode-webapp was expected to load ${address} once, but does so ${found} times`);
  }
  return page.replace(tag, files.map((file) => `${tagFor(vendored(from, file))}\n`).join(''));
}

function vendored(name, file) {
  return `vendor/${basename(name)}/${file}`;
}

function tagFor(path) {
  return isStyle(path) ? `<link rel="stylesheet" href="${path}" />` : `<script src="${path}"></script>`;
}

function isStyle(file) {
  return file.endsWith('.css');
}

function verify() {
  const files = readdirSync(DIST, { recursive: true });
  const references = [
    ...files.filter((file) => file.endsWith('.html')).flatMap((file) => referencesIn(file, addressesInPage)),
    ...files.filter(isStyle).flatMap((file) => referencesIn(file, addressesInStyle)),
  ];
  references.forEach(verifyReference);
}

function referencesIn(file, addresses) {
  return addresses(readFileSync(join(DIST, file), 'utf8')).map((address) => ({ file, address }));
}

function verifyReference({ file, address }) {
  if (/^(?:https?:)?\/\//i.test(address)) {
    throw new AssemblyError(`${file} still loads ${address}, so the page would not work without internet`);
  }
  if (address.startsWith('data:') || OPTIONAL.has(address)) return;
  const path = resolve(DIST, dirname(file), address.replace(/[?#].*$/, ''));
  if (!existsSync(path)) {
    throw new AssemblyError(`${file} loads ${address}, which is not in ${DIST}`);
  }
}

// The scripts, styles, icons and fonts that a browser fetches by itself; links to click are not.
function addressesInPage(html) {
  const tags = html.match(/<(?:script|link)\b[^>]*>/g) ?? [];
  return tags
    .filter((tag) => !/rel="canonical"/.test(tag))
    .map((tag) => tag.match(/\b(?:src|href)="([^"]*)"/)?.[1])
    .filter((address) => address !== undefined);
}

function addressesInStyle(css) {
  const urls = [...css.matchAll(/url\(\s*["']?([^"')]+?)["']?\s*\)/g)];
  const imports = [...css.matchAll(/@import\s+["']([^"']+)["']/g)];
  return [...urls, ...imports].map((match) => match[1]);
}

try {
  assemble();
  console.log(`assembled ${relative(process.cwd(), DIST) || DIST}: the stock web app, nothing fetched from elsewhere`);
} catch (error) {
  // A folder that is there is complete.
  rmSync(DIST, { recursive: true, force: true });
  if (!(error instanceof AssemblyError)) throw error;
  console.error(`cannot assemble the web app: ${error.message}`);
  process.exitCode = 1;
}
