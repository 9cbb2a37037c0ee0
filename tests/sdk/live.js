// Parse.LiveQuery against a server which the caller restarts when this prints RESTART:
// `node live.js URL`.
'use strict';

const { Parse, assert, run, someone, step, within } = require('./steps');

const Live = Parse.Object.extend('Live');
const OPS = ['create', 'update', 'enter', 'leave', 'delete'];

// What a subscription hears, in order: `await next()` is [op, value of `n`].
function ear(subscription) {
  const heard = [];
  const waiting = [];
  for (const op of OPS) {
    subscription.on(op, object => {
      const event = [op, object.get('n')];
      if (waiting.length) waiting.shift()(event);
      else heard.push(event);
    });
  }
  return {
    heard,
    subscription,
    next: () =>
      heard.length
        ? Promise.resolve(heard.shift())
        : within(new Promise(resolve => waiting.push(resolve)), 'an event'),
  };
}

const listen = async (query, token) => ear(await within(query.subscribe(token), 'a subscription'));
const above = n => new Parse.Query(Live).greaterThan('n', n);

step('several subscriptions of one client', async () => {
  const low = await listen(above(0));
  const high = await listen(above(10));
  const note = await new Live({ n: 5 }).save();
  assert.deepEqual(await low.next(), ['create', 5]);
  await note.save({ n: 15 });
  assert.deepEqual(await low.next(), ['update', 15]);
  assert.deepEqual(await high.next(), ['enter', 15]);
  await note.save({ n: 0 });
  assert.deepEqual(await low.next(), ['leave', 0]);
  assert.deepEqual(await high.next(), ['leave', 0]);
  await high.subscription.unsubscribe();
  await note.save({ n: 20 });
  assert.deepEqual(await low.next(), ['enter', 20]);
  await note.destroy();
  assert.deepEqual(await low.next(), ['delete', 20]);
  assert.deepEqual([low.heard, high.heard], [[], []]);
  await low.subscription.unsubscribe();
});

step('objects come with their types', async () => {
  const subscription = await within(above(0).subscribe(), 'a subscription');
  const created = new Promise(resolve => subscription.on('create', resolve));
  const friend = await new Parse.Object('Friend', { name: 'f' }).save();
  const when = new Date(1e12);
  const made = await new Live({ n: 1, friend, when, at: new Parse.GeoPoint(1, 2) }).save();
  const object = await within(created, 'the object');
  assert.ok(object instanceof Live);
  assert.equal(object.id, made.id);
  assert.equal(+object.get('when'), +when);
  assert.equal(object.get('friend').id, friend.id);
  assert.ok(object.get('at') instanceof Parse.GeoPoint);
  assert.equal(+object.createdAt, +made.createdAt);
  await subscription.unsubscribe();
});

step('own objects only, with a session', async () => {
  const [ann, bob] = [await someone('live-ann'), await someone('live-bob')];
  const client = new Parse.LiveQueryClient({
    applicationId: 'app',
    serverURL: Parse.serverURL.replace('http', 'ws'),
    sessionToken: ann.sessionToken,
  });
  client.open();
  const asked = client.subscribe(new Parse.Query(Live));
  const mine = ear(asked);
  await within(asked.subscribePromise, 'the subscription of ann');
  const theirs = await listen(new Parse.Query(Live), bob.sessionToken);
  await new Live({ n: 1, ACL: new Parse.ACL(ann.user) }).save(null, ann.as);
  await new Live({ n: 2, ACL: new Parse.ACL(bob.user) }).save(null, bob.as);
  assert.deepEqual(await mine.next(), ['create', 1]);
  assert.deepEqual(await theirs.next(), ['create', 2]);
  assert.deepEqual([mine.heard, theirs.heard], [[], []]);
  await theirs.subscription.unsubscribe();
  await client.close();
});

step('a class without LiveQuery', async () => {
  const silent = new Parse.Query('Silent');
  const subscription = await within(silent.subscribe(), 'a subscription');
  subscription.on('create', () => assert.fail('it was heard'));
  await new Parse.Object('Silent', { n: 1 }).save();
  await subscription.unsubscribe();
});

step('subscriptions are taken up again when the server is back', async () => {
  const low = await listen(above(0));
  const high = await listen(above(10));
  // The SDK tells `open` 200 ms after a subscription stands.
  const opened = () =>
    Promise.all(
      [low, high].map(({ subscription }) => new Promise(done => subscription.on('open', done)))
    );
  await within(opened(), 'the subscriptions');
  const again = opened();
  console.log('RESTART');
  await within(again, 'the new subscriptions', 30000);
  const note = await new Live({ n: 11 }).save();
  assert.deepEqual(await low.next(), ['create', 11]);
  assert.deepEqual(await high.next(), ['create', 11]);
  await note.destroy();
  assert.deepEqual(await low.next(), ['delete', 11]);
  assert.deepEqual(await high.next(), ['delete', 11]);
  assert.deepEqual([low.heard, high.heard], [[], []]);
});

run();
