// Parse.Query against a server: `node queries.js URL`.
'use strict';

const { Parse, assert, master, refused, run, step } = require('./steps');

const City = Parse.Object.extend('City');
const Team = Parse.Object.extend('Team');
const Land = Parse.Object.extend('Land');

const cities = () => new Parse.Query(City);
const names = list => list.map(one => one.get('name'));
const found = async query => names(await query.ascending('name').find());
const when = day => new Date(Date.UTC(2024, 0, day));
let ids = {};

step('the data', async () => {
  const lands = await Parse.Object.saveAll([
    new Land({ name: 'Italy', size: 3 }),
    new Land({ name: 'France', size: 5 }),
  ]);
  const [italy, france] = lands;
  const rows = [
    { name: 'Rome', rank: 1, tags: ['old', 'warm'], land: italy, at: [41.9, 12.5], day: 1 },
    { name: 'Milan', rank: 2, tags: ['new'], land: italy, at: [45.46, 9.19], day: 2 },
    { name: 'Paris', rank: 3, tags: ['old', 'big', 'new'], land: france, at: [48.85, 2.35], day: 3 },
    { name: 'Lyon', rank: 4, tags: [], land: france, at: [45.76, 4.84], day: 4 },
    { name: 'Atlantis', rank: null, info: { depth: 9, people: { count: 0 } }, day: 5 },
  ];
  const made = rows.map(({ at, day, ...row }) => {
    const city = new City({ ...row, founded: when(day), even: day % 2 === 0 });
    if (at) city.set('at', new Parse.GeoPoint(at));
    return city;
  });
  await Parse.Object.saveAll(made);
  ids = Object.fromEntries(made.map(city => [city.get('name'), city.id]));
  await Parse.Object.saveAll([
    new Team({ name: 'Lupi', town: 'Rome', city: made[0], won: 7 }),
    new Team({ name: 'Inter', town: 'Milan', city: made[1], won: 9 }),
    new Team({ name: 'Loners', town: 'Nowhere', won: 0 }),
  ]);
  const square = new Parse.Polygon([[40, 10], [40, 15], [43, 15], [43, 10]]);
  await new Parse.Object('Region', { name: 'Lazio', area: square }).save();
});

const asked = {
  equalTo: [q => q.equalTo('name', 'Rome'), 'Rome'],
  'equalTo a date': [q => q.equalTo('founded', when(2)), 'Milan'],
  'equalTo in a list': [q => q.equalTo('tags', 'old'), 'Paris Rome'],
  'equalTo an undefined value': [q => q.equalTo('rank', undefined), ''],
  'equalTo null': [q => q.equalTo('rank', null), 'Atlantis'],
  'equalTo a dotted key': [q => q.equalTo('info.people.count', 0), 'Atlantis'],
  'equalTo a boolean': [q => q.equalTo('even', true), 'Lyon Milan'],
  notEqualTo: [q => q.notEqualTo('name', 'Rome'), 'Atlantis Lyon Milan Paris'],
  lessThan: [q => q.lessThan('rank', 2), 'Rome'],
  lessThanOrEqualTo: [q => q.lessThanOrEqualTo('rank', 2), 'Milan Rome'],
  greaterThan: [q => q.greaterThan('founded', when(3)), 'Atlantis Lyon'],
  greaterThanOrEqualTo: [q => q.greaterThanOrEqualTo('rank', 3), 'Lyon Paris'],
  'a range': [q => q.greaterThan('rank', 1).lessThan('rank', 4), 'Milan Paris'],
  containedIn: [q => q.containedIn('name', ['Rome', 'Lyon', 'Oz']), 'Lyon Rome'],
  'containedIn nothing': [q => q.containedIn('name', []), ''],
  notContainedIn: [q => q.notContainedIn('rank', [1, 2]), 'Atlantis Lyon Paris'],
  containsAll: [q => q.containsAll('tags', ['new', 'old']), 'Paris'],
  containedBy: [q => q.containedBy('tags', ['old', 'warm', 'cold']), 'Atlantis Lyon Rome'],
  containsAllStartingWith: [q => q.containsAllStartingWith('tags', ['ne', 'ol']), 'Paris'],
  exists: [q => q.exists('land'), 'Lyon Milan Paris Rome'],
  doesNotExist: [q => q.doesNotExist('land'), 'Atlantis'],
  matches: [q => q.matches('name', /^[MP]/), 'Milan Paris'],
  'matches ignoring case': [q => q.matches('name', /^r/i), 'Rome'],
  'matches with modifiers': [q => q.matches('name', '^r', 'i'), 'Rome'],
  startsWith: [q => q.startsWith('name', 'Ro'), 'Rome'],
  endsWith: [q => q.endsWith('name', 'n'), 'Lyon Milan'],
  contains: [q => q.contains('name', 'a'), 'Milan Paris Atlantis'],
  'a pattern with quotes in it': [q => q.contains('name', '\\E.*\\Q'), ''],
  'equalTo a pointer': [q => q.equalTo('objectId', ids.Rome), 'Rome'],
  matchesQuery: [
    q => q.matchesQuery('land', new Parse.Query(Land).greaterThan('size', 4)),
    'Lyon Paris',
  ],
  doesNotMatchQuery: [
    q => q.doesNotMatchQuery('land', new Parse.Query(Land).equalTo('name', 'Italy')),
    'Atlantis Lyon Paris',
  ],
  matchesKeyInQuery: [q => q.matchesKeyInQuery('name', 'town', new Parse.Query(Team)), 'Milan Rome'],
  doesNotMatchKeyInQuery: [
    q => q.doesNotMatchKeyInQuery('name', 'town', new Parse.Query(Team).greaterThan('won', 8)),
    'Atlantis Lyon Paris Rome',
  ],
  'near, within kilometres': [
    q => q.withinKilometers('at', new Parse.GeoPoint(45.4, 9), 400),
    'Lyon Milan',
  ],
  withinMiles: [q => q.withinMiles('at', new Parse.GeoPoint(45.4, 9), 30), 'Milan'],
  withinRadians: [q => q.withinRadians('at', new Parse.GeoPoint(45.4, 9), 0.01), 'Milan'],
  'unsorted distance': [
    q => q.withinKilometers('at', new Parse.GeoPoint(45.4, 9), 400, false),
    'Lyon Milan',
  ],
  withinGeoBox: [
    q => q.withinGeoBox('at', new Parse.GeoPoint(40, 8), new Parse.GeoPoint(46, 13)),
    'Milan Rome',
  ],
  withinPolygon: [
    q =>
      q.withinPolygon('at', [
        new Parse.GeoPoint(44, 1),
        new Parse.GeoPoint(50, 1),
        new Parse.GeoPoint(50, 6),
        new Parse.GeoPoint(44, 6),
      ]),
    'Lyon Paris',
  ],
};

