// The stock Tinode SDK for JavaScript over TLS, by WebSocket and by long polling.
//
//     NODE_EXTRA_CA_CERTS=FILE node secure.mjs URL DOMAIN
//
// Prints `ok` or `not ok` for each scene; the exit code is 1 when anything was not ok.

import { newcomer } from './lib/network.mjs';
import { Person, frames } from './lib/person.mjs';
import { act, curtain, limitRun, until } from './lib/scenes.mjs';

limitRun(60);
const [url, name] = process.argv.slice(2);
const domain = { url, name, host: new URL(url).host };
const ann = new Person(newcomer('Ann', domain), domain);
const ben = new Person(newcomer('Ben', domain), domain, { transport: 'lp' });

await act(talking);
await act((scene) => frames.judge(scene));
curtain();

async function talking(scene) {
  await scene('both come in over TLS', async () => {
    for (const person of [ann, ben]) {
      await person.connect();
      await person.register();
      await person.enter();
    }
  });
  const here = await scene('one writes', async () => {
    const [row] = await ann.find(`email:${ben.address}`);
    await ann.lookAt(row.topic);
    const chat = await ann.begin(row.topic);
    await chat.say('Nobody reads this on the way');
    return chat;
  });
  await scene('the other one answers', async () => {
    await until("Ann in Ben's contacts", () => ben.contact(ann.id));
    const chat = await ben.open(ann.id);
    await chat.hears('Nobody reads this on the way');
    await chat.say('Nor this');
    await here.hears('Nor this');
  });
}
