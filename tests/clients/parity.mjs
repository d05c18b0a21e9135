// All that the stock Tinode SDK for JavaScript can ask for, on one domain that has calls.
//
//     node parity.mjs URL DOMAIN
//
// Prints `ok` or `not ok` for each scene; the exit code is 1 when anything was not ok.

import { newcomer } from './lib/network.mjs';
import { Drafty, Person, Tinode, frames } from './lib/person.mjs';
import { act, curtain, expect, expectEqual, expectRefusal, limitRun, pause, until } from './lib/scenes.mjs';

limitRun(90);
const [url, name] = process.argv.slice(2);
const domain = { url, name, host: new URL(url).host };
const people = new Map();

await act(arriving);
await act(groups);
await act(owners);
await act(channels);
await act(histories);
await act(deletions);
await act(compositions);
await act(pins);
await act(selves);
await act(aboutOneself);
await act(pairs);
await act(sessions);
await act(calls);
await act(logs);
await act((scene) => frames.judge(scene));
curtain();

/** Somebody new, logged in and with the list of chats. */
async function person(who) {
  const somebody = new Person(newcomer(who, domain), domain);
  people.set(who, somebody);
  await somebody.connect();
  await somebody.register();
  await somebody.enter();
  return somebody;
}

/** The same person on one more device. */
async function device(of) {
  const second = new Person(of, domain);
  await second.connect();
  await second.logIn();
  await second.enter();
  return second;
}

function known(...names) {
  return names.map((it) => people.get(it));
}

async function arriving(scene) {
  await scene('everybody comes in', () => Promise.all(['Ann', 'Bea', 'Cid', 'Dot'].map(person)));
}

function modeOf(chat, user) {
  return chat.topic.subscriber(user)?.acs;
}

/** Waits until what a client knows about the access of somebody fits. */
function sees(chat, user, what, fits) {
  return until(`${chat.person.name} to see ${what}`, () => {
    const acs = user === chat.person.id ? chat.topic.getAccessMode() : modeOf(chat, user);
    return acs && fits(acs);
  });
}

