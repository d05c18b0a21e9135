// The network under test: the one JSON line that `freehold demo --json` prints when it is ready.

import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';

/** The API key that every stock client ships with. */
export const STOCK_API_KEY = 'AQEAAAABAAD_rAp4DJh05a1HAwFT3A6K';

/** Reads the line from a file, or from standard input for `-`, without waiting for the end of it. */
export async function readNetwork(source) {
  const input = source === '-' ? process.stdin : createReadStream(source);
  for await (const line of createInterface({ input })) {
    if (line.trim() === '') continue;
    input.destroy();
    return new Network(JSON.parse(line));
  }
  throw new Error(`no line of JSON in ${source}`);
}

class Network {
  constructor({ domains, directory }) {
    if (!(domains?.length >= 2)) throw new Error('the network must have at least two domains');
    this.directory = directory;
    [this.alpha, this.beta, this.gamma] = domains.map((domain) => new Domain(domain));
  }
}

class Domain {
  constructor({ domain, client, users }) {
    this.name = domain;
    this.url = client;
    this.host = new URL(client).host;
    this.users = users;
  }

  /** The person whom the demo made for this domain. */
  get resident() {
    return this.users[0];
  }
}

const run = Date.now().toString(36).slice(-6) + Math.random().toString(36).slice(2, 5);

/** Somebody nobody has met: the same script can run twice on one network. */
export function newcomer(name, domain) {
  const login = `${name.toLowerCase()}${run}`;
  return { name, login, password: `secret-${run}`, email: `${login}@example.com`, address: `${login}@${domain.name}` };
}
