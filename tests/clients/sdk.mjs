// Two domains seen through the stock Tinode SDK for JavaScript.
//
//     node sdk.mjs FILE      FILE (or - for standard input) holds the line printed by `freehold demo --json`
//
// People register, log in, find each other across the border, chat, and come back after a cut line.
// Prints `ok` or `not ok` for each scene; the exit code is 1 when anything was not ok. The newcomers
// have new names each time, so the script can be run again on the same network.

import { newcomer, readNetwork } from './lib/network.mjs';
import { Person, frames } from './lib/person.mjs';
import { act, curtain, expect, expectEqual, expectRefusal, limitRun, pause, until } from './lib/scenes.mjs';

limitRun(90);
const { alpha, beta } = await readNetwork(process.argv[2] ?? '-');

const alice = new Person({ ...alpha.resident, name: 'Alice' }, alpha);
const bob = new Person({ ...beta.resident, name: 'Bob' }, beta);
const ann = new Person(newcomer('Ann', alpha), alpha);
const amy = new Person(newcomer('Amy', alpha), alpha);
const ben = new Person(newcomer('Ben', beta), beta);

await act(accounts);
await act(searching);
await act(neighbours);
await act(residents);
const chats = await act(firstContact);
if (chats) {
  await act((scene) => manyMessages(scene, chats));
  await act((scene) => cutLine(scene, chats));
}
await act(fourthMessage);
await act(channelElsewhere);
await act((scene) => frames.judge(scene));
curtain();

/** How people get in. */
async function accounts(scene) {
  await scene('each domain greets with its limits', async () => {
    for (const person of [ann, ben, amy, alice, bob]) {
      const info = await person.connect();
      expectEqual(info.ver, '0.25', 'the protocol version');
      expect(typeof info.build === 'string', 'build must be a string');
      for (const limit of ['maxMessageSize', 'maxSubscriberCount', 'minTagLength', 'maxTagLength', 'maxTagCount', 'maxFileUploadSize']) {
        expect(Number.isInteger(info[limit]), `${limit} must be an integer`);
      }
    }
  });
  await scene('the network probe is answered', () => ann.probe());
  await scene('nothing is served before log-in', () => expectRefusal(ann.me.subscribe(), 401));
  await scene('a newcomer registers at each domain and is in at once', async () => {
    for (const person of [ann, ben, amy]) await person.register();
    for (const person of [ann, ben, amy]) await person.enter();
    expectEqual(ann.me.public?.fn, 'Ann', 'the own name');
  });
  await scene('the people of the demo log in', async () => {
    for (const person of [alice, bob]) {
      await person.logIn();
      await person.enter();
    }
  });
  await scene('a log-in name that is taken is refused', () => refused({ ...ann, password: 'another-secret' }, 'register', 409));
  await scene('a wrong password is refused', () => refused({ ...ann, password: 'wrong-secret' }, 'logIn', 401));
  await scene('a second session gets in with the token of the first', async () => {
    const second = new Person(ann, alpha);
    await second.connect();
    await second.logInWithToken(ann.token);
    expectEqual(second.id, ann.id, 'the own id');
    await second.enter();
    second.goAway();
  });
}

async function refused(who, how, code) {
  const stranger = new Person(who, alpha);
  await stranger.connect();
  await expectRefusal(stranger[how](), code);
  stranger.goAway();
}

/** How an address is found, however it was typed and whatever the client made of it. */
async function searching(scene) {
  const address = bob.address;
  const shouted = `${bob.login}@${beta.name.toUpperCase()}`;
  const queries = [
    `email:${address}`,
    `alias:${address},${address}`,
    `basic:${address}`,
    `alias:basic:${address},basic:${address}`,
    address,
    `email:${shouted}`,
    `alias:${shouted},${shouted}`,
  ];
  const found = [];
  for (const query of queries) {
    await scene(`"${query}" finds one person of ${beta.name}`, async () => found.push(onlyRow(await ann.find(query), beta)));
  }
  await scene('all these are the same person, with a name', () => {
    expectEqual(new Set(found.map(({ topic }) => topic)).size, 1, 'the number of different ids');
    expect(typeof found[0].public?.fn === 'string', 'the row must carry public.fn');
  });
  await scene('a question and its answer keep their order when sent back to back', async () => {
    onlyRow(await ann.find(`email:${address}`, { backToBack: true }), beta);
  });
  await scene('an address of the own domain is found under a bare id', async () => {
    const [row] = await ann.find(`email:${alice.address}`);
    expectEqual(row?.topic, alice.id, 'the id');
  });
  await scene('an address that nobody has finds nobody', async () => {
    expectEqual(await ann.find(`email:nobody-at-all@${beta.name}`), [], 'the rows');
    expectEqual(await ann.find('email:bob@no-such-domain.test'), [], 'the rows');
  });
}