async function groups(scene) {
  const [ann, bea, cid] = known('Ann', 'Bea', 'Cid');
  const here = await scene('Ann makes a group and owns it', async () => {
    const chat = await ann.make('Choir', { priv: { comment: 'on Mondays' } });
    expect(chat.topic.getAccessMode().isOwner(), `her access is ${chat.topic.getAccessMode()}`);
    const desc = (await chat.topic.getMeta(chat.topic.startMetaQuery().withDesc().build())).desc;
    expectEqual([desc.public.fn, desc.private.comment], ['Choir', 'on Mondays'], 'its description');
    expectEqual(desc.defacs, { auth: 'JRWPS', anon: 'N' }, 'its default access');
    return chat;
  });
  const [there, third] = await scene('those whom she invites see it in their list, and open it', async () => {
    for (const who of [bea, cid]) {
      const answer = await here.topic.invite(who.id);
      expectEqual([answer.code, answer.params.user], [200, who.id], 'code and user of the answer');
      await until(`the group at ${who.name}'s`, () => who.contact(here.id)?.public?.fn === 'Choir');
    }
    return [await bea.open(here.id), await cid.open(here.id)];
  });
  await scene('the members are listed to each of them', async () => {
    for (const chat of [here, there, third]) {
      const users = (await chat.members()).map(({ user }) => user);
      expectEqual(users.sort(), [ann.id, bea.id, cid.id].sort(), `the members at ${chat.person.name}'s`);
    }
    expectEqual((await here.members()).filter((it) => it.public?.fn).length, 3, 'how many have names');
  });
  await scene('what one says, all hear, with its author', async () => {
    const seq = await there.say('Shall we sing?');
    for (const chat of [here, third]) expectEqual((await chat.hears('Shall we sing?')).from, bea.id, 'the author');
    here.topic.noteRead(seq);
    await until('the marks', () => there.topic.msgReadCount(seq) === 1);
  });
  await scene('typing is seen by the others', async () => {
    third.topic.noteKeyPress();
    await until('typing', () => ann.inbox.some(({ info }) => info?.topic === here.id && info.from === cid.id && info.what === 'kp'));
  });
  await scene('an invitation shows in how Ann sees the others: online', async () => {
    await until('both online', () => [bea, cid].every(({ id }) => here.topic.subscriber(id)?.online));
  });
  await scene('Cid mutes the group, and unmutes it', async () => {
    await third.topic.updateMode(null, '-P');
    expect(third.topic.getAccessMode().isMuted(), 'it is not muted');
    await sees(here, cid.id, 'him muted', (acs) => acs.isMuted());
    await third.topic.updateMode(null, '+P');
    await sees(here, cid.id, 'him back', (acs) => !acs.isMuted());
  });
  await scene('Ann takes his right to write, and he cannot', async () => {
    await here.topic.updateMode(cid.id, '-W');
    await sees(third, cid.id, 'it', (acs) => !acs.isWriter());
    const pub = third.topic.createMessage('Me too', false);
    await expectRefusal(third.person.tinode.publishMessage(pub), 403);
    await here.topic.updateMode(cid.id, '+W');
    await sees(third, cid.id, 'it', (acs) => acs.isWriter());
    await third.say('Me too');
  });
  await scene('she bans him: he is put out and cannot return', async () => {
    await here.topic.updateMode(cid.id, '-J');
    await until('the eviction', () => !third.topic.isSubscribed());
    expect(cid.contact(here.id) && !cid.contact(here.id).acs.isJoiner(), 'it is listed as blocked');
    await expectRefusal(third.topic.subscribe(), 403);
  });
  await scene('he may return when she lets him', async () => {
    await here.topic.updateMode(cid.id, '+J');
    await until('his access', () => cid.contact(here.id)?.acs?.isJoiner());
    await cid.open(here.id);
    await third.say('Here I am again');
    await here.hears('Here I am again');
  });
  await scene('a new name is told to all', async () => {
    await here.topic.setMeta({ desc: { public: { fn: 'Great Choir' } } });
    await until("the name at Bea's", () => bea.contact(here.id)?.public?.fn === 'Great Choir');
  });
  await scene('Bea leaves for good, and it goes from her list', async () => {
    await there.topic.leave(true);
    expect(!bea.contact(here.id) || bea.contact(here.id)._deleted, 'it is still there');
    await until("Bea gone at Ann's", async () => !(await here.members()).some(({ user, deleted }) => user === bea.id && !deleted));
  });
  await scene('Ann removes Cid, who loses it', async () => {
    await here.topic.delSubscription(cid.id);
    await until('the eviction', () => !third.topic.isSubscribed());
    await until('that it goes from his list', () => !cid.contact(here.id) || cid.contact(here.id)._deleted);
    expectEqual((await here.members()).filter((it) => !it.deleted).map(({ user }) => user), [ann.id], 'the members');
  });
}

async function owners(scene) {
  const [ann, bea, cid] = known('Ann', 'Bea', 'Cid');
  const here = await ann.make('Crew');
  for (const { id } of [bea, cid]) await here.topic.invite(id);
  const there = await bea.open(here.id);
  await cid.open(here.id);
  await scene('Ann hands the group over to Bea', async () => {
    await here.topic.updateMode(bea.id, '+ASDO');
    await until('the offer', () => there.topic.getAccessMode().isOwner('given'));
    await there.topic.updateMode(null, '+ASDO');
    expect(there.topic.getAccessMode().isOwner(), `Bea's access is ${there.topic.getAccessMode()}`);
    await sees(here, ann.id, 'herself without it', (acs) => !acs.isOwner());
  });
  await scene('Ann may leave now, Bea may not', async () => {
    await expectRefusal(there.topic.leave(true), 403);
    await here.topic.leave(true);
  });
  await scene('Bea deletes the group, and Cid loses it', async () => {
    await there.topic.delTopic(true);
    await until('that it goes from his list', () => !cid.contact(here.id) || cid.contact(here.id)._deleted);
    await expectRefusal(ann.tinode.getTopic(here.id).subscribe(), 404);
  });
}

