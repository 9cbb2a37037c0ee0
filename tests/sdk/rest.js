// Files, cloud functions, schemas, hooks and geometry through the SDK: `node rest.js URL`.
'use strict';

const http = require('node:http');

const { Parse, assert, master, refused, run, someone, soon, step } = require('./steps');

const { Cloud, Hooks, Schema } = Parse;

async function download(url, headers = {}) {
  const answer = await fetch(url, { headers });
  const { status } = answer;
  return { status, type: answer.headers.get('content-type'), text: await answer.text() };
}

step('a file from base64, and its use in an object', async () => {
  const file = new Parse.File('hello.txt', { base64: Buffer.from('hello').toString('base64') });
  await file.save(master);
  assert.match(file.name(), /^[0-9a-f]{32}_hello\.txt$/);
  const got = await download(file.url());
  assert.deepEqual([got.status, got.text], [200, 'hello']);
  assert.match(got.type, /^text\/plain/);
  const paper = await new Parse.Object('Paper', { file, files: [file] }).save();
  const stored = await new Parse.Query('Paper').get(paper.id);
  assert.ok(stored.get('file') instanceof Parse.File);
  assert.equal(stored.get('file').url(), file.url());
  assert.equal(stored.get('files')[0].name(), file.name());
  assert.equal(await stored.get('file').getData(), Buffer.from('hello').toString('base64'));
  const found = await new Parse.Query('Paper').equalTo('file', file).count();
  assert.equal(found, 1);
});

step('a file from bytes, with a type and without an extension', async () => {
  const file = new Parse.File('picture', [1, 2, 255], 'image/png');
  await file.save(master);
  assert.match(file.name(), /_picture\.png$/);
  const answer = await fetch(file.url());
  assert.equal(answer.headers.get('content-type'), 'image/png');
  assert.deepEqual([...new Uint8Array(await answer.arrayBuffer())], [1, 2, 255]);
  const part = await fetch(file.url(), { headers: { Range: 'bytes=1-' } });
  assert.equal(part.status, 206);
  assert.deepEqual([...new Uint8Array(await part.arrayBuffer())], [2, 255]);
});

step('a file with metadata and tags, and a name with odd letters', async () => {
  const file = new Parse.File('my file@1.txt', [65], 'text/plain', { by: 'me' }, { kind: 'x' });
  file.addMetadata('more', 'yes');
  await file.save(master);
  assert.match(file.name(), /_my file@1\.txt$/);
  assert.equal((await download(file.url())).text, 'A');
  const named = encodeURIComponent(file.name());
  const told = await download(`${Parse.serverURL}/files/app/metadata/${named}`);
  assert.deepEqual(JSON.parse(told.text), { metadata: { by: 'me', more: 'yes' } });
});

step('a file from elsewhere, with progress, saved with its object', async () => {
  const told = [];
  const first = new Parse.File('first.txt', [65, 66]);
  await first.save({ ...master, progress: (...values) => told.push(values) });
  assert.equal(told.at(-1)[0], 1);
  const second = new Parse.File('second.txt', { uri: first.url() });
  const paper = await new Parse.Object('Paper', { file: second }).save(null, master);
  assert.equal((await download(paper.get('file').url())).text, 'AB');
});

step('a file is destroyed with the master key', async () => {
  const file = await new Parse.File('bye.txt', [66]).save(master);
  await file.destroy(master);
  assert.equal((await download(file.url())).status, 404);
  await refused(file.destroy(master), 153);
});

step('who may upload what', async () => {
  await refused(new Parse.File('a.txt', [65]).save(), 130, 'File upload by public is disabled.');
  const { as } = await someone('filer');
  const file = await new Parse.File('a.txt', [65]).save(as);
  assert.equal((await download(file.url())).text, 'A');
  await refused(new Parse.File('a.html', [65]).save(as), 130, 'File upload of extension html');
  await refused(new Parse.File('a;b.txt', [65]).save(as), 122);
});

step('functions take and give typed values', async () => {
  const params = { n: 1, list: [1, { a: null }], text: 'é', flag: false };
  assert.deepEqual(await Cloud.run('echo', params), params);
  const kinds = await Cloud.run('kinds', {
    date: new Date(),
    point: new Parse.GeoPoint(3, 4),
    list: [new Date(0)],
  });
  assert.equal(kinds.date, true);
  assert.ok(kinds.point instanceof Parse.GeoPoint);
  assert.equal(+kinds.list[0], 0);
  const made = await Cloud.run('values');
  assert.ok(made.note instanceof Parse.Object);
  assert.equal(made.note.get('title'), 'made');
  assert.equal(+made.note.get('when'), 0);
  assert.equal(made.list[0].id, made.note.id);
  assert.equal(made.list[1], 1);
  assert.equal(+made.date, 1e12);
  assert.ok(made.point.equals(new Parse.GeoPoint(1, 2)));
  assert.equal(made.none, null);
  assert.equal(await Cloud.run('nothing'), undefined);
});

