// What the SDK needs of a browser to send and fetch files: XMLHttpRequest with forms and blobs, which
// xhr2 lacks, over Node's own fetch; and a page on which a link can be clicked.

/** The part of XMLHttpRequest that the SDK's LargeFileHelper uses. */
export class BrowserRequest {
  upload = {};
  readyState = 0;
  status = 0;
  response = '';
  #headers = {};
  #abort = new AbortController();

  /** Where relative URLs start: the host of the page. */
  static base = undefined;

  open(method, url) {
    Object.assign(this, { method, url: new URL(url, BrowserRequest.base) });
  }

  setRequestHeader(name, value) {
    this.#headers[name] = value;
  }

  send(body) {
    const asked = fetch(this.url, { method: this.method, headers: this.#headers, body, signal: this.#abort.signal });
    asked.then((answer) => this.#take(answer)).catch((error) => this.onerror?.(error));
  }

  abort() {
    this.#abort.abort();
    this.onabort?.();
  }

  async #take(answer) {
    this.status = answer.status;
    this.statusText = answer.statusText;
    this.response = this.responseType === 'blob' ? await answer.blob() : await answer.text();
    this.readyState = 4;
    this.onload?.();
  }
}

/** A page that keeps what is saved from it. */
export class Page {
  saved = [];

  constructor(base) {
    BrowserRequest.base = base;
    const blobs = new Map();
    const createElement = () => {
      const link = { style: {}, setAttribute(name, value) { this[name] = value; } };
      link.click = () => this.saved.push({ name: link.download, blob: blobs.get(link.href) });
      return link;
    };
    globalThis.document = { createElement, body: { appendChild() {}, removeChild() {} } };
    globalThis.window = {
      location: new URL(base),
      URL: {
        createObjectURL: (blob) => { blobs.set(`blob:${blobs.size}`, blob); return `blob:${blobs.size - 1}`; },
        revokeObjectURL() {},
      },
    };
    globalThis.FileReader = class {
      async readAsText(blob) {
        this.result = await blob.text();
        this.onload();
      }
    };
  }
}
