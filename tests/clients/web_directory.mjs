// What people find by words in the stock web app, in Debian's Chromium, where a node of the public directory
// runs beside three domains: Bob of the second one and Carol of the third make groups that everybody may find,
// and Alice of the first one finds both by a word of their names and joins.
//
//     node web_directory.mjs [--shots DIR] NETWORK
//
// NETWORK is the line of `freehold demo --json --directory --domains 3`, in a file or `-`. Prints `ok` or `not ok` for
// each scene; the exit code is 1 when anything was not ok. Pictures of the important moments go to DIR.

import { parseArgs } from 'node:util';

import { Handy } from './lib/hands.mjs';
import { newcomer, readNetwork } from './lib/network.mjs';
import { act, curtain, expect, expectEqual, limitRun, until } from './lib/scenes.mjs';
import { Album, frames, openBrowser } from './lib/visitor.mjs';

const { values: options, positionals: [source] } = parseArgs({ options: { shots: { type: 'string' } }, allowPositionals: true });

limitRun(120);
const network = await readNetwork(source);
const album = new Album(options.shots, 'directory-');
const browser = await openBrowser();
const visitors = [];
// A word that no other run has used.
const word = `bicycle${Date.now().toString(36)}`;
const group = `The ${word} workshop`;
const race = `The ${word} race`;

await act(async (scene) => {
  try {
    await finding(scene);
  } catch (failure) {
    for (const visitor of visitors) await album.take(visitor, `failed ${visitor.name}`);
    throw failure;
  }
});
await act((scene) => frames.judge(scene));
await browser.close();
curtain();

async function arrive(who, domain) {
  const visitor = await Handy.arrive(browser, newcomer(who, domain), domain);
  visitors.push(visitor);
  await visitor.signUp();
  return visitor;
}

/** The directory hears of a group within seconds. The app asks once for what was typed, so people wait first. */
async function isListed() {
  const answer = await fetch(`${network.directory}/v1/groups?q=${word}`);
  return (await answer.json()).cards.length === 2;
}

async function finding(scene) {
  const alice = await arrive('Alice', network.alpha);
  const bob = await arrive('Bob', network.beta);
  await scene('Bob makes a group that everybody may find, and writes in it', async () => {
    await bob.make(group, { tag: 'discoverable:yes' });
    await bob.say('Bring a pump');
  });
  const carol = await arrive('Carol', network.gamma);
  await scene('Carol of a third domain makes another', async () => {
    await carol.make(race, { tag: 'discoverable:yes' });
  });
  await scene('Alice of the first domain finds both by a word of their names, and sees where they live', async () => {
    await until('the groups to be listed', isListed, 30000);
    await alice.find(word, group);
    await alice.entry(race).waitFor();
    for (const [name, home] of [[group, 'beta.test'], [race, 'gamma.test']]) {
      await alice.entry(name).getByText(home).waitFor();
    }
    await album.take(alice, 'found by a word');
  });
  await scene('she opens it, is let in and reads what was written before', async () => {
    await alice.entry(group).click();
    await alice.seesTitle(group);
    await alice.sees('Bring a pump');
  });
  await scene('she writes, Bob reads it, and he is answered in her turn', async () => {
    await alice.say('I have one');
    await bob.sees('I have one');
    await bob.say('See you on Tuesday');
    await alice.sees('See you on Tuesday');
    await album.take(alice, 'joined');
    await bob.info();
    await bob.member('Alice').waitFor();
    await album.take(bob, 'a member from elsewhere');
  });
  await scene('she joins the other too', async () => {
    await alice.find(word, race);
    await alice.entry(race).click();
    await alice.seesTitle(race);
    await alice.say('Who comes?');
    await carol.sees('Who comes?');
  });
  await scene('the group is in her list of chats after the page is loaded again', async () => {
    await alice.closeChat();
    await alice.reload();
    await alice.seesChat(group);
  });
  await scene('no page fetched anything from elsewhere, and none stumbled', () => {
    for (const visitor of visitors) {
      expectEqual(visitor.strayRequests, []);
      expectEqual(visitor.exceptions, []);
    }
    expect(visitors.length === 3, 'three people were there');
  });
}