step('functions know their caller', async () => {
  const nobody = { user: null, master: false, context: {} };
  assert.deepEqual(await Cloud.run('who'), nobody);
  assert.deepEqual(await Cloud.run('who', {}, master), { ...nobody, master: true });
  const context = { from: { here: [1] } };
  assert.deepEqual(await Cloud.run('who', {}, { context }), { ...nobody, context });
  const user = await Parse.User.signUp('caller', 'secret');
  const sessionToken = user.getSessionToken();
  assert.equal((await Cloud.run('who', {}, { sessionToken })).user, 'caller');
  assert.equal(await Cloud.run('private', {}, { sessionToken }), 'for users');
  await Parse.User.logOut();
  await soon(() => refused(Cloud.run('who', {}, { sessionToken }), 209));
});

step('functions refuse', async () => {
  await refused(Cloud.run('absent'), 141, 'Invalid function: "absent"');
  await refused(Cloud.run('fail', { code: 4711, message: 'own code' }), 4711, 'own code');
  await refused(Cloud.run('crash'), 141);
  await refused(Cloud.run('private'), 142, 'Validation failed. Please login to continue.');
  await refused(Cloud.run('masters'), 142, 'Validation failed. Master key is required');
  assert.equal(await Cloud.run('masters', {}, master), 'for the master');
  await refused(Cloud.run('checked'), 142, 'Validation failed. Please specify data for count.');
  await refused(Cloud.run('checked', { count: 'x' }), 142, 'Invalid type for count');
  assert.equal(await Cloud.run('checked', { count: 3 }), 3);
});

step('a schema is made, told, changed and deleted', async () => {
  const shelf = new Schema('Shelf');
  shelf
    .addString('title', { required: true })
    .addNumber('height', { defaultValue: 2 })
    .addBoolean('full')
    .addBytes('raw')
    .addDate('built')
    .addFile('plan')
    .addGeoPoint('at')
    .addPolygon('area')
    .addArray('books')
    .addObject('notes')
    .addPointer('owner', '_User')
    .addRelation('readers', '_User')
    .addField('plain', 'String')
    .addIndex('by_title', { title: 1 });
  const made = await shelf.save();
  assert.deepEqual(made.fields.owner, { type: 'Pointer', targetClass: '_User' });
  assert.deepEqual(made.fields.title, { type: 'String', required: true });
  assert.deepEqual(made.fields.height, { type: 'Number', defaultValue: 2 });
  assert.deepEqual(made.fields.readers, { type: 'Relation', targetClass: '_User' });
  assert.deepEqual(made.indexes.by_title, { title: 1 });
  assert.deepEqual((await new Schema('Shelf').get()).fields, made.fields);

  await soon(() => refused(new Parse.Object('Shelf', { height: 1 }).save(), 142, 'title is required'));
  const row = await new Parse.Object('Shelf', { title: 't' }).save();
  assert.equal(row.get('height'), 2);

  const change = new Schema('Shelf');
  change.deleteField('books').deleteIndex('by_title').addString('place');
  change.setCLP({ find: { '*': true }, get: { '*': true }, create: {}, update: {}, delete: {} });
  const changed = await change.update();
  assert.equal(changed.fields.books, undefined);
  assert.deepEqual(changed.fields.place, { type: 'String' });
  assert.equal((changed.indexes || {}).by_title, undefined);
  await soon(() => refused(new Parse.Object('Shelf', { title: 'u' }).save(), 119));
  assert.equal(await new Parse.Query('Shelf').equalTo('title', 't').first().then(one => one.id), row.id);

  const listed = (await Schema.all()).map(one => one.className);
  assert.ok(listed.includes('Shelf') && listed.includes('_User') && listed.includes('_Role'));
  await refused(new Schema('Shelf').delete(), 255, 'Class Shelf is not empty, contains 1 objects');
  await new Schema('Shelf').purge();
  assert.deepEqual(await new Parse.Query('Shelf').find(), []);
  await new Schema('Shelf').delete();
  await soon(() => refused(new Schema('Shelf').get(), 103, 'Class Shelf does not exist.'));
});