async function channels(scene) {
  const [ann, bea, dot] = known('Ann', 'Bea', 'Dot');
  const tag = `news${Date.now().toString(36)}`;
  const here = await scene('Ann makes a channel', async () => {
    const chat = await ann.make('News', { channel: true, tags: [tag] });
    const { desc } = await chat.topic.getMeta(chat.topic.startMetaQuery().withDesc().build());
    expect(desc.chan, 'it says that it is one');
    return chat;
  });
  const reader = here.id.replace('grp', 'chn');
  const there = await scene('Dot finds it by its tag and subscribes as a reader', async () => {
    const rows = await dot.find(tag);
    expectEqual(rows.map(({ topic }) => topic), [reader], 'what she finds');
    await dot.lookAt(reader);
    const chat = await dot.open(reader);
    const access = chat.topic.getAccessMode();
    expect(access.isReader() && !access.isWriter() && access.isPresencer(), `her access is ${access}`);
    return chat;
  });
  await scene('she reads what Ann writes, without an author', async () => {
    await here.say('Breaking news');
    const { from } = await there.hears('Breaking news');
    expectEqual(from, undefined, 'from');
  });
  await scene('she cannot write, nor see the members, and is no member', async () => {
    await expectRefusal(dot.tinode.publishMessage(there.topic.createMessage('No!', false)), 403);
    const rows = await there.members();
    expect(rows.every(({ user }) => user === dot.id), `she sees ${rows.map(({ user }) => user)}`);
    expect(!(await here.members()).some(({ user }) => user === dot.id), 'she is listed');
  });
  await scene('it is in her list after she comes back', async () => {
    const phone = await device(dot);
    expectEqual(phone.contact(reader)?.public?.fn, 'News', 'its name');
    const again = await phone.open(reader);
    await again.hears('Breaking news');
    phone.goAway();
  });
  await scene('what she has read is counted, and told to nobody', async () => {
    const start = ann.inbox.length;
    there.topic.noteRead(1);
    await pause(300);
    expect(!ann.inbox.slice(start).some(({ info, pres }) => info?.from === dot.id || pres?.src === dot.id), 'Ann was told');
  });
  await scene('Bea writes there when she is invited', async () => {
    await here.topic.invite(bea.id, 'JRWPS');
    await until('the channel', () => bea.contact(here.id)?.public?.fn === 'News');
    const writer = await bea.open(here.id);
    await writer.say('More news');
    await there.hears('More news');
  });
  await scene('Dot leaves it', async () => {
    await there.topic.leave(true);
    expect(!dot.contact(reader) || dot.contact(reader)._deleted, 'it is still there');
  });
  await scene('Ann deletes it', () => here.topic.delTopic(true));
}

async function histories(scene) {
  const [ann, bea] = known('Ann', 'Bea');
  const here = await ann.make('Archive');
  for (let i = 1; i <= 60; i += 1) await here.say(`Line ${i}`);
  await here.topic.invite(bea.id);
  await until('the group', () => bea.contact(here.id)?.public);
  const there = await bea.open(here.id, { page: 20 });
  const numbers = () => { const all = []; there.topic.messages(({ seq }) => all.push(seq)); return all; };
  await scene('the newest page comes first', () => expectEqual([numbers()[0], numbers().length], [41, 20], 'first and number'));
  await scene('older pages come as the web app asks for them', async () => {
    for (const [low, left] of [[21, 40], [1, 60]]) {
      const gaps = there.topic.msgHasMoreMessages(numbers()[0] - 20, numbers()[0], false);
      expect(gaps.length > 0, 'the SDK sees a gap');
      await there.topic.getMessagesPage(20, gaps, numbers()[0] - 20, numbers()[0], false);
      await until('the page', () => numbers().length >= left);
      expectEqual(numbers()[0], low, 'the oldest');
    }
    expectEqual(there.topic.msgHasMoreMessages(1, 61, false), [], 'what is missing');
  });
  await scene('a list of single messages comes as asked', async () => {
    const { messages } = await there.page({ ranges: [{ low: 3 }, { low: 7, hi: 9 }, { low: 60 }] });
    expectEqual(messages.map(({ seq }) => seq).sort((a, b) => a - b), [3, 7, 8, 60], 'the numbers');
  });
  await scene('ranges are cut by a limit, newest first', async () => {
    const { messages, end } = await there.page({ ranges: [{ low: 1, hi: 30 }], limit: 5 });
    expectEqual([messages.map(({ seq }) => seq), end.params.count], [[29, 28, 27, 26, 25], 5], 'the numbers');
  });
}

