// Two domains seen through the stock web app in Debian's Chromium, by clicking.
//
//     node web.mjs [--shots DIR] FILE      FILE (or - for standard input) holds the line printed by `freehold demo --json`
//
// Visitors sign up and log in, find each other across the border, chat, and come back after a reload.
// Prints `ok` or `not ok` for each scene; the exit code is 1 when anything was not ok. Pictures of the
// important moments go to DIR.

import { parseArgs } from 'node:util';

import { newcomer, readNetwork } from './lib/network.mjs';
import { act, curtain, expectEqual, limitRun } from './lib/scenes.mjs';
import { Album, Visitor, frames, openBrowser } from './lib/visitor.mjs';

const { values: options, positionals: [source = '-'] } = parseArgs({ options: { shots: { type: 'string' } }, allowPositionals: true });

limitRun(120);
const { alpha, beta } = await readNetwork(source);
const album = new Album(options.shots);
const browser = await openBrowser();
const visitors = [];

const friends = await act(strangers);
if (friends) await act((scene) => presence(scene, friends));
await act(residents);
await act(pages);
await act((scene) => frames.judge(scene));
await browser.close();
curtain();

async function arrive(person, domain) {
  const visitor = await Visitor.arrive(browser, person, domain);
  visitors.push(visitor);
  return visitor;
}

/** Newcomers on two domains: sign-up, search, invitation, chat, reload. */
async function strangers(scene) {
  const [wanda, bert] = await scene('newcomers sign up at both domains', async () => {
    const both = [await arrive(newcomer('Wanda', alpha), alpha), await arrive(newcomer('Bert', beta), beta)];
    for (const visitor of both) await visitor.signUp();
    await album.take(both[0], 'signed up');
    return both;
  });
  await scene('the icons are drawn', () => wanda.seesIcons());
  await scene(`Wanda finds ${bert.address} in the search box`, async () => {
    const entry = await wanda.find(bert.address, 'Bert');
    await album.take(wanda, 'found');
    await entry.click();
    await wanda.seesTitle('Bert');
  });
  await scene('she writes to him, and the message is marked as sent', async () => {
    await wanda.say('Hello Bert, this is Wanda');
    await wanda.seesMark('Hello Bert, this is Wanda', 'sent');
    await album.take(wanda, 'written');
  });
  await scene("a new chat appears at Bert's, with one message not read", async () => {
    await bert.seesChat('Wanda');
    await bert.seesUnread('Wanda', 1);
    await album.take(bert, 'new chat');
  });
  await scene('Bert opens it and sees the invitation and the message', async () => {
    await bert.openChat('Wanda');
    await bert.sees('Hello Bert, this is Wanda');
    await bert.seesInvitation();
    await album.take(bert, 'invitation');
  });
  await scene('he accepts', async () => {
    await bert.accept();
    await album.take(bert, 'accepted');
  });
  await scene('he answers, and Wanda sees his answer', async () => {
    await bert.say('Hello Wanda, welcome');
    await wanda.sees('Hello Wanda, welcome');
  });
  await scene('her first message is now marked as read', async () => {
    await wanda.seesMark('Hello Bert, this is Wanda', 'read');
    await album.take(wanda, 'read');
  });
  await scene('further messages are marked as read on both sides', async () => {
    for (const [writer, reader] of [[wanda, bert], [bert, wanda]]) {
      const text = `One more from ${writer.name}`;
      await writer.say(text);
      await reader.sees(text);
      await writer.seesMark(text, 'read');
    }
  });
  await scene('marks are still there when the chat is opened again', async () => {
    await wanda.closeChat();
    await wanda.openChat('Bert');
    await wanda.seesMark('One more from Wanda', 'read');
  });
  await scene('after a reload Wanda is still logged in, with her chat', async () => {
    await wanda.closeChat();
    await wanda.reload();
    await wanda.seesContacts();
    await wanda.openChat('Bert');
    await wanda.sees('Hello Wanda, welcome');
    await wanda.hasNoErrorBanner();
    await album.take(wanda, 'reloaded');
  });
  return [wanda, bert];
}

/** The page shows typing only beside a person who is online. */
async function presence(scene, friends) {
  await scene('friends of two domains see each other online', async () => {
    for (const friend of friends) await friend.seesOnline();
  });
  await scene('and typing', async () => {
    for (const [writer, reader] of [friends, friends.toReversed()]) {
      const typing = writer.typeSlowly('Well, let me think');
      await reader.seesTyping();
      await album.take(reader, 'typing');
      await typing;
    }
  });
}

/** The demo's own pair, who may have met in an earlier run. */
async function residents(scene) {
  const [alice, bob] = await scene('the people of the demo log in', async () => {
    const both = [await arrive({ ...alpha.resident, name: 'Alice' }, alpha), await arrive({ ...beta.resident, name: 'Bob' }, beta)];
    for (const visitor of both) {
      await visitor.logIn();
      visitor.name = await visitor.ownName();
    }
    await album.take(both[0], 'logged in');
    return both;
  });
  const text = `It is ${new Date().toISOString()}`;
  await scene(`${alice.address} finds ${bob.address} and writes`, async () => {
    await (await alice.find(bob.address, bob.name)).click();
    await alice.seesTitle(bob.name);
    await alice.say(text);
  });
  await scene(`${bob.address} sees it, accepts if asked, and answers`, async () => {
    await bob.openChat(alice.name);
    await bob.sees(text);
    if (await bob.hasInvitation()) await bob.accept();
    await bob.say(`Yes: ${text}`);
    await alice.sees(`Yes: ${text}`);
    await album.take(alice, 'residents');
    await album.take(bob, 'residents');
  });
}

/** What the pages had to say about themselves in all scenes before. */
async function pages(scene) {
  await scene('no page met an exception or wrote of an error', () => expectEqual(visitors.flatMap(({ exceptions }) => exceptions), [], 'the exceptions'));
  await scene('no page asked any other server', () => expectEqual(visitors.flatMap(({ strayRequests }) => strayRequests), [], 'the requests'));
  for (const complaint of visitors.flatMap(({ complaints }) => complaints)) console.log(`# ${complaint.split('\n')[0]}`);
}
