// What a visitor does with menus, panels and files of the stock web app (tinode-webapp 0.25.3).

import { expect, until } from './scenes.mjs';
import { Visitor, exactly } from './visitor.mjs';

/** A visitor who uses more of the app than chats. */
export class Handy extends Visitor {
  // --- menus

  async #choose(item) {
    await this.page.locator('ul.menu li', { hasText: exactly(item) }).click();
  }

  /** What the menu behind something offers. */
  async #menuOf(thing) {
    await thing.hover();
    await thing.locator('.menuTrigger a').first().click();
    await this.page.locator('ul.menu').waitFor();
  }

  async onChat(name, item) {
    await this.#menuOf(this.entry(name));
    await this.#choose(item);
  }

  message(text) {
    return this.page.locator('#scroller li', { has: this.page.locator('.message-content', { hasText: text }) }).last();
  }

  async onMessage(text, item) {
    await this.#menuOf(this.message(text).locator('.bubble'));
    await this.#choose(item);
  }

  async offersOnMessage(text) {
    await this.#menuOf(this.message(text).locator('.bubble'));
    const items = await this.page.locator('ul.menu li').allTextContents();
    // The escape key would close the chat as well.
    await this.page.locator('#topic-title').click();
    await this.page.locator('ul.menu').waitFor({ state: 'detached' });
    return items;
  }

  async onTopic(item) {
    await this.page.locator('#topic-caption-panel a', { has: this.icon('more_vert') }).click();
    await this.#choose(item);
  }

  async confirm() {
    await this.page.locator('.alert button.primary').click();
    await this.page.locator('.alert').waitFor({ state: 'detached' });
  }

  icon(name) {
    return this.page.locator(`i.material-icons:text-is("${name}")`);
  }

  async seesGone(text) {
    await this.message(text).waitFor({ state: 'detached' });
  }

  async seesText(text) {
    await this.message(text).waitFor();
  }

  async seesNoChat(name) {
    await this.entry(name).waitFor({ state: 'detached' });
  }

  // --- the panel on the right

  async info() {
    await this.onTopic('Info');
    await this.page.locator('#info-view').waitFor();
  }

  async back() {
    await this.page.locator('#info-caption-panel a').first().click();
  }

  async press(label) {
    await this.page.locator('a.flat-button', { hasText: label }).last().click();
  }

  /** The members in the panel. */
  member(name) {
    return this.page.locator('#info-view ul.contact-box li', { has: this.page.locator('.contact-title', { hasText: name }) });
  }

  async onMember(name, item) {
    await this.#menuOf(this.member(name));
    await this.#choose(item);
  }

  async addMember(name) {
    await this.press('Add members');
    const manager = this.page.locator('#group-manager');
    await manager.locator('ul.contact-box li', { hasText: name }).click();
    await manager.locator('button.primary').click();
    await this.member(name).waitFor();
  }

  // --- making

  async make(name, { channel = false, tag } = {}) {
    await this.caption('chat').click();
    await this.page.locator('ul.tabbar a[data-id=grp]').click();
    const form = this.page.locator('form.panel-form');
    await form.locator('#new-topic-fn').fill(name);
    if (channel) await form.locator('label', { hasText: 'This is a channel' }).click();
    if (tag) {
      await form.locator('.chip-input input').pressSequentially(`${tag},`);
    }
    await form.locator('#new-topic-fn').press('Enter');
    await this.seesTitle(name);
    await this.page.locator('#send-message-input').waitFor();
  }

  // --- messages

  async edit(text, other) {
    await this.onMessage(text, 'Edit');
    const input = this.page.locator('#send-message-input');
    await until('the text to edit', async () => (await input.inputValue()) === text);
    await input.fill(other);
    await input.press('Enter');
    await this.seesText(other);
  }

  async reply(text, answer) {
    await this.onMessage(text, 'Reply');
    await this.page.locator('#reply-quote-preview').waitFor();
    await this.page.locator('#send-message-input').fill(answer);
    await this.page.locator('#send-message-input').press('Enter');
    await this.seesText(answer);
  }

  async forward(text, name) {
    await this.onMessage(text, 'Forward');
    await this.page.locator('.forward-dialog ul.contact-box li', { hasText: name }).click();
    await this.seesTitle(name);
    await this.page.locator('#send-message-panel a', { has: this.icon('send') }).click();
    await this.seesText(text);
  }

  async sendFile(file) {
    await this.page.locator('#send-message-panel input[type=file]:not([accept])').setInputFiles(file);
    await this.page.locator('#image-preview #send-message-panel a', { has: this.icon('send') }).click();
    await this.page.locator('#image-preview').waitFor({ state: 'detached' });
  }

  async sendPicture(file) {
    await this.page.locator('#send-message-panel input[type=file][accept]').setInputFiles(file);
    await this.page.locator('#image-preview img').waitFor();
    await this.page.locator('#image-preview #send-message-panel a', { has: this.icon('send') }).click();
    await this.page.locator('#image-preview').waitFor({ state: 'detached' });
  }

  /** The bytes of an attachment, saved through its link. */
  async save(name) {
    const link = this.message(name).locator('.attachment a').last();
    const [download] = await Promise.all([this.page.waitForEvent('download'), link.click()]);
    const chunks = [];
    for await (const chunk of await download.createReadStream()) chunks.push(chunk);
    return Buffer.concat(chunks);
  }

  /** A picture of coloured noise, so large that it does not go within a message. */
  async paints(side) {
    const base64 = await this.page.evaluate(async (side) => {
      const canvas = new OffscreenCanvas(side, side);
      const context = canvas.getContext('2d');
      const points = context.createImageData(side, side);
      for (let at = 0; at < points.data.length; at += 4) {
        points.data.set([(at * 7919) % 251, (at * 104729) % 241, (at * 1299709) % 239, 255], at);
      }
      context.putImageData(points, 0, 0);
      const bytes = new Uint8Array(await (await canvas.convertToBlob({ type: 'image/png' })).arrayBuffer());
      return btoa(bytes.reduce((text, byte) => text + String.fromCharCode(byte), ''));
    }, side);
    return { name: 'noise.png', mimeType: 'image/png', buffer: Buffer.from(base64, 'base64') };
  }

  /** Pictures in messages that are drawn, not only asked for. */
  async seesPicture(side = 2) {
    const drawn = () => this.page.evaluate((side) =>
      [...document.querySelectorAll('#scroller img.inline-image, #scroller .inline-image img')].some((it) => it.naturalWidth >= side), side);
    await until('a picture', drawn, 8000);
  }

  async seesPin(text) {
    await this.page.locator('#pinned-wrapper', { hasText: text }).waitFor();
  }

  async seesNoPin() {
    await this.page.locator('#pinned-wrapper').waitFor({ state: 'detached' });
  }

  // --- calls

  async answers() {
    await this.page.locator('.incoming-call button.positive').click();
  }

  async declines() {
    await this.page.locator('.incoming-call button.danger').click();
  }

  /** What comes from the other side is heard and shown: time passes in it. */
  async isInCall() {
    await this.page.locator('#video-container').waitFor();
    const plays = () => this.page.evaluate(() => [...document.querySelectorAll('.call-party.peer video, .call-party.peer audio')]
      .some((it) => it.srcObject?.getTracks().length > 0 && it.currentTime > 0.2));
    await until(`${this.name} to hear the other side`, plays, 10_000);
  }

  async hangsUp() {
    await this.page.locator('#controls button.danger').click();
  }

  async isInNoCall() {
    await this.page.locator('#video-container').waitFor({ state: 'detached' });
    await this.page.locator('.incoming-call').waitFor({ state: 'detached' });
  }

  // --- oneself

  async settings(part) {
    await this.caption('settings').click();
    if (part) await this.press(part);
  }

  async leaveSettings() {
    await this.showContacts();
    await this.seesContacts();
  }

  /** Types into a field that is a text until it is clicked. */
  async type(label, text) {
    const group = this.page.locator('.group', { has: this.page.locator('label', { hasText: label }) });
    await group.locator('span.in-place-edit').click();
    await group.locator('input.in-place-edit, textarea.in-place-edit').fill(text);
    await group.locator('input.in-place-edit, textarea.in-place-edit').press('Enter');
  }

  async portrays(file) {
    await this.page.locator('.avatar-upload input[type=file]').setInputFiles(file);
    await this.page.locator('.panel-form .dialog-buttons button.primary').click();
    await this.page.locator('.avatar-upload img.preview').waitFor();
  }

  async hasNoError() {
    await this.hasNoErrorBanner();
    expect(await this.page.locator('.info-box.warning').count() === 0, 'the page shows a warning');
  }
}
