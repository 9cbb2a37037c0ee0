// What the SDK scripts share: named steps, each run to its end, and all failures told at the end.
'use strict';

const assert = require('node:assert/strict');
const Parse = require('parse/node');

const master = { useMasterKey: true };
const steps = [];

// Declares one step; steps run in order and may build on the state of earlier ones.
// The one that the environment names SKIP is left out.
function step(name, body) {
  if (name !== process.env.SKIP) steps.push([name, body]);
}

// The error of a promise that must fail with this Parse code. `text`: its message, or a part of it.
async function refused(promise, code, text) {
  let value;
  try {
    value = await promise;
  } catch (error) {
    assert.equal(error.code, code, `code of: ${error.stack || error}`);
    if (text) assert.ok(String(error.message).includes(text), `message: ${error.message}`);
    return error;
  }
  assert.fail(`not refused, but ${JSON.stringify(value)}`);
}

// Another worker hears of a change some milliseconds later: asks again until the answer is right.
async function soon(ask) {
  const limit = Date.now() + 5000;
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (Date.now() > limit) throw error;
      await new Promise(resolve => setTimeout(resolve, 10));
    }
  }
}

function within(promise, what, ms = 10000) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not come`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// A new user with a session, whom this process does not keep as its current user.
async function someone(name, fields = {}) {
  await forget();
  const user = await Parse.User.signUp(name, 'secret', fields);
  const sessionToken = user.getSessionToken();
  await forget();
  return { user, id: user.id, sessionToken, as: { sessionToken } };
}

async function forget() {
  Parse.User._clearCache();
  await Parse.Storage._clear();
}

// Runs the steps against the server at argv[2] and ends the process: 0, or 1 with what failed.
async function run() {
  Parse.initialize('app', undefined, 'mk');
  Parse.serverURL = process.argv[2];
  Parse.CoreManager.set('REQUEST_ATTEMPT_LIMIT', 1);
  Parse.User.enableUnsafeCurrentUser();
  let failed = 0;
  for (const [name, body] of steps) {
    try {
      await within(body(), `the end of "${name}"`, 40000);
    } catch (error) {
      failed += 1;
      console.log(`FAILED ${name}: ${error.stack || error}`);
    }
  }
  console.log(`${steps.length - failed} of ${steps.length} steps passed`);
  process.exit(failed ? 1 : 0);
}

module.exports = { Parse, assert, forget, master, refused, run, someone, soon, step, within };
