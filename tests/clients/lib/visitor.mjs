// A person in front of the stock web app, in a browser profile of their own.
//
// Everything here goes through the page as people use it: fields, buttons, and what can be read on
// the screen. The selectors are those of tinode-webapp 0.25.3.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

import { FrameCheck } from './frames.mjs';
import { expect, until } from './scenes.mjs';

/** What was wrong with the frames that servers sent in this run. */
export const frames = new FrameCheck();

const CHROMIUM = '/usr/bin/chromium';
const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
  '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream',
];
const PATIENCE = 8000;

// Asked for by every page, made only where push messages are set up.
const HARMLESS = /firebase-init\.js/;

// What the app stumbles over by itself, without harm (tinode-webapp and tinode-sdk 0.25.3):
const KNOWN = [
  // Each {pres} about a chat that is new to it: it has asked for that chat already, and then looks up
  // the name of a contact that is not there yet.
  /TypeError: Cannot read properties of undefined \(reading 'topic'\)\s+at \w+\.tnMeContactUpdate/,
  // It asks for the same messages twice (each time that it learns anew that it may read a chat) and
  // adds both answers to its own store, where the second one has keys that are taken.
  /^ConstraintError: Key already exists in the object store/,
  // When the other one hangs up first, the channel between the two clients breaks before it is closed.
  /^data channel error RTCErrorEvent/,
];

/** Starts the browser; each visitor gets a profile that nobody used before. */
export async function openBrowser() {
  return chromium.launch({ executablePath: CHROMIUM, headless: true, args: FLAGS });
}

/** Takes pictures, numbered in the order in which they were taken. */
export class Album {
  #count = 0;

  constructor(folder, prefix = '') {
    Object.assign(this, { folder, prefix });
    if (folder) mkdirSync(folder, { recursive: true });
  }

  async take(visitor, title) {
    if (!this.folder) return;
    this.#count += 1;
    const name = `${this.prefix}${String(this.#count).padStart(2, '0')}-${title.replace(/\W+/g, '-')}.png`;
    await visitor.page.screenshot({ path: join(this.folder, name) });
  }
}

export class Visitor {
  /** Uncaught exceptions in the page, and errors that it wrote to the console. */
  exceptions = [];
  /** Those that are known to be its own. */
  complaints = [];
  /** Requests to anybody but the own domain. */
  strayRequests = [];

  static async arrive(browser, person, domain) {
    const context = await browser.newContext({ locale: 'en-US', viewport: { width: 1100, height: 760 } });
    const visitor = new this(person, domain, await context.newPage());
    await visitor.page.goto(`${domain.url}/`);
    return visitor;
  }

  constructor(person, domain, page) {
    Object.assign(this, { ...person, domain, page });
    page.setDefaultTimeout(PATIENCE);
    page.on('pageerror', (error) => this.#catch(error));
    page.on('console', (message) => this.#hear(message));
    page.on('request', (request) => this.#watch(request.url()));
    page.on('websocket', (socket) => socket.on('framereceived', ({ payload }) => this.#check(payload)));
  }

  #check(payload) {
    frames.take(payload.toString(), typeof payload !== 'string', this.domain.name);
  }

  #catch(error) {
    // A rejected promise that nobody caught may come with a name and a message but without a stack.
    const text = error.stack || `${error.name}: ${error.message}`;
    const known = KNOWN.some((it) => it.test(text));
    (known ? this.complaints : this.exceptions).push(`${this.name}: ${text}`);
  }

  #hear(message) {
    const text = message.text();
    if (message.type() !== 'error' || HARMLESS.test(message.location().url) || HARMLESS.test(text)) return;
    const known = KNOWN.some((it) => it.test(text));
    (known ? this.complaints : this.exceptions).push(`${this.name}: ${text} (${message.location().url})`);
  }

  #watch(url) {
    if (/^(data|blob):/.test(url) || new URL(url).host === this.domain.host) return;
    this.strayRequests.push(`${this.name}: ${url}`);
  }

  // --- getting in

  async logIn() {
    const form = this.page.locator('#login-form');
    await form.locator('#inputLogin').fill(this.login);
    await form.locator('input[type=password]').fill(this.password);
    await this.#stayLoggedIn(form);
    await form.locator('button[type=submit]').click();
    await this.seesContacts();
  }

  async signUp() {
    await this.caption('person_add').click();
    const form = this.page.locator('form.panel-form-column');
    await form.locator('input[autocomplete=user-name]').fill(this.login);
    await form.locator('input[autocomplete=new-password]').fill(this.password);
    await form.locator('input[autocomplete=name]').fill(this.name);
    await form.locator('input[autocomplete=email]').fill(this.email);
    await this.#stayLoggedIn(form);
    await form.locator('button[type=submit]').click();
    await this.seesContacts();
  }

  async #stayLoggedIn(form) {
    const kept = await this.page.evaluate(() => localStorage.getItem('keep-logged-in') === 'true');
    if (!kept) await form.locator('#save-token').click();
    await this.page.waitForFunction(() => localStorage.getItem('keep-logged-in') === 'true');
  }

  /** The list of chats, under the own name. */
  async seesContacts() {
    await this.caption('chat').waitFor();
    await this.page.locator('#sidepanel-title', { hasText: /\S/ }).waitFor();
  }

  /** The name over the list of chats. */
  async ownName() {
    return (await this.page.locator('#sidepanel-title').textContent()).trim();
  }

