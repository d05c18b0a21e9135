// Checks the form of every frame that a server sends to a client: what stock clients rely on, though
// most of it only breaks one of them (the JavaScript SDK on dates, iOS on ctrl, Android on numbers).

import { expect, expectEqual } from './scenes.mjs';

const KINDS = ['ctrl', 'data', 'meta', 'pres', 'info'];
const TIME_KEYS = new Set(['ts', 'created', 'updated', 'touched', 'when', 'deleted', 'expires']);
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

// Written by people and their clients; a server passes them on as they are.
const OPAQUE_KEYS = new Set(['content', 'head', 'public', 'private', 'trusted', 'aux', 'payload']);

// Where a frame names a person or a topic.
const ID_KEYS = new Set(['topic', 'user', 'src', 'from', 'act', 'tgt']);

const PROBE_REPLY = '0';

/** Collects the faults of the frames of a whole run, each kind of fault once, with an example. */
export class FrameCheck {
  count = 0;
  #faults = new Map();

  /** Takes one frame as received by a client of `domain`. */
  take(text, isBinary, domain) {
    this.count += 1;
    for (const fault of faultsOfFrame(text, isBinary, domain)) {
      if (!this.#faults.has(fault)) this.#faults.set(fault, `${fault} in ${text.slice(0, 240)}`);
    }
  }

  /** The last scene of a play: what was seen in all scenes before. */
  async judge(scene) {
    await scene(`all ${this.count} frames from the servers are well formed`, () => {
      expect(this.count > 0, 'there were none');
      expectEqual([...this.#faults.values()], [], 'the faults');
    });
  }
}

function faultsOfFrame(text, isBinary, domain) {
  if (isBinary) return ['a binary frame'];
  if (text === PROBE_REPLY) return [];
  let frame;
  try {
    frame = JSON.parse(text);
  } catch {
    return ['a frame that is not JSON'];
  }
  const kinds = Object.keys(frame).filter((key) => KINDS.includes(key));
  if (kinds.length !== 1) return [`a frame with ${kinds.length} of ${KINDS.join(', ')}`];
  const [kind] = kinds;
  return [...faultsOfBody(kind, frame[kind]), ...faultsOfValues(frame[kind], kind, domain)];
}

function faultsOfBody(kind, body) {
  switch (kind) {
    case 'ctrl':
      return missing(kind, body, { code: isInteger, text: isText, ts: isText });
    case 'data':
      return missing(kind, body, { topic: isText, seq: isInteger, ts: isText, content: isPresent });
    case 'meta':
      return missing(kind, body, { topic: isText, ts: isText });
    default:
      return missing(kind, body, { topic: isText, what: isText });
  }
}

function missing(kind, body, fields) {
  return Object.entries(fields)
    .filter(([field, fits]) => !fits(body[field]))
    .map(([field]) => `${kind} without a proper "${field}"`);
}

const isInteger = Number.isInteger;
const isText = (value) => typeof value === 'string' && value !== '';
const isPresent = (value) => value !== undefined && value !== null;

function faultsOfValues(value, path, domain) {
  if (value === null) return [`null at ${path}`];
  if (Array.isArray(value)) return value.flatMap((item) => faultsOfValues(item, `${path}[]`, domain));
  if (typeof value === 'object') {
    return Object.entries(value).flatMap(([key, inner]) => faultsOfField(key, inner, `${path}.${key}`, domain));
  }
  if (typeof value === 'number' && !Number.isInteger(value)) return [`a fraction at ${path}`];
  return [];
}

function faultsOfField(key, value, path, domain) {
  if (OPAQUE_KEYS.has(key)) return [];
  if (TIME_KEYS.has(key)) return TIME.test(value) ? [] : [`a time not of 24 characters at ${path}`];
  if (ID_KEYS.has(key)) return faultsOfId(value, path, domain);
  return faultsOfValues(value, path, domain);
}

function faultsOfId(value, path, domain) {
  if (!isText(value)) return [`an id that is not a text at ${path}`];
  if (value.endsWith(`@${domain}`)) return [`an id of the own domain that is not bare at ${path}`];
  return [];
}
