// Parse.Object against a server: `node objects.js URL`.
'use strict';

const { Parse, assert, master, refused, run, step } = require('./steps');

const Thing = Parse.Object.extend('Thing');
const Part = Parse.Object.extend('Part');
const find = (type, id) => new Parse.Query(type).get(id);

step('create tells id and times, and the first save is no longer new', async () => {
  const thing = new Thing({ name: 'a' });
  assert.equal(thing.isNew(), true);
  await thing.save();
  assert.match(thing.id, /^[A-Za-z0-9]{10}$/);
  assert.ok(thing.createdAt instanceof Date && thing.updatedAt instanceof Date);
  assert.equal(thing.existed(), false);
  assert.equal(thing.dirty(), false);
  await thing.save({ name: 'b' });
  assert.ok(thing.updatedAt >= thing.createdAt);
  const stored = await find(Thing, thing.id);
  assert.equal(stored.get('name'), 'b');
  assert.equal(+stored.createdAt, +thing.createdAt);
});

step('every type comes back as it was', async () => {
  const part = await new Part({ n: 1 }).save();
  const values = {
    string: 'Grüße\n"☃"',
    number: -1.5,
    big: 9007199254740991,
    yes: true,
    no: false,
    empty: null,
    date: new Date('2020-01-02T03:04:05.678Z'),
    list: [1, 'two', [3], { four: 4 }, null],
    nested: { a: { b: [{ c: 1 }] }, 'a-b': 2 },
    point: new Parse.GeoPoint(40.5, -30.25),
  };
  const thing = new Thing({ ...values, part });
  thing.set('shape', new Parse.Polygon([[0, 0], [0, 1], [1, 1], [1, 0]]));
  thing.set('bytes', { __type: 'Bytes', base64: 'aGVsbG8=' });
  await thing.save();
  const stored = await find(Thing, thing.id);
  const { point, ...plain } = values;
  for (const [key, value] of Object.entries(plain)) assert.deepEqual(stored.get(key), value, key);
  assert.ok(stored.get('point') instanceof Parse.GeoPoint && stored.get('point').equals(point));
  assert.equal(stored.get('part').id, part.id);
  assert.equal(stored.get('part').isDataAvailable(), false);
  assert.ok(stored.get('shape') instanceof Parse.Polygon);
  assert.equal(stored.get('shape').containsPoint(new Parse.GeoPoint(0.5, 0.5)), true);
  assert.deepEqual(stored.get('bytes'), { __type: 'Bytes', base64: 'aGVsbG8=' });
});

step('typed values keep their type inside lists and objects', async () => {
  const part = await new Part({ n: 2 }).save();
  const when = new Date(1e12);
  const box = { when, part, point: new Parse.GeoPoint(1, 2) };
  const thing = await new Thing({ deepList: [when, part, { when }], box }).save();
  const stored = await find(Thing, thing.id);
  const [first, second, third] = stored.get('deepList');
  assert.equal(+first, +when);
  assert.equal(second.id, part.id);
  assert.equal(+third.when, +when);
  assert.equal(+stored.get('box').when, +when);
  assert.equal(stored.get('box').part.id, part.id);
  assert.ok(stored.get('box').point instanceof Parse.GeoPoint);
});

step('increment and decrement', async () => {
  const thing = new Thing();
  thing.increment('count', 5);
  await thing.save();
  thing.increment('count');
  thing.decrement('count', 3);
  thing.increment('fresh', 0.5);
  await thing.save();
  assert.equal(thing.get('count'), 3);
  const stored = await find(Thing, thing.id);
  assert.equal(stored.get('count'), 3);
  assert.equal(stored.get('fresh'), 0.5);
  const others = [1, 2, 3, 4, 5].map(() => {
    const other = Thing.createWithoutData(thing.id);
    other.increment('count');
    return other.save();
  });
  const counts = (await Promise.all(others)).map(other => other.get('count'));
  assert.equal((await stored.fetch()).get('count'), 8);
  assert.equal(Math.max(...counts), 8);
});