  /**
   * Reloads the page, with no chat open, and waits until the server has listed the contacts again.
   *
   * With a chat open, about one reload of five leaves it empty until it is opened again. The page
   * (0.25.3, messages-view.jsx) opens the chat named in its address before it knows its own rights in
   * it, so it subscribes without asking for messages, and asks for them once it sees itself become a
   * reader - but only if the chat is subscribed at that very moment. Its rights come with the list of
   * contacts; when that list is there before the answer to the subscription, the moment is missed.
   * The server answers both in the order in which they were asked, and cannot help it.
   */
  async reload() {
    const listed = this.page.waitForEvent('websocket').then((socket) => socket.waitForEvent('framereceived', {
      predicate: ({ payload }) => /"topic":"me".*"sub":\[/.test(payload.toString()),
    }));
    await this.page.reload();
    await listed;
  }

  /** A link of the side panel, known by its icon. */
  caption(icon) {
    return this.page.locator('#side-caption-panel a', { has: this.page.locator(`i.material-icons:text-is("${icon}")`) });
  }

  // --- finding and opening chats

  /** Types into the search box, and gives the entry for the person with this name. */
  async find(address, name) {
    await this.caption('chat').click();
    const box = this.page.locator('input.search');
    await box.fill(address);
    await box.press('Enter');
    const entry = this.entry(name);
    await entry.waitFor();
    return entry;
  }

  /** Opens the chat with this person from the list of chats. */
  async openChat(name) {
    await this.entry(name).click();
    await this.seesTitle(name);
  }

  entry(name) {
    return this.page.locator('ul.contact-box li', { has: this.page.locator('.contact-title', { hasText: exactly(name) }) }).first();
  }

  async seesChat(name) {
    await this.entry(name).waitFor();
  }

  async seesUnread(name, count) {
    await this.entry(name).locator('.unread', { hasText: exactly(count) }).waitFor();
  }

  async seesTitle(name) {
    await this.page.locator('#topic-title', { hasText: exactly(name) }).waitFor();
  }

  async seesOnline() {
    await this.page.locator('#topic-caption-panel .avatar-box span.online').waitFor();
  }

  /** Leaves the chat that is open; the list of chats stays. */
  async closeChat() {
    await this.page.keyboard.press('Escape');
    await this.page.locator('#topic-title').waitFor({ state: 'detached' });
    await this.showContacts();
  }

  async showContacts() {
    await this.page.evaluate(() => { window.location.hash = 'contacts'; });
    await this.caption('chat').waitFor();
  }

  // --- talking

  async say(text) {
    await this.#input.fill(text);
    await this.#input.press('Enter');
    await this.#said(text).waitFor();
  }

  /** Takes longer than the three seconds for which the app tells nobody that it has seen typing before. */
  async typeSlowly(text) {
    await this.#input.pressSequentially(text, { delay: 4000 / text.length });
    await this.#input.fill('');
  }

  get #input() {
    return this.page.locator('#send-message-input');
  }

  async sees(text) {
    await this.page.locator('#scroller li.left .message-content', { hasText: exactly(text) }).waitFor();
  }

  async seesTyping() {
    await this.page.locator('#topic-caption-panel .avatar-box span.online.typing').waitFor();
  }

  #said(text) {
    return this.page.locator('#scroller li.right', { has: this.page.locator('.message-content', { hasText: exactly(text) }) });
  }

  /** The mark beside an own message: sent, received or read. */
  async seesMark(text, mark) {
    const seen = () => this.#markOf(text);
    await until(`"${text}" to be marked ${mark} at ${this.name}'s`, async () => RANKS.indexOf(await seen()) >= RANKS.indexOf(mark), PATIENCE);
  }

  async #markOf(text) {
    const icon = this.#said(text).locator('.timestamp i.material-icons');
    if (await icon.count() === 0) return 'none';
    if (await icon.textContent() === 'done') return 'sent';
    if (await icon.textContent() !== 'done_all') return 'none';
    return /\bblue\b/.test(await icon.getAttribute('class')) ? 'read' : 'received';
  }

  // --- invitations

  get #invitation() {
    return this.page.locator('.accept-invite-panel');
  }

  async seesInvitation() {
    await this.#invitation.waitFor();
  }

  async hasInvitation() {
    return this.#invitation.isVisible();
  }

  async accept() {
    await this.#invitation.getByRole('button', { name: 'Accept' }).click();
    await this.#invitation.waitFor({ state: 'detached' });
    await this.#input.waitFor();
  }

  // --- the page itself

  /** Icons are drawn from the icon font, where each name is one glyph; without it the names show as words. */
  async seesIcons() {
    const width = await this.page.locator('#side-caption-panel i.material-icons').first().evaluate(async (icon) => {
      await document.fonts.ready;
      return icon.getBoundingClientRect().width;
    });
    expect(width > 0 && width < 40, `an icon is ${width} pixels wide`);
  }

  async hasNoErrorBanner() {
    const banner = this.page.locator('.info-box.error');
    if (await banner.isVisible()) expect(false, `${this.name}'s page says "${(await banner.textContent()).trim()}"`);
  }
}

const RANKS = ['none', 'sent', 'received', 'read'];

export function exactly(text) {
  return new RegExp(`^\\s*${String(text).replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}\\s*$`);
}