for (const [name, [condition, expected]] of Object.entries(asked)) {
  step(name, async () => {
    const query = cities();
    condition(query);
    const wanted = expected ? expected.split(' ').sort() : [];
    assert.deepEqual((await found(query)).sort(), wanted);
    if (!/near|Miles|Radians/.test(name)) assert.equal(await query.count(), wanted.length, 'count');
  });
}

step('polygonContains', async () => {
  const regions = point => new Parse.Query('Region').polygonContains('area', point).count();
  assert.equal(await regions(new Parse.GeoPoint(41.9, 12.5)), 1);
  assert.equal(await regions(new Parse.GeoPoint(50, 12.5)), 0);
});

step('near sorts by distance', async () => {
  const near = await cities().near('at', new Parse.GeoPoint(45.4, 9)).limit(3).find();
  assert.deepEqual(names(near), ['Milan', 'Lyon', 'Rome']);
});

step('or, and, nor', async () => {
  const small = cities().lessThan('rank', 2);
  const old = cities().equalTo('tags', 'old');
  const french = cities().matchesQuery('land', new Parse.Query(Land).equalTo('name', 'France'));
  assert.deepEqual(await found(Parse.Query.or(small, french)), ['Lyon', 'Paris', 'Rome']);
  assert.deepEqual(await found(Parse.Query.and(old, french)), ['Paris']);
  assert.deepEqual(await found(Parse.Query.nor(old, french)), ['Atlantis', 'Milan']);
  const both = Parse.Query.or(small, french).equalTo('tags', 'big');
  assert.deepEqual(await found(both), ['Paris']);
  assert.equal(await Parse.Query.or(small, old).count(), 2);
});

step('order', async () => {
  assert.deepEqual(names(await cities().descending('rank').limit(2).find()), ['Lyon', 'Paris']);
  const twice = cities().ascending('even').addDescending('rank').exists('land');
  assert.deepEqual(names(await twice.find()), ['Paris', 'Rome', 'Lyon', 'Milan']);
  const created = cities().descending('createdAt', 'name').limit(1);
  assert.equal((await created.find()).length, 1);
});

step('limit, skip, first, get, count and withCount', async () => {
  const ordered = () => cities().ascending('name');
  assert.deepEqual(names(await ordered().skip(1).limit(2).find()), ['Lyon', 'Milan']);
  assert.deepEqual(await ordered().limit(0).find(), []);
  assert.equal((await ordered().first()).get('name'), 'Atlantis');
  assert.equal(await cities().equalTo('name', 'Oz').first(), undefined);
  assert.equal((await cities().get(ids.Lyon)).get('name'), 'Lyon');
  await refused(cities().get('nope'), 101, 'Object not found.');
  assert.equal(await cities().count(), 5);
  assert.equal(await cities().limit(2).count(), 5);
  const { results, count } = await ordered().limit(2).withCount().find();
  assert.deepEqual([names(results), count], [['Atlantis', 'Lyon'], 5]);
  const page = await cities().equalTo('name', 'Oz').withCount().find();
  assert.deepEqual(page, { results: [], count: 0 });
});

