// A person with the stock Tinode SDK in hand.
//
// The SDK is the npm package as published. It looks for the browser's WebSocket, XMLHttpRequest and
// indexedDB once, when it is loaded, so these are put in place first; WebSocket and long polling show
// every frame to the frame check before the SDK sees it.

import 'fake-indexeddb/auto';
import WebSocket from 'ws';
import xhr2 from 'xhr2';

import { FrameCheck } from './frames.mjs';
import { STOCK_API_KEY } from './network.mjs';
import { expect, expectEqual, pause, until, within } from './scenes.mjs';

/** What was wrong with the frames that servers sent in this run. */
export const frames = new FrameCheck();

const domains = new Map();
let latestWire;

class WatchedWebSocket extends WebSocket {
  constructor(address) {
    super(address);
    latestWire = this;
    const domain = domains.get(new URL(address).host);
    this.on('message', (bytes, isBinary) => frames.take(bytes.toString(), isBinary, domain));
  }
}

class WatchedRequest extends (xhr2.XMLHttpRequest ?? xhr2) {
  open(method, address, ...rest) {
    super.open(method, address, ...rest);
    const url = new URL(address);
    if (url.pathname !== '/v0/channels/lp') return;
    this.addEventListener('load', () => {
      if (this.responseText) frames.take(this.responseText, false, domains.get(url.host));
    });
  }
}

Object.assign(globalThis, { WebSocket: WatchedWebSocket, XMLHttpRequest: WatchedRequest });
export const { Drafty, Tinode } = (await import('tinode-sdk')).default;

const PAGE = 24;
const TIMEOUT = 6000;

/** One session of one person at one domain. */
export class Person {
  /** Everything received, oldest first, in the parsed form that the SDK works with. */
  inbox = [];
  /** Errors and warnings in the SDK's own log. */
  complaints = [];
  #connections = 0;
  #wire;

  constructor({ name, login, password, email, address }, domain, { transport = 'ws' } = {}) {
    Object.assign(this, { name, login, password, email, address, domain });
    domains.set(domain.host, domain.name);
    this.tinode = new Tinode(
      { appName: 'FreeholdTest/1', host: domain.host, apiKey: STOCK_API_KEY, transport, secure: domain.url?.startsWith('https:') ?? false, persist: false },
      () => {},
    );
    this.tinode.onMessage = (packet) => this.inbox.push(packet);
    this.tinode.logger = (text, ...details) => this.#listen(text, details);
    this.tinode.onConnect = () => { this.#connections += 1; };
    this.tinode.onAutoreconnectIteration = (_, attempt) => attempt?.catch(() => {});
  }

  #listen(text, details) {
    if (/^(ERROR|WARNING)/.test(text)) this.complaints.push([this.name, text, ...details].join(' '));
  }

  get id() {
    return this.tinode.getCurrentUserID();
  }

  get me() {
    return this.tinode.getMeTopic();
  }

  /** Opens the socket and waits for the answer to `{hi}`. */
  async connect() {
    const before = this.#connections;
    const opened = this.tinode.connect();
    this.#wire = latestWire;
    await within(TIMEOUT, `${this.name}'s connection to ${this.domain.url}`, opened);
    await until(`the answer to ${this.name}'s {hi}`, () => this.#connections > before);
    return this.tinode.getServerInfo();
  }

  /** Makes the account as the web app does: logged in at once, with an e-mail address, asked for or not. */
  async register() {
    const cred = Tinode.credential('email', this.email);
    const answer = await this.tinode.createAccountBasic(this.login, this.password, { public: { fn: this.name }, cred });
    this.#expectLoggedIn(answer);
  }

  async logIn() {
    this.#expectLoggedIn(await this.tinode.loginBasic(this.login, this.password));
  }

  async logInWithToken(token) {
    this.#expectLoggedIn(await this.tinode.loginToken(token));
  }

  #expectLoggedIn({ code, params }) {
    expectEqual(code, 200, 'the code of the answer');
    expect(/^usr[^@]+$/.test(params.user), `the own id must be bare, but is ${params.user}`);
    expectEqual(params.authlvl, 'auth', 'authlvl');
    expect(params.expires instanceof Date && params.expires > new Date(), `the token must expire later than now, not ${params.expires}`);
    expect(/^[A-Za-z0-9+/]+=*$/.test(params.token), 'the token must be standard base64');
  }