function onlyRow(rows, { name }) {
  expectEqual(rows.length, 1, 'the number of rows');
  const [row] = rows;
  expect(row.topic?.startsWith('usr') && row.topic.endsWith(`@${name}`), `the id must be usr…@${name}, but is ${row.topic}`);
  expect(!('user' in row), 'a row must not carry "user"');
  expect(Array.isArray(row.private) && row.private.every((tag) => typeof tag === 'string'), 'private must be the terms that matched');
  return row;
}

/** Two people of one domain: no border, no invitation. */
async function neighbours(scene) {
  const [here, there] = await scene('two people of one domain open a chat', async () => {
    const [row] = await ann.find(`email:${amy.address}`);
    expectEqual((await ann.lookAt(row.topic)).public?.fn, 'Amy', 'her name');
    const begun = await ann.begin(row.topic);
    await begun.say('Good morning, neighbour');
    await until("Amy's contact", () => amy.contact(ann.id)?.public?.fn === 'Ann');
    return [begun, await amy.open(ann.id)];
  });
  await scene('the message arrives and needs no acceptance', async () => {
    await there.hears('Good morning, neighbour');
    expect(!there.isInvitation, 'no invitation is expected inside a domain');
  });
  await scene('the answer arrives', async () => {
    await there.say('Good morning, Ann');
    await here.hears('Good morning, Ann');
  });
  await scene('both see typing, received and read', () => seeEachOther(here, there));
}

/** Typing, received and read in both directions, each message being the last of its side. */
async function seeEachOther(one, other) {
  for (const [writer, reader] of [[one, other], [other, one]]) {
    writer.topic.noteKeyPress();
    await reader.seesTyping();
    const text = `Have you seen this, ${reader.person.name}?`;
    const seq = await writer.say(text);
    const { seq: seenAs } = await reader.hears(text);
    await writer.seesMark('recv', seq);
    reader.topic.noteRead(seenAs);
    await writer.seesMark('read', seq);
  }
}

/** The demo's own pair, who may have met in an earlier run. */
async function residents(scene) {
  const text = `Hello Bob, it is ${new Date().toISOString()}`;
  const here = await scene(`${alice.address} opens a chat with ${bob.address} and writes`, async () => {
    const { topic } = onlyRow(await alice.find(`email:${bob.address}`), beta);
    const haveMet = alice.contact(topic) !== undefined;
    expect((await alice.lookAt(topic)).public?.fn, 'the description must carry public.fn');
    const chat = haveMet ? await alice.open(topic) : await alice.begin(topic);
    await chat.say(text);
    return chat;
  });
  await scene(`${bob.address} sees it, accepts if asked, and answers`, async () => {
    const from = `${alice.id}@${alpha.name}`;
    await until("Alice in Bob's contacts", () => bob.contact(from)?.public?.fn);
    const chat = await bob.open(from);
    await chat.hears(text);
    if (chat.isInvitation) await chat.accept();
    await chat.say(`Hello Alice, yes: ${text}`);
    await here.hears(`Hello Alice, yes: ${text}`);
    await chat.leave();
  });
}

/** A channel of another domain: opened by its whole address as the web app does it, then read. */
async function channelElsewhere(scene) {
  const written = await scene('Ben has a channel and writes in it', async () => {
    const chat = await ben.make('News of beta', { channel: true });
    await chat.say('The first news');
    return chat;
  });
  const name = written.topic.name.replace(/^grp/, 'chn');
  const address = `${name}@${beta.name}`;
  await scene('its address finds it', async () => {
    const rows = await ann.find(address);
    expectEqual(rows.map(({ topic, public: card }) => [topic, card?.fn]), [[address, 'News of beta']], 'the rows');
  });
  await scene('Ann sees what it is before she opens it', async () => {
    expectEqual((await ann.lookAt(address)).public?.fn, 'News of beta', 'its name');
  });
  await scene('she is led to its name here', async () => {
    const { code, params } = await ann.tinode.getTopic(address).subscribe();
    expectEqual([code, params?.topic], [303, name], 'the code and the other name');
  });
  const here = await scene('she reads it there', async () => {
    const chat = await ann.open(name);
    expectEqual(chat.topic.public?.fn, 'News of beta', 'its name');
    expect(chat.topic.isChannelType(), 'it must be a channel');
    await until('what was written before', async () => (await chat.page({}))
      .messages.some(({ content }) => content === 'The first news'));
    return chat;
  });
  await scene('what is written comes at once, without its author', async () => {
    await written.say('The second news');
    const { from } = await here.hears('The second news');
    expectEqual(from, undefined, 'the author');
  });
  await scene('it is among her contacts when she comes back', async () => {
    const second = new Person(ann, alpha);
    await second.connect();
    await second.logInWithToken(ann.token);
    await second.enter();
    expectEqual(second.contact(name)?.public?.fn, 'News of beta', 'its name');
    second.goAway();
  });
  await scene('she leaves it', () => here.topic.leave(true));
}

