// Cloud code of the SDK scripts for Parse Server; main.py is the same for Pestle.
'use strict';

Parse.Cloud.define('echo', request => request.params);

Parse.Cloud.define('kinds', request => ({
  date: request.params.date instanceof Date,
  point: request.params.point,
  list: request.params.list,
}));

Parse.Cloud.define('who', request => ({
  user: request.user ? request.user.get('username') : null,
  master: request.master,
  context: request.context,
}));

Parse.Cloud.define('values', async () => {
  const note = new Parse.Object('CloudNote');
  await note.save({ title: 'made', when: new Date(0) });
  return {
    note,
    list: [note.toPointer(), 1],
    date: new Date(1e12),
    point: new Parse.GeoPoint(1, 2),
    none: null,
  };
});

Parse.Cloud.define('nothing', () => undefined);

Parse.Cloud.define('fail', request => {
  throw new Parse.Error(request.params.code, request.params.message);
});

Parse.Cloud.define('crash', () => {
  throw new Error('out of paper');
});

Parse.Cloud.define('private', () => 'for users', { requireUser: true });

Parse.Cloud.define('masters', () => 'for the master', { requireMaster: true });

Parse.Cloud.define('checked', request => request.params.count, {
  fields: { count: { required: true, type: Number }, kind: { default: 'plain' } },
});

Parse.Cloud.beforeSave('Hooked', request => {
  const { object } = request;
  if (object.get('bad')) throw new Parse.Error(142, 'No bad ones.');
  object.set('rank', (object.get('rank') || 0) + 1);
  if (request.context.label) object.set('label', request.context.label);
  object.unset('draft');
});

Parse.Cloud.beforeDelete('Hooked', request => {
  if (request.object.get('kept')) throw new Parse.Error(142, 'It stays.');
});
