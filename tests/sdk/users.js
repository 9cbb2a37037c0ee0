// Parse.User, Session, Role and ACL against a server: `node users.js URL`.
'use strict';

const { Parse, assert, forget, master, refused, run, someone, soon, step } = require('./steps');

const { User } = Parse;
const Note = Parse.Object.extend('UserNote');
const token = () => User.current().getSessionToken();
const sessions = user =>
  new Parse.Query(Parse.Session).equalTo('user', user).find(master);

// A log-in ends the session of the same installation.
function otherDevice() {
  Parse.CoreManager.getInstallationController()._setInstallationIdCache(`device-${Math.random()}`);
}

step('sign up', async () => {
  const user = new User({ username: 'ann', password: 'secret', email: 'ann@example.com', phone: '1' });
  await user.signUp();
  assert.match(user.getSessionToken(), /^r:[0-9a-f]{32}$/);
  assert.ok(user.authenticated() && user.isCurrent());
  assert.equal(user.get('password'), undefined);
  assert.equal(user.getEmail(), 'ann@example.com');
  await refused(User.signUp('ann', 'x'), 202, 'Account already exists for this username.');
  await refused(User.signUp('ann2', 'x', { email: 'ann@example.com' }), 203);
  await refused(new User({ username: 'x' }).signUp(), -1);
});

step('log out and log in', async () => {
  const old = token();
  await User.logOut();
  assert.equal(User.current(), null);
  await soon(() => refused(User.become(old), 209, 'Invalid session token'));
  await refused(User.logIn('ann', 'wrong'), 101, 'Invalid username/password.');
  await refused(User.logIn('nobody', 'secret'), 101, 'Invalid username/password.');
  const user = await User.logIn('ann', 'secret');
  assert.equal(user.get('phone'), '1');
  assert.notEqual(user.getSessionToken(), old);
  assert.equal(User.current().id, user.id);
  const byPost = await User.logIn('ann', 'secret', { usePost: false });
  assert.equal(byPost.id, user.id);
});

step('become, me, hydrate and the current session', async () => {
  const first = token();
  const other = await User.me(first);
  assert.equal(other.get('username'), 'ann');
  await User.logOut();
  await refused(User.me('r:00000000000000000000000000000000'), 209);
  const user = await User.logIn('ann', 'secret');
  const became = await User.become(user.getSessionToken());
  assert.equal(became.id, user.id);
  const session = await Parse.Session.current();
  assert.equal(session.getSessionToken(), user.getSessionToken());
  assert.equal(session.get('user').id, user.id);
  assert.deepEqual(session.get('createdWith'), { action: 'login', authProvider: 'password' });
  assert.ok(session.get('expiresAt') > new Date());
  assert.equal(Parse.Session.isCurrentSessionRevocable(), true);
});

step('update oneself, not others', async () => {
  const ann = User.current();
  assert.equal((await new Parse.Query(User).get(ann.id)).getEmail(), 'ann@example.com');
  await ann.save({ phone: '2', nested: { a: 1 } });
  ann.increment('visits');
  await ann.save();
  assert.equal(ann.get('visits'), 1);
  assert.equal((await new Parse.Query(User).get(ann.id)).get('phone'), '2');
  const eve = await someone('eve');
  const stranger = User.createWithoutData(ann.id);
  await refused(stranger.save({ phone: 'evil' }, eve.as), 206);
  await refused(stranger.destroy(eve.as), 206);
  await refused(new Parse.Query(User).get(ann.id, eve.as), 101);
  const session = { sessionToken: ann.getSessionToken() };
  const open = new Parse.ACL(ann);
  open.setPublicReadAccess(true);
  await ann.save({ ACL: open }, session);
  const seen = await new Parse.Query(User).equalTo('objectId', ann.id).first({ ...eve.as, json: true });
  assert.deepEqual([seen.email, seen.phone], [undefined, '2']);
  await refused(User.createWithoutData(ann.id).save({ phone: 'x' }), 206);
  await ann.fetch(session);
  assert.equal(ann.getEmail(), 'ann@example.com');
});

step('a new password ends the other sessions', async () => {
  const first = await someone('paul');
  otherDevice();
  await User.logIn('paul', 'secret');
  const before = token();
  assert.equal((await sessions(first.user)).length, 2);
  const paul = User.current();
  paul.setPassword('better');
  await paul.save();
  const after = token();
  assert.notEqual(after, before);
  await forget();
  await soon(() => refused(User.me(first.sessionToken), 209));
  await soon(() => refused(User.me(before), 209));
  assert.equal((await User.me(after)).id, first.id);
  await refused(User.logIn('paul', 'secret'), 101);
  const reset = User.createWithoutData(first.id);
  reset.setPassword('reset');
  await reset.save(null, master);
  await soon(() => refused(User.me(after), 209));
  assert.equal((await User.logIn('paul', 'reset')).id, first.id);
  await User.logOut();
});