async function deletions(scene) {
  const [ann, bea] = known('Ann', 'Bea');
  const here = await ann.make('Desk');
  await here.topic.invite(bea.id);
  await until('the group', () => bea.contact(here.id)?.public);
  const there = await bea.open(here.id);
  for (let i = 1; i <= 12; i += 1) await here.say(`Note ${i}`);
  await there.hears('Note 12');
  const left = async (chat) => (await chat.page({ limit: 50 })).messages.map(({ seq }) => seq).sort((a, b) => a - b);
  const shown = (chat) => { const all = []; chat.topic.messages(({ seq, _deleted }) => _deleted || all.push(seq)); return all; };
  await scene('Bea deletes some for herself, and Ann keeps them', async () => {
    const answer = await there.topic.delMessagesList([2, 3, 5], false);
    expect(answer.params.del > 0, 'the answer carries params.del');
    expectEqual(await left(there), [1, 4, 6, 7, 8, 9, 10, 11, 12], "Bea's");
    expectEqual((await left(here)).length, 12, "Ann's");
  });
  await scene('her other device is told', async () => {
    const phone = await device(bea);
    const again = await phone.open(here.id);
    await there.topic.delMessagesList([6], false);
    await until('it', () => !shown(again).includes(6));
    const { del } = await again.topic.getMeta(again.topic.startMetaQuery().withDel(1).build());
    expect(del.clear >= 2 && del.delseq.length > 0, `what was deleted: ${JSON.stringify(del)}`);
    phone.goAway();
  });
  await scene('Ann deletes some for all, and they go while Bea looks', async () => {
    await here.topic.delMessages([{ low: 7, hi: 10 }], true);
    await until('it', () => !shown(there).some((seq) => seq >= 7 && seq < 10));
    expectEqual(await left(here), [1, 2, 3, 4, 5, 6, 10, 11, 12], "Ann's");
    expectEqual(await left(there), [1, 4, 10, 11, 12], "Bea's");
  });
  await scene('a member without the right deletes for all: only for herself', async () => {
    await there.topic.delMessagesList([10], true);
    expectEqual((await left(there)).includes(10), false, "Bea's");
    expectEqual((await left(here)).includes(10), true, "Ann's");
  });
  await scene('what was deleted is told to who comes later', async () => {
    const phone = await device(ann);
    const topic = phone.tinode.getTopic(here.id);
    await topic.subscribe(topic.startMetaQuery().withLaterDesc().withDel(1).withLaterData(24).build());
    await until('the deleted range', () => phone.inbox.some(({ meta }) => meta?.del?.delseq?.some(({ low, hi }) => low === 7 && hi === 10)));
    phone.goAway();
  });
  await scene('an edited message is deleted with its versions', async () => {
    const seq = await here.say('First');
    const draft = here.topic.createMessage('Second', false);
    draft.head = { replace: `:${seq}` };
    const second = await here.send(draft);
    await here.topic.delMessagesEdits(seq, true);
    expect(!(await left(there)).some((it) => it === seq || it === second), 'they are still there');
  });
  await scene('Ann deletes all for all', async () => {
    await here.topic.delMessagesAll(true);
    expectEqual([await left(here), await left(there)], [[], []], 'what is left');
  });
}

async function compositions(scene) {
  const [ann, bea, cid] = known('Ann', 'Bea', 'Cid');
  const here = await ann.make('Talk');
  for (const { id } of [bea, cid]) await here.topic.invite(id);
  await until('the group', () => bea.contact(here.id)?.public && cid.contact(here.id)?.public);
  const there = await bea.open(here.id);
  const seq = await here.say('Helo');
  await there.hears('Helo');
  await scene('an edit is shown as the latest version', async () => {
    const draft = here.topic.createMessage('Hello', false);
    draft.head = { replace: `:${seq}` };
    await here.send(draft);
    await until('it', () => there.topic.latestMsgVersion(seq)?.content === 'Hello');
    expectEqual(there.topic.findMessage(seq).content, 'Helo', 'the original');
  });
  await scene('nobody edits what another wrote', async () => {
    const draft = there.topic.createMessage('Goodbye', false);
    draft.head = { replace: `:${seq}` };
    await expectRefusal(bea.tinode.publishMessage(draft), 403);
  });
  await scene('a reply carries its quote and the number', async () => {
    const quote = Drafty.replyContent(here.topic.findMessage(seq).content, 30);
    const content = Drafty.append(Drafty.quote('Ann', ann.id, quote), Drafty.init('I agree'));
    const draft = there.topic.createMessage(content, false);
    draft.head = { ...draft.head, reply: String(seq), mime: Drafty.getContentType() };
    const number = await there.send(draft);
    const got = await until('it', () => here.topic.findMessage(number));
    expectEqual([got.head.reply, Drafty.toPlainText(got.content).includes('I agree')], [String(seq), true], 'the reply');
    expectEqual(got.content, JSON.parse(JSON.stringify(content)), 'the content');
  });
  await scene('a forwarded message says where it comes from', async () => {
    const { content } = here.topic.findMessage(seq);
    const draft = there.topic.createMessage(Drafty.append(Drafty.mention('➦ Ann', ann.id), Drafty.init(content)), false);
    draft.head = { mime: Drafty.getContentType(), forwarded: `${here.id}:${seq}` };
    const number = await there.send(draft);
    const got = await until('it', () => here.topic.findMessage(number));
    expectEqual(got.head.forwarded, `${here.id}:${seq}`, 'where it comes from');
  });
  await scene('a mention names the member', async () => {
    const draft = here.topic.createMessage(Drafty.append(Drafty.init('Look: '), Drafty.mention('Bea', bea.id)), false);
    draft.head = { mime: Drafty.getContentType(), mentions: [bea.id] };
    const number = await here.send(draft);
    const got = await until('it', () => there.topic.findMessage(number));
    expectEqual(got.head.mentions, [bea.id], 'mentions');
    expectEqual(got.content.ent[0].data.val, bea.id, 'who is meant');
  });
  await scene('a form and its answer pass through', async () => {
    const form = Drafty.wrapAsForm(Drafty.appendButton(Drafty.init('Yes or no? '), 'Yes', 'yes', 'pub', '1'), 0, 10);
    const asked = here.topic.createMessage(form, false);
    asked.head = { mime: Drafty.getContentType() };
    const number = await here.send(asked);
    await until('it', () => there.topic.findMessage(number)?.content.ent);
    const answer = there.topic.createMessage(Drafty.attachJSON(Drafty.init('Yes'), { seq: number, resp: { yes: 1 } }), false);
    answer.head = { mime: Drafty.getContentType() };
    await there.send(answer);
  });
}

