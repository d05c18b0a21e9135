// A group with members of three domains, in the stock web app in Debian's Chromium, by clicking.
//
//     node web_abroad.mjs [--shots DIR] [--stage DIR] FILE      FILE (or - for standard input) holds a line like that of
//                                                               `freehold demo --domains 3 --json`
//
// With --stage a file `kill` in that folder asks for gamma to be killed, which is answered by a file `killed`; `start`
// is answered by `started`. Prints `ok` or `not ok` for each scene; the exit code is 1 when anything was not ok.
// Pictures of the important moments go to the folder of --shots.

import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { Handy } from './lib/hands.mjs';
import { newcomer, readNetwork } from './lib/network.mjs';
import { act, curtain, expect, expectEqual, limitRun, until } from './lib/scenes.mjs';
import { Album, frames, openBrowser } from './lib/visitor.mjs';

const { values: options, positionals: [source = '-'] } = parseArgs({
  options: { shots: { type: 'string' }, stage: { type: 'string' } },
  allowPositionals: true,
});

// Points on a side of a picture, and bytes that could still go within a message.
const SIDE = 400;
const INLINE = 131072;

limitRun(180);
const { alpha, beta, gamma } = await readNetwork(source);
const album = new Album(options.shots, 'abroad-');
const browser = await openBrowser();
const visitors = new Map();

for (const scenes of [arriving, inviting, talking, channels, ...(options.stage ? [killing] : []), leaving]) {
  await act(async (scene) => {
    try {
      await scenes(scene);
    } catch (failure) {
      for (const visitor of visitors.values()) await album.take(visitor, `failed ${visitor.name}`);
      throw failure;
    }
  });
}
await act((scene) => frames.judge(scene));
await browser.close();
curtain();

async function arrive(who, domain) {
  const visitor = await Handy.arrive(browser, newcomer(who, domain), domain);
  visitors.set(who, visitor);
  await visitor.signUp();
  return visitor;
}

function known(...names) {
  return names.map((it) => visitors.get(it));
}

async function arriving(scene) {
  await scene('three people sign up at three domains', async () => {
    await Promise.all([arrive('Wanda', alpha), arrive('Bert', beta), arrive('Cora', gamma)]);
  });
  for (const name of ['Bert', 'Cora']) {
    await scene(`Wanda and ${name} meet`, async () => {
      const [wanda, other] = known('Wanda', name);
      await (await wanda.find(other.address, name)).click();
      await wanda.seesTitle(name);
      await wanda.say(`Hello ${name}`);
      await other.seesChat('Wanda');
      await other.openChat('Wanda');
      await other.sees(`Hello ${name}`);
      await other.accept();
      await other.say('Hello Wanda');
      await wanda.sees('Hello Wanda');
      await wanda.showContacts();
    });
  }
}

async function inviting(scene) {
  const [wanda] = known('Wanda');
  await scene('Wanda makes a group, writes in it and adds both', async () => {
    await wanda.make('Choir');
    await wanda.say('Welcome, everybody');
    await wanda.info();
    await wanda.addMember('Bert');
    await wanda.addMember('Cora');
    await album.take(wanda, 'asked');
    await wanda.back();
  });
  for (const name of ['Bert', 'Cora']) {
    await scene(`${name} sees that there is a group to come into, and comes`, async () => {
      const [other] = known(name);
      await other.seesChat('Choir');
      await other.openChat('Choir');
      await other.seesInvitation();
      await album.take(other, `invited ${name}`);
      await other.accept();
      await other.sees('Welcome, everybody');
      await album.take(other, `came ${name}`);
    });
  }
}

