// The cloud code that the benchmark calls; main.py is the same for Pestle.
'use strict';

Parse.Cloud.define('hello', request => `Hello ${request.params.name}`);

Parse.Cloud.beforeSave('Hooked', request => {
  request.object.set('slug', request.object.get('title').toLowerCase().replaceAll(' ', '-'));
});