async function pins(scene) {
  const [ann, bea] = known('Ann', 'Bea');
  const here = await ann.make('Board');
  await here.topic.invite(bea.id);
  await until('the group', () => bea.contact(here.id)?.public);
  const there = await bea.open(here.id);
  const seq = await here.say('Read me');
  await scene('Ann pins a message, and Bea sees it', async () => {
    await here.topic.pinMessage(seq, true);
    await until("the pin at Bea's", () => there.topic.aux('pins')?.includes(seq));
    await there.topic.getPinnedMessages();
  });
  await scene('Bea may not', () => expectRefusal(there.topic.pinMessage(seq, false), 403));
  await scene('the pin is there for who opens it later', async () => {
    const phone = await device(bea);
    const again = await phone.open(here.id);
    expectEqual(again.topic.aux('pins'), [seq], 'the pins');
    phone.goAway();
  });
  await scene('Ann unpins it', async () => {
    await here.topic.pinMessage(seq, false);
    await until("no pin at Bea's", () => !there.topic.aux('pins')?.includes(seq));
  });
}

async function selves(scene) {
  const [ann] = known('Ann');
  await scene('Ann keeps notes to herself, pins one and finds them again', async () => {
    const notes = await ann.open('slf');
    expect(notes.topic.isSelfType(), 'the SDK takes it for what it is');
    const seq = await notes.say('Buy milk');
    await notes.topic.pinMessage(seq, true);
    const phone = await device(ann);
    expect(phone.contact('slf'), 'it is in the list');
    const again = await phone.open('slf');
    expectEqual(again.topic.findMessage(seq)?.content, 'Buy milk', 'the note');
    expectEqual(again.topic.aux('pins'), [seq], 'the pins');
    await notes.say('Buy bread');
    await until('the second note', () => again.topic.findMessage(seq + 1)?.content === 'Buy bread');
    await again.topic.delMessages([{ low: seq, hi: seq + 2 }], true);
    await until('it', () => !notes.topic.findMessage(seq) || notes.topic.findMessage(seq)._deleted);
    phone.goAway();
  });
  await scene('a report is taken', async () => {
    expectEqual((await ann.tinode.report('report', people.get('Dot').id)).code, 202, 'the code of the answer');
  });
}