  get token() {
    return this.tinode.getAuthToken()?.token;
  }

  /** Attaches to `me` and waits for both the description and the list of contacts, as the web app does. */
  async enter({ changedSince } = {}) {
    const query = this.me.startMetaQuery().withSub(changedSince).withDesc().withTags().withCred().build();
    const start = this.inbox.length;
    expectEqual((await this.me.subscribe(query)).code, 200, 'the code of the answer to {sub me}');
    await until('the own description', () => this.#since(start).some(({ meta }) => meta?.topic === 'me' && meta.desc));
    await until('the contacts, or a 204 for none', () => this.#since(start).some(({ meta, ctrl }) =>
      (meta?.topic === 'me' && meta.sub) || (ctrl?.code === 204 && ctrl.params?.what === 'sub')));
    await digested();
    return this.#since(start);
  }

  #since(start) {
    return this.inbox.slice(start);
  }

  /** What the search box sends, and the rows that come back. */
  async find(query, { backToBack = false } = {}) {
    const fnd = this.tinode.getFndTopic();
    if (!fnd.isSubscribed()) await fnd.subscribe(fnd.startMetaQuery().withSub().build());
    const asked = fnd.setMeta({ desc: { public: query } });
    if (!backToBack) await asked;
    const [answer] = await Promise.all([fnd.getMeta(fnd.startMetaQuery().withSub().build()), asked]);
    return answer.sub ?? [];
  }

  /** Asks who this is before any chat exists, as the web app does when a search result is picked. */
  async lookAt(id) {
    const topic = this.tinode.getTopic(id);
    const answer = await topic.getMeta(topic.startMetaQuery().withDesc().build());
    expect(answer.desc, `expected a description, got ${JSON.stringify(answer)}`);
    return answer.desc;
  }

  /** Opens a chat that was not there before: the web app sends a bare {sub} with the first message. */
  async begin(id) {
    const topic = this.tinode.getTopic(id);
    const answer = await topic.subscribe();
    expectEqual([answer.code, answer.topic], [200, id], 'code and topic of the answer to {sub}');
    expect(answer.params?.acs, 'the answer to the first {sub} must carry params.acs');
    return new Chat(this, topic);
  }

  /** Opens a chat from the list of contacts. */
  async open(id, { page = PAGE } = {}) {
    const topic = this.tinode.getTopic(id);
    const start = this.inbox.length;
    const query = topic.startMetaQuery().withLaterDesc().withLaterSub().withAux().withLaterData(page).build();
    const answer = await topic.subscribe(query);
    expectEqual([answer.code, answer.topic], [200, id], 'code and topic of the answer to {sub}');
    await until(`the end of the page of ${id}`, () => this.#since(start).some(({ ctrl }) => endsPage(ctrl, id)));
    await digested();
    return new Chat(this, topic);
  }

  /** Makes a group, or a channel, as the web app does. */
  async make(name, { channel = false, tags, defacs, priv } = {}) {
    const topic = this.tinode.getTopic(this.tinode.newGroupTopicName(channel));
    const query = topic.startMetaQuery().withLaterDesc().withLaterSub().withAux().withLaterData(PAGE).build();
    const answer = await topic.subscribe(query, { desc: { public: { fn: name }, private: priv, defacs }, tags });
    expectEqual(answer.code, 200, 'the code of the answer to {sub}');
    expect(/^grp/.test(topic.name), `a group is called grp…, not ${topic.name}`);
    await digested();
    return new Chat(this, topic);
  }

  /** Waits for a {pres} that has all these values, among those that came since `start`. */
  async told(values, start = 0) {
    const fits = ({ pres }) => pres && Object.entries(values).every(([key, value]) => pres[key] === value);
    const frame = await until(`${this.name} to be told ${JSON.stringify(values)}`, () => this.inbox.slice(start).find(fits));
    return frame.pres;
  }

  contact(id) {
    return this.tinode.isTopicCached(id) ? this.tinode.getTopic(id) : undefined;
  }

  /** The line is cut with no goodbye. Gives a wait for the SDK, which connects again after two seconds or so. */
  loseConnection() {
    const before = this.#connections;
    this.#wire.terminate();
    return () => until('the SDK to connect again', () => this.#connections > before, 10_000);
  }

  goAway() {
    this.tinode.disconnect();
  }

  /** Whether the server answers the one-character question "are you there". */
  async probe() {
    const answered = new Promise((resolve) => { this.tinode.onNetworkProbe = resolve; });
    this.tinode.networkProbe();
    await within(TIMEOUT, 'the answer to the network probe', answered);
  }
}

/** The SDK takes in a ctrl at once and all other frames a moment later; a person is never faster than that. */
function digested() {
  return pause(10);
}

function endsPage(ctrl, topic) {
  return ctrl?.topic === topic && ctrl.params?.what === 'data' && (ctrl.code === 208 || ctrl.code === 204);
}

/** A person's view of one chat. */
class Chat {
  constructor(person, topic) {
    Object.assign(this, { person, topic, id: topic.name });
  }

  /** Sends as the web app does, and gives the number that the server acknowledges. */
  async say(text) {
    return this.send(this.topic.createMessage(text, false), text);
  }

  /** Sends what was composed, as the web app does. */
  async send(draft, what = 'the message') {
    const answer = await this.topic.publishDraft(draft);
    expect(answer, `"${what.slice(0, 40)}" was refused`);
    expectEqual(answer.code, 202, 'the code of the answer to {pub}');
    expect(Number.isInteger(answer.params?.seq), 'the answer to {pub} must carry params.seq');
    return answer.params.seq;
  }

  /** What was said by others and came in live or in pages, as frames in order of arrival. */
  get heard() {
    return this.person.inbox.filter(({ data }) => data?.topic === this.id && data.from !== this.person.id).map(({ data }) => data);
  }

  async hears(text) {
    return until(`"${text.slice(0, 40)}" to reach ${this.person.name}`, () => this.heard.find(({ content }) => content === text));
  }

  /** Accepts an invitation as the web app does: what was given becomes what is wanted, on both sides. */
  async accept() {
    const mode = this.topic.getAccessMode().getGiven();
    const own = await this.topic.setMeta({ sub: { mode } });
    expectEqual(own.params?.acs?.getWant(), mode, 'the wanted access in the answer to {set sub}');
    const peer = await this.topic.setMeta({ sub: { user: this.id, mode } });
    expect(peer.code < 400, `granting the access to the other side was answered with ${peer.code}`);
    expect(!this.isInvitation, `the invitation is still shown, with ${this.topic.getAccessMode()}`);
  }

  /** The rule by which the web app shows "You are invited to start a new chat". */
  get isInvitation() {
    const access = this.topic.getAccessMode();
    return access.isJoiner('given') && /[RW]/.test(access.getExcessive() ?? '');
  }

  marks(what) {
    return this.person.inbox.filter(({ info }) => info?.topic === this.id && info.from === this.id && info.what === what).map(({ info }) => info);
  }

  async seesTyping() {
    return until(`${this.person.name} to see the other side typing`, () => this.marks('kp').length > 0);
  }

  async seesMark(what, seq) {
    return until(`${this.person.name} to see message ${seq} marked ${what}`, () => this.marks(what).some((mark) => mark.seq >= seq));
  }

  /** The two people in the chat, asked for anew. */
  async members(changedSince) {
    const answer = await this.topic.getMeta(this.topic.startMetaQuery().withSub(changedSince).build());
    return answer.sub ?? [];
  }

  /** Asks for messages; gives those that came, in order of arrival, and the frame that ended the page. */
  async page(data) {
    const { inbox } = this.person;
    const start = inbox.length;
    await this.topic.getMeta({ what: 'data', data });
    const end = await until('the end of the page', () => inbox.slice(start).find(({ ctrl }) => endsPage(ctrl, this.id)));
    const messages = inbox.slice(start, inbox.indexOf(end)).filter((frame) => frame.data?.topic === this.id);
    return { messages: messages.map((frame) => frame.data), end: end.ctrl };
  }

  async leave() {
    expectEqual((await this.topic.leave(false)).code, 200, 'the code of the answer to {leave}');
  }
}