step('add, addUnique, remove and their plurals', async () => {
  const thing = new Thing();
  thing.add('tags', 'a');
  await thing.save();
  assert.deepEqual(thing.get('tags'), ['a']);
  thing.add('tags', 'a');
  thing.addAll('tags', ['b', 'c']);
  await thing.save();
  assert.deepEqual(thing.get('tags'), ['a', 'a', 'b', 'c']);
  thing.addUnique('tags', 'c');
  thing.addAllUnique('tags', ['d', 'a']);
  await thing.save();
  assert.deepEqual(thing.get('tags'), ['a', 'a', 'b', 'c', 'd']);
  thing.remove('tags', 'a');
  thing.removeAll('tags', ['d', 'nope']);
  await thing.save();
  assert.deepEqual(thing.get('tags'), ['b', 'c']);
  const blind = Thing.createWithoutData(thing.id);
  blind.add('tags', { k: 1 });
  await blind.save();
  assert.deepEqual(blind.get('tags'), ['b', 'c', { k: 1 }]);
  blind.addUnique('tags', { k: 1 });
  await blind.save();
  assert.deepEqual((await thing.fetch()).get('tags'), ['b', 'c', { k: 1 }]);
});

step('pointers in lists are unique by what they point to', async () => {
  const [one, two] = await Parse.Object.saveAll([new Part({ n: 1 }), new Part({ n: 2 })]);
  const thing = await new Thing({ parts: [one] }).save();
  thing.addUnique('parts', Part.createWithoutData(one.id));
  thing.addUnique('parts', two);
  await thing.save();
  assert.deepEqual((await find(Thing, thing.id)).get('parts').map(part => part.id), [one.id, two.id]);
  thing.remove('parts', one);
  await thing.save();
  assert.deepEqual((await find(Thing, thing.id)).get('parts').map(part => part.id), [two.id]);
});

step('unset and clear', async () => {
  const thing = await new Thing({ name: 'x', count: 1, tags: ['t'] }).save();
  thing.unset('name');
  await thing.save();
  assert.equal((await find(Thing, thing.id)).has('name'), false);
  thing.clear();
  await thing.save();
  const stored = await find(Thing, thing.id);
  assert.deepEqual(Object.keys(stored.attributes).sort(), ['createdAt', 'updatedAt']);
});

step('dotted keys change a part of an object', async () => {
  const thing = await new Thing({ conf: { a: 1, b: { c: 2 } } }).save();
  thing.set('conf.a', 5);
  thing.set('conf.b.d', 'new');
  await thing.save();
  assert.deepEqual((await find(Thing, thing.id)).get('conf'), { a: 5, b: { c: 2, d: 'new' } });
  thing.increment('conf.a', 2);
  await thing.save();
  assert.equal(thing.get('conf').a, 7);
  thing.unset('conf.b');
  await thing.save();
  assert.deepEqual((await find(Thing, thing.id)).get('conf'), { a: 7 });
});

step('unsaved children are saved before their parent', async () => {
  const inner = await new Part({ n: 10 }).save();
  const thing = new Thing({ part: new Part({ n: 11, inner }), parts: [new Part({ n: 12 })] });
  await thing.save();
  const query = new Parse.Query(Thing).include('part.inner', 'parts');
  const stored = await query.get(thing.id);
  assert.equal(stored.get('part').get('inner').get('n'), 10);
  assert.equal(stored.get('parts')[0].get('n'), 12);
  thing.get('part').set('n', 13);
  await thing.save(null, { cascadeSave: false });
  assert.equal((await find(Part, thing.get('part').id)).get('n'), 11);
});

step('fetch, fetchWithInclude and fetchAll', async () => {
  const part = await new Part({ n: 1 }).save();
  const things = await Parse.Object.saveAll([new Thing({ part, v: 1 }), new Thing({ part, v: 2 })]);
  const bare = things.map(thing => Thing.createWithoutData(thing.id));
  await bare[0].fetch();
  assert.equal(bare[0].get('v'), 1);
  assert.equal((await Thing.createWithoutData(things[0].id).fetchWithInclude('part')).get('part').get('n'), 1);
  await Parse.Object.fetchAll(bare);
  assert.deepEqual(bare.map(thing => thing.get('v')), [1, 2]);
  const included = await Parse.Object.fetchAllWithInclude(bare, ['part']);
  assert.equal(included[1].get('part').get('n'), 1);
  const needed = [Thing.createWithoutData(things[1].id)];
  await Parse.Object.fetchAllIfNeeded(needed);
  assert.equal(needed[0].get('v'), 2);
  await refused(Parse.Object.fetchAll([...bare, Thing.createWithoutData('nope')]), 101);
  await refused(Thing.createWithoutData('nope').fetch(), 101, 'Object not found.');
  assert.equal(await bare[0].exists(), true);
  assert.equal(await Thing.createWithoutData('nope').exists(), false);
});

