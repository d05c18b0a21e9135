// Accounts seen through the stock Tinode SDK and the stock web app: a domain that wants an invitation
// and a confirmed address.
//
//     node accounts.mjs URL DOMAIN MAILS INVITATION
//
// MAILS is the folder into which the domain writes its mails. Prints `ok` or `not ok` for each scene; the
// exit code is 1 when anything was not ok.

import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { newcomer } from './lib/network.mjs';
import { Person } from './lib/person.mjs';
import { act, curtain, expect, expectEqual, expectRefusal, limitRun, until } from './lib/scenes.mjs';
import { Visitor, openBrowser } from './lib/visitor.mjs';

limitRun(120);
const [url, name, mails, invitation] = process.argv.slice(2);
const domain = { url, name, host: new URL(url).host };

const ann = new Person(newcomer('Ann', domain), domain);
await act(comingIn);
await act(passwords);
await act(addresses);
await act(tags);
await act(leaving);
await act(inTheBrowser);
curtain();

/** The code in the mail of this number to an address. */
async function code(to, number) {
  const sent = async () => {
    const names = (await readdir(mails)).filter((it) => it.endsWith('.eml')).sort();
    const texts = await Promise.all(names.map((it) => readFile(join(mails, it), 'utf8')));
    return texts.filter((it) => it.includes(`To: ${to}\r\n`))[number - 1];
  };
  const mail = await until(`mail ${number} to ${to}`, sent);
  return mail.match(/type this code: (\d{6})/)[1];
}

function makeAccount(person, login) {
  const cred = [{ meth: 'email', val: person.email }];
  return person.tinode.createAccountBasic(login, person.password, { public: { fn: person.name }, cred });
}

async function comingIn(scene) {
  await scene('the domain says what must be confirmed', async () => {
    const info = await ann.connect();
    expectEqual(info.reqCred, { auth: ['email'] }, 'reqCred');
  });
  await scene('without an invitation there is no account', () => expectRefusal(makeAccount(ann, ann.login), 403));
  await scene('with one behind the name there is, and a code is asked for', async () => {
    const answer = await makeAccount(ann, `${ann.login}+${invitation}`);
    expectEqual([answer.code, answer.text], [300, 'validate credentials'], 'the answer');
    expectEqual(answer.params.cred, ['email'], 'what must be confirmed');
    expect(!ann.tinode.isAuthenticated(), 'nobody is in yet');
  });
  await scene('a wrong code is refused, the right one lets her in', async () => {
    const confirm = (resp) => ann.tinode.loginToken(ann.token, [{ meth: 'email', resp }]);
    await expectRefusal(confirm('1'), 406);
    const answer = await confirm(await code(ann.email, 1));
    expectEqual(answer.code, 200, 'the code of the answer');
    await ann.enter();
    expectEqual(ann.me.getCredentials(), [{ meth: 'email', val: ann.email, done: true }], 'the credentials');
  });
}

async function passwords(scene) {
  const phone = new Person(ann, domain);
  await scene('a new password puts her other device out', async () => {
    await phone.connect();
    await phone.logIn();
    ann.password = 'another-secret';
    const answer = await ann.tinode.updateAccountBasic(ann.id, null, ann.password);
    expectEqual(answer.code, 200, 'the code of the answer');
    await until('the word to the other device', () => phone.inbox.some(({ ctrl }) => ctrl?.code === 205));
    phone.goAway();
  });
  await scene('her own device comes back with the token that it has', async () => {
    const again = new Person(ann, domain);
    await again.connect();
    await again.logInWithToken(ann.token);
    again.goAway();
  });
  await scene('who lost the password gets a code and sets another one', async () => {
    const lost = new Person(ann, domain);
    await lost.connect();
    const asked = await lost.tinode.requestResetAuthSecret('basic', 'email', ann.email);
    expectEqual([asked.code, asked.text], [301, 'auth reset'], 'the answer');
    const proof = btoa(`${await code(ann.email, 2)}:email:${ann.email}`);
    ann.password = lost.password = 'third-secret';
    const params = { scheme: 'code', secret: proof };
    const answer = await lost.tinode.updateAccountBasic(null, null, lost.password, params);
    expectEqual(answer.code, 200, 'the code of the answer');
    await lost.logIn();
    lost.goAway();
  });
  await scene('which puts everybody out', async () => {
    await until('the word', () => ann.inbox.some(({ ctrl }) => ctrl?.code === 205));
    ann.goAway();
    await ann.connect();
    await ann.logIn();
    await ann.enter();
  });
}

async function addresses(scene) {
  const second = `second-${ann.email}`;
  await scene('a second address is added, confirmed and taken away', async () => {
    expectEqual((await ann.me.setMeta({ cred: { meth: 'email', val: second } })).code, 200, 'the code of the answer');
    const resp = await code(second, 1);
    expectEqual((await ann.me.setMeta({ cred: { meth: 'email', resp } })).code, 200, 'the code of the answer');
    expectEqual((await ann.me.delCredential('email', second)).code, 200, 'the code of the answer');
  });
  await scene('the one that is required stays', () => expectRefusal(ann.me.delCredential('email', ann.email), 422));
}

async function tags(scene) {
  const alias = `alias:star${Date.now().toString(36)}`;
  await scene('an alias is free, taken, and finds her', async () => {
    const own = ann.me.tags();
    const answer = await ann.me.setMeta({ tags: [...own, alias] });
    expectEqual(answer.params, { added: 1, removed: 0 }, 'what changed');
    const amy = new Person(newcomer('Amy', domain), domain);
    await amy.connect();
    await makeAccount(amy, `${amy.login}+${invitation}`);
    await amy.tinode.loginToken(amy.token, [{ meth: 'email', resp: await code(amy.email, 1) }]);
    await amy.enter();
    const rows = await amy.find(`${alias},${alias.slice(6)}`);
    expectEqual(rows.map((it) => it.topic), [ann.id], 'who is found');
    await expectRefusal(amy.me.setMeta({ tags: [...amy.me.tags(), alias] }), 400);
    amy.goAway();
  });
}

async function leaving(scene) {
  await scene('she deletes her account, and is nobody', async () => {
    await ann.tinode.delCurrentUser(true);
    ann.goAway();
    const stranger = new Person(ann, domain);
    await stranger.connect();
    await expectRefusal(stranger.logIn(), 401);
    stranger.goAway();
  });
}

async function inTheBrowser(scene) {
  const browser = await openBrowser();
  try {
    const wanda = newcomer('Wanda', domain);
    const visitor = await Visitor.arrive(browser, { ...wanda, login: `${wanda.login}+${invitation}` }, domain);
    await scene('the web app takes the invitation and asks for the code', async () => {
      visitor.signUp().catch(() => {});
      await visitor.page.locator('#enter-confirmation-code').waitFor();
    });
    await scene('with the code she is in', async () => {
      const field = visitor.page.locator('#enter-confirmation-code');
      await field.fill(await code(wanda.email, 1));
      await field.press('Enter');
      await visitor.seesContacts();
      expectEqual(await visitor.ownName(), 'Wanda', 'the own name');
    });
  } finally {
    await browser.close();
  }
}
