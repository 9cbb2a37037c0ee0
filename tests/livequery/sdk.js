// The official SDK against a server: `node sdk.js URL`. Prints what it heard, one JSON per line.
'use strict';

const Parse = require('parse/node');

const url = process.argv[2];
const log = (what, value) => console.log(JSON.stringify([what, value]));

function patience(promise, what) {
  const late = new Promise((_, reject) =>
    setTimeout(() => reject(new Error(`${what} did not come`)), 10000)
  );
  return Promise.race([promise, late]);
}

class Ear {
  constructor(name, subscription) {
    this.name = name;
    this.heard = [];
    this.waiting = [];
    for (const op of ['create', 'update', 'enter', 'leave', 'delete']) {
      subscription.on(op, (object, original) => this.hear(op, object, original));
    }
    subscription.on('error', error => this.hear('error', error));
  }

  hear(op, object, original) {
    const plain = value => {
      if (!value || !value.toJSON) return null;
      const { title, rank } = value.toJSON();
      return { title, rank };
    };
    const event = [op, plain(object), plain(original)];
    const next = this.waiting.shift();
    if (next) next(event);
    else this.heard.push(event);
  }

  next() {
    if (this.heard.length) return Promise.resolve(this.heard.shift());
    return patience(new Promise(resolve => this.waiting.push(resolve)), `an event of ${this.name}`);
  }

  async tell(count = 1) {
    for (let i = 0; i < count; i++) log(this.name, await this.next());
  }
}

async function main() {
  Parse.initialize('app', undefined, 'mk');
  Parse.serverURL = url;
  Parse.CoreManager.set('REQUEST_ATTEMPT_LIMIT', 1);
  const master = { useMasterKey: true };
  const Note = Parse.Object.extend('Note');
  await new Note({ title: 'first', rank: 0 }).save(null, master);

  const user = name => new Parse.User({ username: name, password: 'p' }).signUp();
  const alice = await user('alice');
  await Parse.User.logOut();
  const bob = await user('bob');
  await Parse.User.logOut();

  const listen = async (name, query, session) =>
    new Ear(name, await patience(query.subscribe(session), `subscription ${name}`));
  const high = await listen('high', new Parse.Query(Note).greaterThan('rank', 5));
  const titles = new Parse.Query(Note).exists('title').select('title').watch('title');
  const watching = await listen('watching', titles);
  const mine = await listen('alice', new Parse.Query(Note), alice.getSessionToken());
  const theirs = await listen('bob', new Parse.Query(Note), bob.getSessionToken());

  const note = await new Note({ title: 'n1', rank: 10 }).save(null, master);
  for (const ear of [high, watching, mine, theirs]) await ear.tell();
  await note.save({ rank: 11 }, master);
  for (const ear of [high, mine, theirs]) await ear.tell();
  await note.save({ rank: 1 }, master);
  for (const ear of [high, mine, theirs]) await ear.tell();
  await note.save({ rank: 9, title: 'n2' }, master);
  for (const ear of [high, watching, mine, theirs]) await ear.tell();

  const acl = new Parse.ACL();
  acl.setReadAccess(alice, true);
  await note.save({ ACL: acl }, master);
  for (const ear of [high, watching, mine, theirs]) await ear.tell();
  await note.save({ title: 'secret' }, master);
  await mine.tell();

  const role = new Parse.Role('staff', new Parse.ACL());
  role.getUsers().add(bob);
  await role.save(null, master);
  acl.setRoleReadAccess('staff', true);
  await note.save({ ACL: acl }, master);
  for (const ear of [mine, theirs]) await ear.tell();

  await note.destroy(master);
  for (const ear of [mine, theirs]) await ear.tell();

  const broken = new Parse.Query(Note);
  broken._addCondition('title', '$regex', '(');
  const refused = await broken.subscribe().then(() => 'subscribed', error => error.code || 'refused');
  log('refused', refused);

  const sub = await new Parse.Query(Note).equalTo('title', 'last').subscribe();
  const ended = new Ear('ended', sub);
  await patience(sub.unsubscribe(), 'unsubscribed');
  await new Note({ title: 'last', rank: 1 }).save(null, master);
  for (const ear of [watching, mine, theirs]) await ear.tell();
  log('left over', [high, watching, mine, theirs, ended].map(ear => ear.heard.length));
}

main().then(
  () => process.exit(0),
  error => {
    console.error(error);
    process.exit(1);
  }
);