step('verifyPassword and loginAs', async () => {
  const user = await someone('vera');
  assert.equal((await User.verifyPassword('vera', 'secret')).objectId, user.id);
  await refused(User.verifyPassword('vera', 'wrong'), 101);
  const acting = await User.loginAs(user.id);
  assert.equal(acting.id, user.id);
  assert.match(acting.getSessionToken(), /^r:/);
  await User.logOut();
});

step('a user is destroyed, and so are its sessions', async () => {
  const { user, as, sessionToken } = await someone('gone');
  await user.destroy(as);
  await soon(() => refused(User.me(sessionToken), 209));
  await refused(User.logIn('gone', 'secret'), 101);
});

step('anonymous users, and making them known', async () => {
  const ghost = await Parse.AnonymousUtils.logIn();
  assert.equal(Parse.AnonymousUtils.isLinked(ghost), true);
  assert.ok(ghost.getUsername());
  const note = await new Note({ text: 'mine', ACL: new Parse.ACL(ghost) }).save();
  const session = await Parse.Session.current();
  assert.equal(session.get('createdWith').authProvider, 'anonymous');
  const id = ghost.id;
  ghost.setUsername('casper');
  ghost.setPassword('boo');
  await ghost.signUp();
  assert.equal(ghost.id, id);
  assert.equal(Parse.AnonymousUtils.isLinked(ghost), false);
  await User.logOut();
  const known = await User.logIn('casper', 'boo');
  assert.equal(known.id, id);
  assert.equal((await new Parse.Query(Note).get(note.id)).get('text'), 'mine');
  const stored = await new Parse.Query(User).get(id, master);
  assert.ok(!(stored.get('authData') || {}).anonymous);
  await User.logOut();
  await refused(new Parse.Query(Note).get(note.id), 101);
});

step('a provider of its own', async () => {
  const badge = pin => ({ authData: { id: 'b1', pin } });
  await refused(User.logInWith('badge', badge('0')), 101, 'Wrong pin.');
  const user = await User.logInWith('badge', badge('1234'));
  assert.equal(user._isLinked('badge'), true);
  const session = await Parse.Session.current();
  assert.deepEqual(session.get('createdWith'), { action: 'login', authProvider: 'badge' });
  const id = user.id;
  await User.logOut();
  const again = await User.logInWith('badge', badge('1234'));
  assert.equal(again.id, id);
  assert.equal(again.existed(), true);
  await again._unlinkFrom('badge');
  assert.equal(again._isLinked('badge'), false);
  await User.logOut();
  const other = await User.logInWith('badge', badge('1234'));
  assert.notEqual(other.id, id);
  await User.logOut();
  await refused(User.logInWith('nobody', { authData: { id: '1' } }), 252);
});

step('linking a provider to a user', async () => {
  const { user, as } = await someone('linda');
  await user.linkWith('badge', { authData: { id: 'b2', pin: '1234' } }, as);
  const back = await User.logInWith('badge', { authData: { id: 'b2', pin: '1234' } });
  assert.equal(back.id, user.id);
  await User.logOut();
  const rival = await someone('rival');
  const take = rival.user.linkWith('badge', { authData: { id: 'b2', pin: '1234' } }, rival.as);
  await refused(take, 208);
});

step('a password and a provider together', async () => {
  await someone('double');
  const badge = { badge: { id: 'b3', pin: '1234' } };
  const user = await User.logInWithAdditionalAuth('double', 'secret', badge);
  assert.equal(user._isLinked('badge'), true);
  const session = await Parse.Session.current();
  await session.save({ device: 'phone' });
  assert.equal((await Parse.Session.current()).get('device'), 'phone');
  await User.logOut();
});

step('anonymity for a user who is known', async () => {
  const { user, as } = await someone('masked');
  await Parse.AnonymousUtils.link(user, as);
  assert.equal(Parse.AnonymousUtils.isLinked(user), true);
  await forget();
});

step('an installation', async () => {
  const installation = await Parse.Installation.currentInstallation();
  await installation.save({ deviceType: 'embedded' });
  assert.ok(installation.id);
  await installation.save({ badge: 3 });
  const stored = await new Parse.Query(Parse.Installation).get(installation.id, master);
  assert.deepEqual([stored.get('deviceType'), stored.get('badge')], ['embedded', 3]);
  await refused(new Parse.Query(Parse.Installation).find(), 119);
});