/** A stranger from another domain: invitation, acceptance, chat. */
async function firstContact(scene) {
  const here = await scene("Ann looks at a stranger of another domain and sees his name before she writes", async () => {
    const { topic } = onlyRow(await ann.find(`email:${ben.address}`), beta);
    expectEqual((await ann.lookAt(topic)).public?.fn, 'Ben', 'his name');
    return ann.begin(topic);
  });
  const greeting = await scene('her message is acknowledged at once', async () => {
    const asked = Date.now();
    const seq = await here.say('Hello Ben, this is Ann');
    expect(Date.now() - asked < 1000, `the acknowledgement took ${Date.now() - asked} ms`);
    return seq;
  });
  const annAbroad = `${ann.id}@${alpha.name}`;
  await scene("a new chat appears at Ben's, under Ann's name, with one message not read", async () => {
    await until("Ann in Ben's contacts", () => ben.contact(annAbroad)?.public?.fn === 'Ann');
    await until('the count of unread messages to be 1', () => ben.contact(annAbroad).unread === 1);
  });
  const there = await ben.open(annAbroad);
  await scene('Ben sees the invitation and the message', async () => {
    const { from } = await there.hears('Hello Ben, this is Ann');
    expectEqual(from, annAbroad, 'the author');
    expect(there.isInvitation, `given minus want must contain R or W, but access is ${there.topic.getAccessMode()}`);
    expect(there.topic.getAccessMode().isReader(), 'the message must be readable before acceptance');
  });
  await scene('no marks leave before he accepts', async () => {
    there.topic.noteRead(1);
    await pause(700);
    expectEqual([...here.marks('recv'), ...here.marks('read')], [], 'the marks that Ann got');
  });
  await scene('Ben accepts as the web app does', () => there.accept());
  await scene('what he had read before is then shown as read to Ann', () => here.seesMark('read', greeting));
  await scene('Ann is told, so that her check marks work without opening the chat again', async () => {
    const peer = await until("Ben among the members that Ann's client knows", () => here.topic.p2pPeerDesc());
    await until('his acceptance', () => peer.acs?.isWriter('want') ?? false);
  });
  await scene('Ben answers', async () => {
    await there.say('Hello Ann, nice to meet you');
    const { from } = await here.hears('Hello Ann, nice to meet you');
    expectEqual(from, here.id, 'the author');
  });
  await scene('both see typing, received and read across the border', () => seeEachOther(here, there));
  await scene('both know each other by name', async () => {
    await until("Ben's name in Ann's contacts", () => ann.contact(here.id)?.public?.fn === 'Ben');
    expectEqual(there.topic.public?.fn, 'Ann', "Ann's name at Ben's");
  });
  await scene('both members are named whenever asked for, changed or not', async () => {
    for (const chat of [here, there]) {
      const members = await chat.members(new Date());
      expectEqual(members.map(({ user }) => user).sort(), [chat.id, chat.person.id].sort(), 'the members');
      expect(members.every(({ acs }) => acs), 'each member must have acs');
    }
  });
  return [here, there];
}