async function aboutOneself(scene) {
  const [ann, bea, dot] = known('Ann', 'Bea', 'Dot');
  const here = await ann.make('Shelf', { tags: [] });
  const phone = await device(ann);
  await scene('a chat pinned to the top is so on her other device', async () => {
    await ann.me.pinTopic(here.id, true);
    await until('it', () => phone.me.pinnedTopicRank(here.id) > 0);
    await ann.me.pinTopic(here.id, false);
    await until('it gone', () => phone.me.pinnedTopicRank(here.id) === 0);
  });
  await scene('an archived chat too', async () => {
    await here.topic.archive(true);
    await until('it', () => phone.me.isArchived(here.id));
    await here.topic.archive(false);
    await until('it back', () => !phone.me.isArchived(here.id));
  });
  const word = Date.now().toString(36);
  await scene('a tag is set, told to her other device, and finds her', async () => {
    const answer = await dot.me.setMeta({ tags: [...dot.me.tags(), `hobby:${word}`] });
    expectEqual(answer.params, { added: 1, removed: 0 }, 'what changed');
    const rows = await bea.find(`hobby:${word}`);
    expectEqual(rows.map(({ topic }) => topic), [dot.id], 'who is found');
    expectEqual(rows[0].private, [`hobby:${word}`], 'what matched');
    expect(!('user' in rows[0]), 'a row must not carry "user"');
  });
  await scene('an alias that is taken is seen as taken, except by its owner', async () => {
    const alias = `alias:dot${word}`;
    await dot.me.setMeta({ tags: [...dot.me.tags(), alias] });
    expectEqual(dot.me.alias(), `dot${word}`, 'her own alias');
    expectEqual(await ann.tinode.getFndTopic().checkTagUniqueness(alias, ann.id), false, 'whether it is free');
    expectEqual(await dot.tinode.getFndTopic().checkTagUniqueness(alias, dot.id), true, 'whether it is her own');
    const rows = await bea.find(`${alias},dot${word}`);
    expectEqual(rows.map(({ topic }) => topic), [dot.id], 'who is found');
  });
  await scene('a group is found by its tag', async () => {
    await here.topic.setMeta({ tags: [`shelf${word}`] });
    expectEqual((await here.topic.getMeta(here.topic.startMetaQuery().withTags().build())).tags, [`shelf${word}`], 'its tags');
    const rows = await bea.find(`shelf${word}`);
    expectEqual(rows.map(({ topic }) => topic), [here.id], 'what is found');
    await bea.lookAt(here.id);
    const there = await bea.open(here.id);
    await there.say('May I come in?');
    await here.hears('May I come in?');
  });
  await scene('her addresses are listed', async () => {
    const { cred } = await ann.me.getMeta(ann.me.startMetaQuery().withCred().build());
    expectEqual(cred.map(({ meth, val }) => [meth, val]), [['email', ann.email]], 'the credentials');
  });
  await scene('her default access is changed, and kept', async () => {
    await ann.me.setMeta({ desc: { defacs: { auth: 'JRWP', anon: 'N' } } });
    const { desc } = await ann.me.getMeta(ann.me.startMetaQuery().withDesc().build());
    expect(!desc.defacs.auth.includes('A') || desc.defacs.auth.startsWith('JRWP'), `it is ${JSON.stringify(desc.defacs)}`);
    await ann.me.setMeta({ desc: { defacs: { auth: 'JRWPAS' } } });
  });
  await scene('a new name and picture are told to friends and to her other device', async () => {
    const chat = await ann.begin(bea.id);
    await chat.say('Hello');
    await until("Ann at Bea's", () => bea.contact(ann.id)?.public?.fn === 'Ann');
    const photo = { type: 'png', data: 'iVBORw0KGgo=', width: 1, height: 1 };
    await ann.me.setMeta({ desc: { public: { fn: 'Anna', photo } } });
    await until("the name at Bea's", () => bea.contact(ann.id)?.public?.fn === 'Anna');
    await until('the name on her other device', () => phone.me.public?.fn === 'Anna');
    expectEqual(bea.contact(ann.id).public.photo.data, photo.data, 'the picture');
    await ann.me.setMeta({ desc: { public: { fn: 'Ann', photo: Tinode.DEL_CHAR } } });
    await until("the name at Bea's", () => bea.contact(ann.id)?.public?.fn === 'Ann');
    // The SDK keeps the picture that it knows; the server does not have it any more.
    const { desc } = await ann.me.getMeta(ann.me.startMetaQuery().withDesc().build());
    expectEqual(desc.public, { fn: 'Ann' }, 'what is left');
  });
  phone.goAway();
}