async function talking(scene) {
  const [wanda, bert, cora] = known('Wanda', 'Bert', 'Cora');
  await scene('what each writes all others see', async () => {
    for (const writer of [wanda, bert, cora]) {
      await writer.say(`It is ${writer.name}`);
      const readers = [wanda, bert, cora].filter((it) => it !== writer);
      for (const reader of readers) await reader.sees(`It is ${writer.name}`);
    }
  });
  await scene('a message that all have read is marked so', () => bert.seesMark('It is Bert', 'read'));
  await scene('all three are listed among the members everywhere', async () => {
    for (const visitor of [wanda, bert, cora]) {
      await visitor.info();
      for (const name of ['Wanda', 'Bert', 'Cora']) await visitor.member(name).waitFor();
      await album.take(visitor, `members ${visitor.name}`);
      await visitor.back();
    }
  });
  await scene('Bert edits what he wrote, and Cora sees it edited', async () => {
    await bert.say('Shall we sink?');
    await cora.sees('Shall we sink?');
    await bert.edit('Shall we sink?', 'Shall we sing?');
    for (const reader of [wanda, cora]) await reader.sees('Shall we sing?');
  });
  await scene('Wanda deletes a message of Cora for all', async () => {
    await cora.say('Oops');
    await wanda.sees('Oops');
    await wanda.onMessage('Oops', 'Delete for All');
    for (const reader of [wanda, bert, cora]) await reader.seesGone('Oops');
  });
  await scene('Bert posts a picture, and it is drawn at all three domains', async () => {
    const picture = await bert.paints(SIDE);
    expect(picture.buffer.length > INLINE, `the picture has only ${picture.buffer.length} bytes`);
    await bert.sendPicture(picture);
    for (const visitor of [bert, wanda, cora]) await visitor.seesPicture(SIDE);
    await album.take(cora, 'picture');
  });
  await scene('she gives it another name, and the others see it', async () => {
    await wanda.info();
    await wanda.press('Edit');
    await wanda.type('Name', 'Great Choir');
    for (const visitor of [bert, cora]) await visitor.seesTitle('Great Choir');
    await wanda.back();
  });
  await album.take(cora, 'talked');
}

async function killing(scene) {
  const [wanda, bert, cora] = known('Wanda', 'Bert', 'Cora');
  await scene('one domain is killed, and the others go on', async () => {
    await stage('kill', 'killed');
    await wanda.say('Is Cora there?');
    await bert.sees('Is Cora there?');
    await bert.say('I think not');
    await wanda.sees('I think not');
  });
  await scene('it is brought back, and Cora reads what she missed and is heard', async () => {
    await cora.closeChat();
    await stage('start', 'started');
    await cora.reload();
    await cora.openChat('Great Choir');
    await cora.sees('Is Cora there?');
    await cora.sees('I think not');
    await cora.say('Here I am again');
    for (const reader of [wanda, bert]) await reader.sees('Here I am again');
    await album.take(cora, 'is back');
  });
}

async function channels(scene) {
  const [wanda, cora] = known('Wanda', 'Cora');
  const address = await scene('Wanda makes a channel', async () => {
    await wanda.make('Evening News', { channel: true });
    await wanda.say('Good evening');
    const [, id] = wanda.page.url().match(/grp([\w-]{22})/) ?? [];
    expect(id, `no group is open at ${wanda.page.url()}`);
    return `chn${id}@${alpha.name}`;
  });
  await scene('Cora finds it by its address, is led to it and reads it, and cannot write', async () => {
    await (await cora.find(address, 'Evening News')).click();
    await cora.seesTitle('Evening News');
    await cora.sees('Good evening');
    await wanda.say('Now the weather');
    await cora.sees('Now the weather');
    expect(!(await cora.page.locator('#send-message-input').isVisible()), 'she can write');
    await album.take(cora, 'channel read');
  });
  await scene('Wanda deletes it, and Cora loses it', async () => {
    await wanda.onChat('Evening News', 'Delete');
    await wanda.confirm();
    await wanda.seesNoChat('Evening News');
    await cora.seesNoChat('Evening News');
  });
  for (const visitor of [wanda, cora]) await visitor.openChat('Great Choir');
}

async function leaving(scene) {
  const [wanda, bert, cora] = known('Wanda', 'Bert', 'Cora');
  await scene('Bert leaves for good, and the others see it', async () => {
    await bert.info();
    await bert.press('Security');
    await bert.press('Leave Conversation');
    await bert.confirm();
    await bert.seesNoChat('Great Choir');
    await wanda.say('Bye, Bert');
    await cora.sees('Bye, Bert');
  });
  await scene('Wanda deletes the group, and Cora loses it', async () => {
    await wanda.onChat('Great Choir', 'Delete');
    await wanda.confirm();
    await wanda.seesNoChat('Great Choir');
    await cora.seesNoChat('Great Choir');
    await album.take(cora, 'lost');
  });
  const all = [...visitors.values()];
  await scene('no page met an exception or wrote of an error', () => expectEqual(all.flatMap(({ exceptions }) => exceptions), [], 'the exceptions'));
}

/** Has whoever runs this script do something, and waits until it is done. */
async function stage(asked, done) {
  writeFileSync(join(options.stage, asked), '');
  await until(`gamma to be ${done}`, () => existsSync(join(options.stage, done)));
}