step('include, includeAll, select and exclude', async () => {
  const rome = () => cities().equalTo('name', 'Rome');
  assert.equal((await rome().first()).get('land').isDataAvailable(), false);
  assert.equal((await rome().include('land').first()).get('land').get('name'), 'Italy');
  assert.equal((await rome().includeAll().first()).get('land').get('size'), 3);
  const team = new Parse.Query(Team).equalTo('name', 'Lupi').include(['city.land']);
  assert.equal((await team.first()).get('city').get('land').get('name'), 'Italy');
  Parse.Object.disableSingleInstance();
  const picked = await rome().select('rank', 'land.name').include('land').first();
  const keys = Object.keys(picked.attributes).sort();
  assert.deepEqual(keys, ['createdAt', 'land', 'rank', 'updatedAt']);
  assert.equal(picked.get('land').get('name'), 'Italy');
  assert.equal(picked.get('land').get('size'), undefined);
  const most = await rome().exclude('tags', 'at').first();
  assert.equal(most.get('tags'), undefined);
  assert.equal(most.get('rank'), 1);
  Parse.Object.enableSingleInstance();
});

step('each, eachBatch, map, filter, reduce and findAll', async () => {
  const seen = [];
  await cities().each(city => void seen.push(city.get('name')), { batchSize: 2 });
  assert.deepEqual(seen.sort(), ['Atlantis', 'Lyon', 'Milan', 'Paris', 'Rome']);
  const sizes = [];
  await cities().eachBatch(batch => void sizes.push(batch.length), { batchSize: 2 });
  assert.deepEqual(sizes, [2, 2, 1]);
  assert.equal((await cities().map(city => city.id)).length, 5);
  assert.deepEqual(names(await cities().filter(city => city.get('rank') === 4)), ['Lyon']);
  assert.equal(await cities().reduce((sum, city) => sum + (city.get('rank') || 0), 0), 10);
  assert.equal((await cities().findAll()).length, 5);
});

step('a query as JSON, a hint, a comment and an explanation', async () => {
  const query = Parse.Query.fromJSON('City', { where: { rank: { $gt: 2 } }, order: '-rank' });
  assert.deepEqual(names(await query.find()), ['Lyon', 'Paris']);
  assert.equal((await cities().hint('_id_').comment('why').find()).length, 5);
  const explained = await cities().equalTo('name', 'Rome').explain().find(master);
  const plan = Array.isArray(explained) ? explained[0] : explained;
  assert.ok(plan.queryPlanner, JSON.stringify(explained));
});

step('a query that prefers other readers, and one given up', async () => {
  assert.equal((await cities().readPreference('SECONDARY_PREFERRED').find()).length, 5);
  const given = cities();
  const results = given.find();
  given.cancel();
  assert.deepEqual(await results, []);
});

step('relations and $relatedTo', async () => {
  const country = await new Land({ name: 'Union' }).save();
  const list = await cities().exists('land').find();
  country.relation('towns').add(list);
  await country.save();
  const towns = () => country.relation('towns').query();
  assert.equal(await towns().count(), 4);
  assert.deepEqual(await found(towns().equalTo('even', true)), ['Lyon', 'Milan']);
  assert.deepEqual(names(await towns().descending('rank').skip(1).limit(1).find()), ['Paris']);
  const unions = new Parse.Query(Land).equalTo('towns', list[0]);
  assert.deepEqual(names(await unions.find()), ['Union']);
});

step('pointers and dates in conditions', async () => {
  const rome = City.createWithoutData(ids.Rome);
  assert.deepEqual(names(await new Parse.Query(Team).equalTo('city', rome).find()), ['Lupi']);
  const among = new Parse.Query(Team).containedIn('city', [rome, City.createWithoutData('x')]);
  assert.equal(await among.count(), 1);
  assert.equal(await new Parse.Query(Team).notEqualTo('city', rome).count(), 2);
  const before = cities().lessThanOrEqualTo('createdAt', new Date(Date.now() + 60000));
  assert.equal(await before.count(), 5);
  assert.equal(await cities().greaterThan('updatedAt', new Date(Date.now() + 60000)).count(), 0);
});

step('what may not be asked', async () => {
  const bad = (key, condition) => {
    const query = cities();
    query._addCondition('name', key, condition);
    return query.find();
  };
  await refused(bad('$where', '1'), 107, 'bad constraint: $where');
  await refused(bad('$in', 'x'), 107);
  await refused(bad('$regex', 5), 102, '$regex value must be a string');
  await refused(new Parse.Query('_JobStatus').find(), 119);
  await refused(cities().equalTo('_hidden', 'x').find(), 105, 'Invalid key name: _hidden');
  assert.deepEqual(await new Parse.Query('NeverSeen').find(), []);
  assert.equal(await new Parse.Query('NeverSeen').count(), 0);
  await refused(new Parse.Query('NeverSeen').get('x'), 101);
});

run();