step('destroy, and what is gone stays gone', async () => {
  const thing = await new Thing({ name: 'gone' }).save();
  await thing.destroy();
  await refused(find(Thing, thing.id), 101, 'Object not found.');
  await refused(thing.save({ name: 'back' }), 101, 'Object not found.');
  await refused(thing.destroy(), 101, 'Object not found.');
});

step('saveAll and destroyAll in batches', async () => {
  const many = Array.from({ length: 47 }, (_, rank) => new Parse.Object('Many', { rank }));
  await Parse.Object.saveAll(many);
  assert.equal(new Set(many.map(one => one.id)).size, 47);
  assert.equal(await new Parse.Query('Many').count(), 47);
  many.forEach(one => one.increment('rank', 100));
  await Parse.Object.saveAll(many, { batchSize: 50 });
  assert.deepEqual(many.map(one => one.get('rank')), many.map((_, rank) => rank + 100));
  await Parse.Object.destroyAll(many.slice(7));
  assert.equal(await new Parse.Query('Many').count(), 7);
  const gone = await refused(Parse.Object.destroyAll([many[0], many[20], many[1]]), 600);
  assert.deepEqual(gone.errors.map(error => [error.code, error.object.id]), [[101, many[20].id]]);
  assert.equal(await new Parse.Query('Many').count(), 5);
  const mixed = [new Parse.Object('Many', { rank: 1 }), new Parse.Object('Many', { rank: 'x' })];
  await refused(Parse.Object.saveAll(mixed), 111);
  assert.ok(mixed[0].id);
  assert.equal(mixed[1].id, undefined);
});

step('a transaction is all or nothing', async () => {
  await (await new Parse.Object('Paid', { sum: 0 }).save()).destroy();
  const pair = [new Parse.Object('Paid', { sum: 1 }), new Parse.Object('Paid', { sum: 2 })];
  await Parse.Object.saveAll(pair, { transaction: true });
  pair.forEach(one => one.increment('sum', 10));
  await Parse.Object.saveAll(pair, { transaction: true });
  assert.deepEqual(pair.map(one => one.get('sum')), [11, 12]);
  const bad = [Parse.Object.fromJSON({ className: 'Paid', objectId: pair[0].id })];
  bad[0].set('sum', 99);
  bad.push(new Parse.Object('Paid', { sum: 'many' }));
  await assert.rejects(Parse.Object.saveAll(bad, { transaction: true }));
  const sums = await new Parse.Query('Paid').ascending('sum').find();
  assert.deepEqual(sums.map(one => one.get('sum')), [11, 12]);
  await Parse.Object.destroyAll(pair, { transaction: true });
  assert.equal(await new Parse.Query('Paid').count(), 0);
});

step('relations', async () => {
  const parts = await Parse.Object.saveAll([1, 2, 3].map(n => new Part({ n, kind: 'related' })));
  const thing = await new Thing({ name: 'whole' }).save();
  const relation = thing.relation('pieces');
  relation.add(parts);
  await thing.save();
  relation.remove(parts[0]);
  relation.add(parts[1]);
  await thing.save();
  const ids = (await relation.query().ascending('n').find()).map(part => part.get('n'));
  assert.deepEqual(ids, [2, 3]);
  assert.equal(await relation.query().equalTo('n', 3).count(), 1);
  const owners = await new Parse.Query(Thing).equalTo('pieces', parts[2]).find();
  assert.deepEqual(owners.map(owner => owner.id), [thing.id]);
  const stored = await find(Thing, thing.id);
  assert.equal(stored.relation('pieces').targetClassName, 'Part');
  assert.equal((await stored.relation('pieces').query().find()).length, 2);
  const created = new Thing({ name: 'made with relation' });
  created.relation('pieces').add(parts[0]);
  await created.save();
  assert.equal((await created.relation('pieces').query().first()).id, parts[0].id);
  await refused(new Thing({ pieces: 'x' }).save(), 111);
});

