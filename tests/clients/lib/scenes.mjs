// Plays scenes and reports them: one line `ok <sentence>` or `not ok <sentence>: why` for each.
//
// Scenes that build upon each other form an act. An act ends with its first scene that fails, since
// the rest would only repeat the same news; the next act is played in any case. A run that takes too
// long is ended from outside the play, so no forgotten promise can hang a build.

let failures = 0;

/** A failed expectation; its message is the `why` of a `not ok` line. */
export class Failure extends Error {}

/** Starts the clock of the whole run. */
export function limitRun(seconds) {
  const alarm = setTimeout(() => {
    report(false, `the run ends within ${seconds} s`, 'it was still playing');
    process.exit(1);
  }, seconds * 1000);
  alarm.unref();
}

/** Plays `scenes`, which calls the given function with a sentence and a body for each scene. */
export async function act(scenes) {
  try {
    return await scenes(scene);
  } catch (error) {
    if (!error.reported) report(false, 'an act is played to its end', explain(error));
    return undefined;
  }
}

/** One scene; a throwing body is reported here and ends the act around it. */
async function scene(sentence, body) {
  try {
    const result = await body();
    report(true, sentence);
    return result;
  } catch (error) {
    report(false, sentence, explain(error));
    throw Object.assign(new Error(sentence), { reported: true });
  }
}

// Clients ask for things by themselves, with nobody waiting for the answer.
process.on('unhandledRejection', (error) => {
  report(false, 'what a client asks by itself is answered well', explain(error));
});

/** Ends the run: exit code 1 when anything failed. */
export function curtain() {
  process.exit(failures === 0 ? 0 : 1);
}

function report(good, sentence, why) {
  if (!good) failures += 1;
  console.log(good ? `ok ${sentence}` : `not ok ${sentence}: ${why}`);
}

function explain(error) {
  if (error instanceof Failure) return oneLine(error.message);
  const text = error?.message ?? String(error);
  return oneLine(error?.code ? `${text} (code ${error.code})` : text);
}

function oneLine(text) {
  const plain = text.replace(/\x1b\[\d+m/g, '');
  return plain.replace(/\s*\n\s*/g, ' | ').slice(0, 600);
}

/** States what must hold; `otherwise` says what was seen instead. */
export function expect(condition, otherwise) {
  if (!condition) throw new Failure(otherwise);
}

export function expectEqual(actual, expected, what) {
  const [seen, wanted] = [JSON.stringify(actual), JSON.stringify(expected)];
  expect(seen === wanted, `${what}: expected ${wanted}, got ${seen}`);
}

/** Expects the request to be refused with this code. */
export async function expectRefusal(request, code) {
  const outcome = await request.then(
    (answer) => `the answer ${JSON.stringify(answer)?.slice(0, 200)}`,
    (error) => (error?.code === code ? null : `the error ${error?.code} "${error?.message}"`),
  );
  expect(outcome === null, `expected a refusal with ${code}, got ${outcome}`);
}

/** Waits until `probe` gives something true, and returns it; the failure names what was awaited. */
export async function until(awaited, probe, milliseconds = 6000) {
  const end = Date.now() + milliseconds;
  for (;;) {
    const found = await probe();
    if (found) return found;
    if (Date.now() > end) throw new Failure(`waited ${milliseconds} ms in vain for ${awaited}`);
    await pause(20);
  }
}

/** Bounds a promise; the failure names what was awaited. */
export async function within(milliseconds, awaited, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Failure(`waited ${milliseconds} ms in vain for ${awaited}`)), milliseconds);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

export function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
