// Files through the stock Tinode SDK for JavaScript, with its own LargeFileHelper.
//
//     node files.mjs FILE      FILE (or - for standard input) holds the line printed by `freehold demo --json`
//
// Prints `ok` or `not ok` for each scene; the exit code is 1 when anything was not ok.

import { newcomer, readNetwork } from './lib/network.mjs';
import { Drafty, Person, frames } from './lib/person.mjs';
import { act, curtain, expect, expectEqual, expectRefusal, limitRun, until } from './lib/scenes.mjs';
import { BrowserRequest, Page } from './lib/xhr.mjs';

limitRun(60);
const { alpha, beta } = await readNetwork(process.argv[2] ?? '-');
const page = new Page(alpha.url);
const ann = new Person(newcomer('Ann', alpha), alpha);
const ben = new Person(newcomer('Ben', beta), beta);
ann.tinode.constructor.setNetworkProviders(globalThis.WebSocket, BrowserRequest);

await act(files);
await act(abroad);
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

/** From one domain to another: the URL leads the reader's client to its own server, which brings the file. */
async function abroad(scene) {
  await ben.connect();
  await ben.register();
  await ben.enter();
  const [here, there] = await scene('Ann and Ben of another domain meet', async () => {
    const [{ topic }] = await ann.find(`email:${ben.address}`);
    const here = await ann.begin(topic);
    await here.say('Hello Ben');
    const annAbroad = `${ann.id}@${alpha.name}`;
    await until("Ann in Ben's contacts", () => ben.contact(annAbroad));
    const there = await ben.open(annAbroad);
    await there.accept();
    await there.say('Hello Ann');
    await here.hears('Hello Ann');
    return [here, there];
  });
  const bytes = picture(500_000, 'walk.png');
  const ref = await scene('Ann sends a picture', async () => {
    const ref = await ann.tinode.getLargeFileHelper().upload(bytes);
    const image = { mime: 'image/png', width: 640, height: 480, filename: 'walk.png', size: bytes.size, refurl: ref };
    await here.send(here.topic.createMessage(Drafty.insertImage(null, 0, image), false), 'a picture');
    return ref;
  });
  const shown = await scene('Ben gets the message with the same URL', async () => {
    const { content } = await until('the picture', () => there.heard.find(({ content }) => content.ent));
    expectEqual(content.ent[0].data.ref, ref, 'the URL');
    return content.ent[0].data.ref;
  });
  await scene('he saves the picture from his own domain', async () => {
    BrowserRequest.base = beta.url;
    await ben.tinode.getLargeFileHelper().download(shown, 'walk.png', 'image/png');
    const { blob } = page.saved.at(-1);
    const [sent, saved] = await Promise.all([bytes.arrayBuffer(), blob.arrayBuffer()]);
    expect(Buffer.from(sent).equals(Buffer.from(saved)), 'other bytes came');
  });
  await scene('and it is shown there under the URL with his log-in in it', async () => {
    const answer = await fetch(new URL(ben.tinode.authorizeURL(shown), beta.url));
    expectEqual([answer.status, answer.headers.get('content-type')], [200, 'image/png'], 'status and kind');
  });
  await scene('a file that nobody sent to him is not there', () =>
    expectRefusal(ben.tinode.getLargeFileHelper().download(ref.replace(/[^/]{22}\./, 'AAAAAAAAAAAAAAAAAAAAAA.'), 'x', 'x/x'), 404));
}

/** Bytes that begin as a picture does. */
function picture(size, name) {
  const bytes = new Uint8Array(size);
  bytes.forEach((_, at) => { bytes[at] = at % 251; });
  bytes.set([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return new File([bytes], name, { type: 'image/png' });
}

function file(size, name) {
  const bytes = new Uint8Array(size);
  bytes.forEach((_, at) => { bytes[at] = at % 251; });
  return new File([bytes], name);
}

function expectRelative(url) {
  expect(/^\/v0\/file\/s\/[a-z0-9.-]+\/[A-Za-z0-9_-]{22}\.[a-z0-9]{1,8}$/.test(url), `the URL is ${url}`);
}