step('types are fixed by the first write', async () => {
  await new Parse.Object('Typed', { n: 1, when: new Date() }).save();
  const error = await refused(new Parse.Object('Typed', { n: 'x' }).save(), 111);
  assert.equal(error.message, 'schema mismatch for Typed.n; expected Number but got String');
  const wrong = await new Parse.Object('Typed', { word: 'w' }).save();
  const blind = Parse.Object.fromJSON({ className: 'Typed', objectId: wrong.id });
  blind.increment('word');
  await assert.rejects(blind.save());
  wrong.set('when', 5);
  await refused(wrong.save(), 111, 'expected Date but got Number');
});

step('names that may not be', async () => {
  const raw = (path, body) => Parse.CoreManager.getRESTController().request('POST', path, body);
  await refused(raw('classes/bad-name', { a: 1 }), 107);
  await refused(raw('classes/Thing', { 'bad-field': 1 }), 105, 'bad-field');
  await refused(raw('classes/Thing', { nested: { $a: 1 } }), 121);
  await refused(raw('classes/Thing', { objectId: 'mine' }), 105);
  await refused(raw('classes/_JobStatus', { a: 1 }), 119);
  await refused(raw('functions/none', {}), 141, 'Invalid function: "none"');
});

step('ACLs of nobody, and of everybody', async () => {
  const thing = new Thing({ name: 'locked' });
  thing.setACL(new Parse.ACL());
  await thing.save();
  await refused(find(Thing, thing.id), 101);
  await refused(thing.save({ name: 'x' }), 101);
  const stored = await new Parse.Query(Thing).get(thing.id, master);
  assert.deepEqual(stored.getACL().toJSON(), {});
  const open = new Parse.ACL();
  open.setPublicReadAccess(true);
  await stored.save({ ACL: open }, master);
  assert.deepEqual((await find(Thing, thing.id)).getACL().toJSON(), { '*': { read: true } });
  await refused(thing.destroy(), 101);
  await thing.destroy(master);
});

step('hooks may change, refuse and see the context', async () => {
  const hooked = new Parse.Object('Hooked', { draft: 'd' });
  await hooked.save(null, { context: { label: 'from context' } });
  assert.equal(hooked.get('rank'), 1);
  assert.equal(hooked.get('label'), 'from context');
  assert.equal(hooked.has('draft'), false);
  await hooked.save({ title: 't' });
  assert.equal(hooked.get('rank'), 2);
  await refused(hooked.save({ bad: true }), 142, 'No bad ones.');
  hooked.revert();
  await hooked.save({ kept: true });
  await refused(hooked.destroy(), 142, 'It stays.');
});

step('a save that may wait, and one that is sent twice', async () => {
  const later = new Thing({ name: 'later' });
  await later.saveEventually();
  assert.ok(later.id);
  Parse.CoreManager.set('IDEMPOTENCY', true);
  const once = await new Thing({ name: 'once' }).save();
  Parse.CoreManager.set('IDEMPOTENCY', false);
  assert.ok(once.id);
});

step('subclasses, clones and JSON', async () => {
  class Car extends Parse.Object {
    constructor() {
      super('Car');
    }

    wheels() {
      return this.get('wheels');
    }
  }
  Parse.Object.registerSubclass('Car', Car);
  const car = new Car();
  await car.save({ wheels: 4 });
  const stored = await new Parse.Query(Car).first();
  assert.ok(stored instanceof Car);
  assert.equal(stored.wheels(), 4);
  const copy = stored.clone();
  await copy.save({ wheels: 3 });
  assert.notEqual(copy.id, stored.id);
  const again = Parse.Object.fromJSON({ className: 'Car', ...stored.toJSON() });
  assert.equal(again.wheels(), 4);
});

run();