step('sessions are seen and ended by their user only', async () => {
  const ann = await someone('sam');
  const eve = await someone('sneak');
  const mine = await new Parse.Query(Parse.Session).find(ann.as);
  assert.deepEqual(mine.map(session => session.get('user').id), [ann.id]);
  await refused(new Parse.Query(Parse.Session).get(mine[0].id, eve.as), 101);
  await refused(new Parse.Query(Parse.Session).find(), 209);
  await refused(mine[0].destroy(eve.as), 101);
  await mine[0].destroy(ann.as);
  await soon(() => refused(User.me(ann.sessionToken), 209));
});

step('a session that ended is refused everywhere', async () => {
  const { user, as, sessionToken } = await someone('tabs');
  await User.become(sessionToken);
  await User.logOut();
  assert.deepEqual(await sessions(user), []);
  const error = await soon(() => refused(new Note({ a: 1 }).save(null, as), 209));
  assert.equal(error.message, 'Invalid session token');
});

step('ACLs of users', async () => {
  const [ann, bob] = [await someone('acl-ann'), await someone('acl-bob')];
  const acl = new Parse.ACL(ann.user);
  acl.setReadAccess(bob.user, true);
  const note = await new Note({ text: 'x', ACL: acl }).save(null, ann.as);
  const get = who => new Parse.Query(Note).get(note.id, who);
  assert.equal((await get(bob.as)).get('text'), 'x');
  await refused(get({}), 101);
  await refused(Note.createWithoutData(note.id).save({ text: 'y' }, bob.as), 101);
  acl.setReadAccess(bob.user, false);
  await note.save({ ACL: acl }, ann.as);
  await refused(get(bob.as), 101);
  assert.equal((await get(ann.as)).getACL().getWriteAccess(ann.user), true);
  assert.equal(await new Parse.Query(Note).equalTo('text', 'x').count(bob.as), 0);
});

step('roles, and roles in roles', async () => {
  const [boss, clerk, guest] = [await someone('boss'), await someone('clerk'), await someone('guest')];
  const open = new Parse.ACL();
  open.setPublicReadAccess(true);
  const clerks = new Parse.Role('Clerks', open);
  clerks.getUsers().add(clerk.user);
  await clerks.save(null, master);
  const bosses = new Parse.Role('Bosses', open);
  bosses.getUsers().add(boss.user);
  await bosses.save(null, master);
  clerks.getRoles().add(bosses);
  await clerks.save(null, master);

  const acl = new Parse.ACL();
  acl.setRoleReadAccess('Clerks', true);
  acl.setRoleWriteAccess(bosses, true);
  const note = await new Note({ text: 'roles', ACL: acl }).save(null, master);
  const get = who => new Parse.Query(Note).get(note.id, who);
  assert.equal((await get(clerk.as)).get('text'), 'roles');
  assert.equal((await soon(() => get(boss.as))).get('text'), 'roles');
  await refused(get(guest.as), 101);
  await refused(Note.createWithoutData(note.id).save({ text: 'c' }, clerk.as), 101);
  await Note.createWithoutData(note.id).save({ text: 'b' }, boss.as);

  clerks.getUsers().remove(clerk.user);
  await clerks.save(null, master);
  await soon(() => refused(get(clerk.as), 101));
  clerks.getRoles().remove(bosses);
  await clerks.save(null, master);
  await soon(() => refused(get(boss.as), 101));

  const listed = await new Parse.Query(Parse.Role).equalTo('name', 'Bosses').first();
  assert.equal(listed.getName(), 'Bosses');
  const members = await listed.getUsers().query().find(master);
  assert.deepEqual(members.map(user => user.id), [boss.id]);
  await refused(listed.save({ label: 'x' }, guest.as), 101);
  await refused(new Parse.Role('Bosses', open).save(null, master), 137);
  await clerks.destroy(master);
});

step('users who may not be listed by others', async () => {
  const hidden = await someone('hidden');
  hidden.user.setACL(new Parse.ACL(hidden.user));
  await hidden.user.save(null, hidden.as);
  const everybody = await new Parse.Query(User).equalTo('username', 'hidden').find();
  assert.deepEqual(everybody, []);
  assert.equal((await new Parse.Query(User).get(hidden.id, hidden.as)).id, hidden.id);
});

step('a wrong key', async () => {
  Parse.CoreManager.set('APPLICATION_ID', 'other');
  const error = await new Note({ a: 1 }).save().catch(reason => reason);
  Parse.CoreManager.set('APPLICATION_ID', 'app');
  assert.equal(error.message, 'unauthorized');
});

run();