async function pairs(scene) {
  const [eve, fay] = await Promise.all([person('Eve'), person('Fay')]);
  const here = await eve.begin(fay.id);
  await here.say('Hello');
  await until("Eve at Fay's", () => fay.contact(eve.id)?.public?.fn === 'Eve');
  const there = await fay.open(eve.id);
  await there.hears('Hello');
  await scene('Fay blocks Eve: it is among the blocked, and Eve cannot reach her', async () => {
    await there.topic.updateMode(null, '-JP');
    expect(!there.topic.getAccessMode().isJoiner(), `her access is ${there.topic.getAccessMode()}`);
    await there.topic.leave(false).catch(() => {});
    const start = fay.inbox.length;
    await eve.tinode.publishMessage(here.topic.createMessage('Are you there?', false)).catch(() => {});
    await pause(400);
    expect(!fay.inbox.slice(start).some(({ data, pres }) => data || pres?.what === 'msg'), 'she hears of it');
    const phone = await device(fay);
    expect(phone.contact(eve.id)?.acs && !phone.contact(eve.id).acs.isJoiner(), 'it is listed as blocked');
    phone.goAway();
  });
  await scene('she unblocks her, and they talk', async () => {
    await there.topic.updateMode(null, '+JP');
    const again = await fay.open(eve.id);
    await here.say('Thank you');
    await again.hears('Thank you');
  });
  await scene('between two people everybody deletes for themselves only', async () => {
    const seq = await there.say('Forget this');
    await here.hears('Forget this');
    await there.topic.delMessagesList([seq], true);
    expect(!there.topic.getAccessMode().isDeleter(), 'she may delete for both');
    await pause(300);
    expectEqual(here.topic.findMessage(seq)?.content, 'Forget this', "what is at Eve's");
  });
  await scene('Fay deletes the chat: it goes from her list and stays in that of Eve', async () => {
    const phone = await device(fay);
    await there.topic.delTopic(true);
    expect(!fay.contact(eve.id) || fay.contact(eve.id)._deleted, 'it is still there');
    await until('that it goes from her other device', () => !phone.contact(eve.id) || phone.contact(eve.id)._deleted);
    expect(eve.contact(fay.id) && !eve.contact(fay.id)._deleted, 'it is gone');
    phone.goAway();
  });
  await scene('when Eve writes again, it comes back', async () => {
    await here.say('Hello again');
    await until("the chat at Fay's", () => fay.contact(eve.id)?.public?.fn === 'Eve' && !fay.contact(eve.id)._deleted);
    const again = await fay.open(eve.id);
    await again.hears('Hello again');
  });
}

async function sessions(scene) {
  const [gil, hal] = await Promise.all([person('Gil'), person('Hal')]);
  const desk = await device(hal);
  const here = await gil.begin(hal.id);
  const last = await scene('messages that nobody read are counted on both devices', async () => {
    await here.say('One');
    await until('the chat', () => hal.contact(gil.id)?.public && desk.contact(gil.id)?.public);
    const seq = await here.say('Two');
    for (const session of [hal, desk]) await until('two', () => session.contact(gil.id).unread === 2);
    return seq;
  });
  const there = await hal.open(gil.id);
  await scene('one device reads, the other one knows, the author sees the mark', async () => {
    there.topic.noteRead(last);
    await until('none', () => desk.contact(gil.id).unread === 0);
    await here.seesMark('read', last);
    expectEqual(here.topic.msgReadCount(last), 1, 'who has read it');
  });
  await scene("what one's other device wrote is no news, and seen", async () => {
    const seq = await there.say('Three');
    await until('its number', () => desk.contact(gil.id).seq === seq);
    expectEqual(desk.contact(gil.id).unread, 0, 'unread');
  });
  await scene('a friend who goes is offline with the time and the client, and online when he is back', async () => {
    await until('online', () => hal.contact(gil.id).online);
    gil.goAway();
    await until('offline', () => !hal.contact(gil.id).online);
    expect(hal.contact(gil.id).seen?.when instanceof Date, 'when he was seen');
    const phone = await device(hal);
    expect(/FreeholdTest/.test(phone.contact(gil.id)?.seen?.ua), `his client is ${phone.contact(gil.id)?.seen?.ua}`);
    phone.goAway();
    await gil.connect();
    await gil.logIn();
    await gil.enter();
    await until('online', () => hal.contact(gil.id).online);
  });
  await scene('a muted friend is not seen online', async () => {
    await there.topic.updateMode(null, '-P');
    await until('offline', () => !hal.contact(gil.id).online);
    await there.topic.updateMode(null, '+P');
    await until('online', () => hal.contact(gil.id).online);
  });
  await scene('in a group, members are seen coming and going', async () => {
    const group = await hal.make('Room');
    await group.topic.invite(gil.id);
    await until('the group', () => gil.contact(group.id)?.public);
    const inside = await gil.open(group.id);
    await until('online', () => group.topic.subscriber(gil.id)?.online);
    await inside.leave();
    await until('offline', () => group.topic.subscriber(gil.id)?.online === false);
    await until("the group online at Gil's", () => gil.contact(group.id).online);
    const seq = await group.say('You there?');
    await until('the count', () => gil.contact(group.id).unread === seq - (gil.contact(group.id).read ?? 0));
  });
  desk.goAway();
}

