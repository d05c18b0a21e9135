// Long polling through the stock Tinode SDK for JavaScript.
//
//     node polling.mjs FILE      FILE (or - for standard input) holds the line printed by `freehold demo --json`
//
// Ann polls, Ben at the other domain has a WebSocket. Prints `ok` or `not ok` for each scene; the exit
// code is 1 when anything was not ok.

import { newcomer, readNetwork } from './lib/network.mjs';
import { Person, frames } from './lib/person.mjs';
import { act, curtain, expect, expectEqual, expectRefusal, limitRun, until } from './lib/scenes.mjs';

limitRun(60);
const { alpha, beta } = await readNetwork(process.argv[2] ?? '-');
const ann = new Person(newcomer('Ann', alpha), alpha, { transport: 'lp' });
const ben = new Person(newcomer('Ben', beta), beta);

await act(talking);
await act((scene) => frames.judge(scene));
curtain();

async function talking(scene) {
  await scene('who polls is greeted', async () => {
    const info = await ann.connect();
    expectEqual(info.ver, '0.25', 'the protocol version');
    expect(typeof info.build === 'string', 'build must be a string');
  });
  await scene('nothing is served before log-in', () => expectRefusal(ann.me.subscribe(), 401));
  await scene('who polls registers and is in at once', async () => {
    await ann.register();
    await ann.enter();
    expectEqual(ann.me.public?.fn, 'Ann', 'the own name');
  });
  await ben.connect();
  await ben.register();
  await ben.enter();
  const here = await scene('who polls finds somebody elsewhere and writes', async () => {
    const [row] = await ann.find(`email:${ben.address}`);
    await ann.lookAt(row.topic);
    const chat = await ann.begin(row.topic);
    await chat.say('Hello from afar');
    return chat;
  });
  const there = await scene('it arrives, is accepted and answered', async () => {
    const annAbroad = `${ann.id}@${alpha.name}`;
    // Opened before the invitation is here, the chat would be one that Ben begins himself.
    await until("Ann in Ben's contacts", () => ben.contact(annAbroad));
    const chat = await ben.open(annAbroad);
    await chat.hears('Hello from afar');
    await chat.accept();
    await chat.say('Hello yourself');
    return chat;
  });
  await scene('who polls hears and sees what the other side does', async () => {
    await here.hears('Hello yourself');
    there.topic.noteKeyPress();
    await here.seesTyping();
  });
  await scene('twenty messages reach who polls, in order and once', async () => {
    const texts = Array.from({ length: 20 }, (_, i) => `number ${i}`);
    for (const text of texts) await there.say(text);
    for (const text of texts) await here.hears(text);
    const heard = here.heard.map(({ content }) => content).filter((it) => texts.includes(it));
    expectEqual(heard, texts, 'the messages heard');
  });
  await scene('who polls reads a page, leaves, and comes back', async () => {
    const { messages, end } = await here.page({ limit: 5 });
    expectEqual([messages.length, end.code], [5, 208], 'the page');
    await here.leave();
    await ann.open(here.id);
  });
  await scene('a second session gets in by polling with the token of the first', async () => {
    const second = new Person(ann, alpha, { transport: 'lp' });
    await second.connect();
    await second.logInWithToken(ann.token);
    expectEqual(second.id, ann.id, 'the own id');
  });
}