/** Fifty messages at once, and the same fifty read again page by page. */
async function manyMessages(scene, chats) {
  const [here, there] = chats;
  const texts = (chat) => Array.from({ length: 25 }, (_, i) => `${chat.person.name} says ${i + 1}`);
  await scene('fifty messages, sent from both sides at once, are acknowledged', async () => {
    const sent = [];
    for (let i = 0; i < 25; i += 1) {
      for (const chat of chats) sent.push(chat.say(texts(chat)[i]));
      await pause(5);
    }
    await Promise.all(sent);
  });
  for (const [writer, reader] of [[here, there], [there, here]]) {
    await scene(`those of ${writer.person.name} arrive in order, each once`, async () => {
      await reader.hears(texts(writer).at(-1));
      const heard = reader.heard.filter(({ content }) => texts(writer).includes(content));
      expectEqual(heard.map(({ content }) => content), texts(writer), 'what was heard');
      expect(isRising(heard.map(({ seq }) => seq)), 'seq must rise strictly');
    });
  }
  for (const chat of chats) {
    await scene(`${chat.person.name} pages back through the whole chat`, () => pageBack(chat, chats.flatMap(texts)));
  }
  await scene('a range of messages is given as asked, newest first', async () => {
    const { messages, end } = await here.page({ ranges: [{ low: 2, hi: 5 }] });
    expectEqual(messages.map(({ seq }) => seq), [4, 3, 2], 'the numbers');
    expectEqual([end.code, end.params.count], [208, 3], 'code and count at the end');
  });
  await scene('messages since a number are given, and none after the last', async () => {
    const last = here.topic.maxMsgSeq();
    const { messages } = await here.page({ since: last - 1 });
    expectEqual(messages.map(({ seq }) => seq), [last, last - 1], 'the numbers');
    const { end } = await here.page({ since: last + 1 });
    expectEqual([end.code, end.text], [204, 'no content'], 'the end of an empty page');
  });
}

async function pageBack(chat, texts) {
  const seen = [];
  for (let before; before !== 1;) {
    const { messages, end } = await chat.page({ before, limit: 24 });
    if (end.code === 204) break;
    expectEqual([end.code, end.params.count], [208, messages.length], 'code and count at the end of the page');
    expect(messages.length <= 24, `a page of 24 held ${messages.length}`);
    seen.unshift(...messages.toReversed());
    before = seen[0].seq;
  }
  expect(isRising(seen.map(({ seq }) => seq)), 'a page must be newest first, with no number twice');
  const found = seen.map(({ content }) => content).filter((content) => texts.includes(content));
  expectEqual(found.toSorted(), texts.toSorted(), 'the messages found');
}

function isRising(numbers) {
  return numbers.every((number, i) => i === 0 || number > numbers[i - 1]);
}

/** The line is cut, things go on, and the client comes back by itself. */
async function cutLine(scene, [here, there]) {
  const { token } = ann;
  const lost = new Date();
  const back = ann.loseConnection();
  const before = here.topic.maxMsgSeq();
  await scene('Ben writes while Ann is away', () => there.say('Are you still there, Ann?'));
  await scene('Ann comes back with her token', async () => {
    await back();
    await ann.logInWithToken(token);
  });
  await scene('her contacts say what changed meanwhile', async () => {
    const arrived = await ann.enter({ changedSince: lost });
    const row = arrived.flatMap(({ meta }) => meta?.sub ?? []).find(({ topic }) => topic === here.id);
    expect(row?.seq > before, `the chat must be listed with a new message, but the row is ${JSON.stringify(row)}`);
  });
  await scene('she reads what she missed, once', async () => {
    const again = await ann.open(here.id);
    await again.hears('Are you still there, Ann?');
    expectEqual(again.heard.filter(({ content }) => content === 'Are you still there, Ann?').length, 1, 'the number of copies');
    await again.say('Here I am again');
    await there.hears('Here I am again');
  });
}

/** Three messages pass before acceptance; the fourth waits. */
async function fourthMessage(scene) {
  const texts = ['One knock', 'Two knocks', 'Three knocks', 'A fourth knock'];
  const [cat, dan] = [new Person(newcomer('Cat', alpha), alpha), new Person(newcomer('Dan', beta), beta)];
  await scene('a stranger writes four messages, and all are acknowledged', async () => {
    for (const person of [cat, dan]) {
      await person.connect();
      await person.register();
      await person.enter();
    }
    const { topic } = onlyRow(await cat.find(`email:${dan.address}`), beta);
    await cat.lookAt(topic);
    const chat = await cat.begin(topic);
    for (const text of texts) await chat.say(text);
  });
  const chat = await scene('three of them arrive', async () => {
    const from = `${cat.id}@${alpha.name}`;
    await until("Cat in Dan's contacts", () => dan.contact(from)?.public?.fn === 'Cat');
    const opened = await dan.open(from);
    for (const text of texts.slice(0, 3)) await opened.hears(text);
    return opened;
  });
  await scene('the fourth waits for acceptance', async () => {
    await pause(1500);
    expect(!chat.heard.some(({ content }) => content === texts[3]), 'it arrived before');
  });
  await scene('and then arrives', async () => {
    await chat.accept();
    await chat.hears(texts[3]);
  });
}