async function calls(scene) {
  const [ivy, jim] = await Promise.all([person('Ivy'), person('Jim')]);
  const tablet = await device(jim);
  const here = await ivy.begin(jim.id);
  await here.say('May I call?');
  await until('the chat', () => jim.contact(ivy.id)?.public);
  const there = await jim.open(ivy.id);
  await scene('the server names what calls need', () => {
    const info = ivy.tinode.getServerInfo();
    expectEqual(info.iceServers?.[0]?.urls, ['stun:127.0.0.1:3478'], 'iceServers');
    expect(info.callTimeout > 0, `callTimeout is ${info.callTimeout}`);
  });
  const ring = async () => {
    const draft = here.topic.createMessage(Drafty.videoCall(true), false);
    draft.head = { ...draft.head, webrtc: 'started', aonly: true, mime: Drafty.getContentType() };
    const seq = await here.send(draft);
    const got = await until('the call', () => there.topic.findMessage(seq));
    expectEqual([got.head.webrtc, got.from], ['started', ivy.id], 'the call');
    return seq;
  };
  const event = (who, name, seq) => until(`${who.name} to be told ${name}`, () =>
    who.inbox.map(({ info }) => info).find((info) => info?.what === 'call' && info.event === name && info.seq === seq));
  const state = (chat, seq, wanted) => until(`${wanted} at ${chat.person.name}'s`, () => chat.topic.latestMsgVersion(seq)?.head.webrtc === wanted);
  await scene('a call rings, is accepted, passes words both ways and ends', async () => {
    const seq = await ring();
    jim.tinode.videoCall(ivy.id, seq, 'ringing');
    await event(ivy, 'ringing', seq);
    there.topic.videoCall('accept', seq);
    await event(ivy, 'accept', seq);
    await event(tablet, 'accept', seq);
    await state(here, seq, 'accepted');
    here.topic.videoCall('offer', seq, { sdp: 'a' });
    expectEqual((await event(jim, 'offer', seq)).payload, { sdp: 'a' }, 'the offer');
    there.topic.videoCall('answer', seq, { sdp: 'b' });
    expectEqual((await event(ivy, 'answer', seq)).payload, { sdp: 'b' }, 'the answer');
    here.topic.videoCall('ice-candidate', seq, { candidate: 'c' });
    await event(jim, 'ice-candidate', seq);
    expect(!tablet.inbox.some(({ info }) => info?.event === 'offer'), 'it is told to the other device');
    await pause(30);
    there.topic.videoCall('hang-up', seq);
    await event(ivy, 'hang-up', seq);
    for (const chat of [here, there]) await state(chat, seq, 'finished');
    expect(here.topic.latestMsgVersion(seq).head['webrtc-duration'] > 0, 'how long it was');
    expectEqual(here.topic.latestMsgVersion(seq).content.ent[0].data.state, 'finished', 'what the bubble says');
  });
  await scene('a call is declined', async () => {
    const seq = await ring();
    jim.tinode.videoCall(ivy.id, seq, 'ringing');
    await event(ivy, 'ringing', seq);
    there.topic.videoCall('hang-up', seq);
    for (const chat of [here, there]) await state(chat, seq, 'declined');
  });
  await scene('a call is given up', async () => {
    const seq = await ring();
    here.topic.videoCall('hang-up', seq);
    for (const chat of [here, there]) await state(chat, seq, 'missed');
    await event(tablet, 'hang-up', seq);
  });
  await scene('there is one call at a time', async () => {
    const seq = await ring();
    const draft = there.topic.createMessage(Drafty.videoCall(true), false);
    draft.head = { ...draft.head, webrtc: 'started', mime: Drafty.getContentType() };
    await expectRefusal(jim.tinode.publishMessage(draft), 486);
    here.topic.videoCall('hang-up', seq);
    await state(there, seq, 'missed');
  });
}

/** What the SDK itself had to complain about in all scenes before. */
async function logs(scene) {
  // Whoever is put out of a group goes, and whoever put them out has forgotten them by then.
  const known = /WARNING: Presence update for an unknown user/;
  const all = [...people.values()].flatMap(({ complaints }) => complaints).filter((it) => !known.test(it));
  await scene('the SDK logged no error', () => expectEqual(all, [], 'the lines'));
}