step('schemas refuse', async () => {
  const shelf = new Schema('Refused');
  await shelf.addString('title').save();
  await refused(shelf.save(), 103, 'Class Refused already exists.');
  await refused(new Schema('Refused').addNumber('title').update(), 255);
  await refused(new Schema('Refused').deleteField('absent').update(), 255);
  await refused(new Schema('bad-name').save(), 103);
  await refused(new Schema('Absent').addString('a').update(), 103);
  const nobody = Parse.CoreManager.getRESTController().request('GET', 'schemas/', {}, {});
  await assert.rejects(nobody, { message: 'Permission denied' });
});

step('class permissions by Parse.CLP', async () => {
  const clp = new Parse.CLP();
  clp.setGetRequiresAuthentication(true);
  clp.setFindRequiresAuthentication(true);
  clp.setCountRequiresAuthentication(true);
  clp.setRoleWriteAccess('Keepers', true);
  clp.setPublicProtectedFields(['secret']);
  await new Schema('Kept').addString('secret').addString('open').setCLP(clp).save();
  const kept = await new Parse.Object('Kept', { secret: 's', open: 'o' }).save(null, master);
  await soon(() => refused(new Parse.Query('Kept').find(), 101));
  await soon(() => refused(new Parse.Object('Kept', { open: 'x' }).save(), 119));
  const { user, as } = await someone('keeper');
  Parse.Object.disableSingleInstance();
  const seen = await new Parse.Query('Kept').get(kept.id, as);
  assert.deepEqual([seen.get('open'), seen.get('secret')], ['o', undefined]);
  Parse.Object.enableSingleInstance();
  await soon(() => refused(new Parse.Object('Kept', { open: 'x' }).save(null, as), 119));
  const keepers = new Parse.Role('Keepers', new Parse.ACL());
  keepers.getUsers().add(user);
  await keepers.save(null, master);
  await soon(() => new Parse.Object('Kept', { open: 'x' }).save(null, as));
  const stored = new Parse.CLP((await new Schema('Kept').get()).classLevelPermissions);
  assert.equal(stored.getRoleWriteAccess('Keepers'), true);
});

step('webhooks are declared, called and removed', async () => {
  const asked = [];
  const listener = http.createServer((request, response) => {
    let body = '';
    request.on('data', chunk => (body += chunk));
    request.on('end', () => {
      const call = JSON.parse(body);
      asked.push(call);
      const isSave = call.triggerName === 'beforeSave';
      const answer = isSave ? { ...call.object, hooked: true } : `hello ${call.params.name}`;
      response.setHeader('Content-Type', 'application/json');
      response.end(JSON.stringify({ success: answer }));
    });
  });
  await new Promise(resolve => listener.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${listener.address().port}/`;

  assert.deepEqual(await Hooks.createFunction('remote', url), { functionName: 'remote', url });
  await refused(Hooks.createFunction('remote', url), 143, 'function name: remote already exists');
  assert.deepEqual(await Hooks.getFunction('remote'), { functionName: 'remote', url });
  assert.deepEqual(await Hooks.getFunctions(), [{ functionName: 'remote', url }]);
  assert.equal(await soon(() => Cloud.run('remote', { name: 'you' })), 'hello you');
  assert.deepEqual([asked[0].params, asked[0].master], [{ name: 'you' }, false]);
  await Hooks.updateFunction('remote', `${url}other`);
  assert.equal((await Hooks.getFunction('remote')).url, `${url}other`);
  assert.deepEqual(await Hooks.removeFunction('remote'), {});
  await refused(Hooks.getFunction('remote'), 143, 'no function named: remote is defined');

  const trigger = { className: 'Posted', triggerName: 'beforeSave', url };
  assert.deepEqual(await Hooks.createTrigger('Posted', 'beforeSave', url), trigger);
  assert.deepEqual(await Hooks.getTrigger('Posted', 'beforeSave'), trigger);
  assert.deepEqual(await Hooks.getTriggers(), [trigger]);
  await soon(async () => {
    const posted = await new Parse.Object('Posted', { n: 1 }).save();
    assert.equal(posted.get('hooked'), true);
  });
  await Hooks.updateTrigger('Posted', 'beforeSave', `${url}x`);
  await Hooks.removeTrigger('Posted', 'beforeSave');
  assert.deepEqual(await Hooks.getTriggers(), []);
  listener.close();
});

step('what the server says of itself', async () => {
  const request = (path, options) =>
    Parse.CoreManager.getRESTController().request('GET', path, {}, options);
  const { features, parseServerVersion } = await request('serverInfo', master);
  assert.match(parseServerVersion, /^\d+\.\d+\.\d+$/);
  assert.equal(features.schemas.addField, true);
  assert.equal(features.hooks.create, true);
  assert.equal(await Parse.getServerHealth().then(health => health.status), 'ok');
});

run();
