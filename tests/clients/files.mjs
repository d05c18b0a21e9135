// Files through the stock Tinode SDK for JavaScript, with its own LargeFileHelper.
//
//     node files.mjs FILE      FILE (or - for standard input) holds the line printed by `freehold demo --json`
//
// Prints `ok` or `not ok` for each scene; the exit code is 1 when anything was not ok.

import { newcomer, readNetwork } from './lib/network.mjs';
import { Person, frames } from './lib/person.mjs';
import { act, curtain, expect, expectEqual, expectRefusal, limitRun } from './lib/scenes.mjs';
import { BrowserRequest, Page } from './lib/xhr.mjs';

limitRun(60);
const { alpha } = await readNetwork(process.argv[2] ?? '-');
const page = new Page(alpha.url);
const ann = new Person(newcomer('Ann', alpha), alpha);
ann.tinode.constructor.setNetworkProviders(globalThis.WebSocket, BrowserRequest);

await act(files);
await act((scene) => frames.judge(scene));
curtain();

async function files(scene) {
  const info = await scene('files may be sent', async () => {
    const info = await ann.connect();
    expect(info.maxFileUploadSize >= 1024 * 1024, `maxFileUploadSize is ${info.maxFileUploadSize}`);
    return info;
  });
  await scene('a picture for the account is sent before there is one', async () => {
    const url = await ann.tinode.getLargeFileHelper().upload(file(3000, 'me.jpg'), 'newacc');
    expectRelative(url);
  });
  await scene('without a log-in nothing else is', () =>
    expectRefusal(ann.tinode.getLargeFileHelper().upload(file(10, 'x')), 401));
  await ann.register();
  await ann.enter();
  const bytes = file(700_000, 'Прогулка.bin');
  const url = await scene('a file is sent and its URL is relative', async () => {
    const url = await ann.tinode.getLargeFileHelper().upload(bytes);
    expectRelative(url);
    return url;
  });
  await scene('it is saved as it was sent', async () => {
    await ann.tinode.getLargeFileHelper().download(url, 'saved.bin', 'application/octet-stream');
    const [{ name, blob }] = page.saved;
    expectEqual(name, 'saved.bin', 'the name');
    const [sent, saved] = await Promise.all([bytes.arrayBuffer(), blob.arrayBuffer()]);
    expect(Buffer.from(sent).equals(Buffer.from(saved)), 'other bytes came back');
  });
  await scene('a picture is shown under the URL with the log-in in it', async () => {
    const shown = ann.tinode.authorizeURL(url);
    const answer = await fetch(new URL(shown, alpha.url));
    expectEqual(answer.status, 200, `the status of ${shown}`);
    expectEqual((await answer.arrayBuffer()).byteLength, 700_000, 'the length');
  });
  await scene('a file that is too large is refused', () =>
    expectRefusal(ann.tinode.getLargeFileHelper().upload(file(info.maxFileUploadSize + 1, 'x')), 413));
  await scene('what is not there cannot be saved', () => {
    const none = url.replace(/[^/]{22}\./, 'AAAAAAAAAAAAAAAAAAAAAA.');
    return expectRefusal(ann.tinode.getLargeFileHelper().download(none, 'x', 'x/x'), 404);
  });
}

function file(size, name) {
  const bytes = new Uint8Array(size);
  bytes.forEach((_, at) => { bytes[at] = at % 251; });
  return new File([bytes], name);
}

function expectRelative(url) {
  expect(/^\/v0\/file\/s\/[a-z0-9.-]+\/[A-Za-z0-9_-]{22}\.[a-z0-9]{1,8}$/.test(url), `the URL is ${url}`);
}
