// Parse Server as an oracle: one app on 127.0.0.1, described by the environment variable PEER:
// {"port": 1234, "cluster": 0, "options": {...Parse Server's options}}.
'use strict';

const cluster = require('node:cluster');
const http = require('node:http');

const spec = JSON.parse(process.env.PEER);

// Parse Server takes the URI apart and loses the path of a unix socket on the way.
function useTheUriAsGiven() {
  const { MongoClient } = require('mongodb');
  const connect = MongoClient.connect.bind(MongoClient);
  MongoClient.connect = (uri, options) => connect(spec.options.databaseURI, options);
}

async function serve() {
  useTheUriAsGiven();
  const express = require('express');
  const { ParseServer } = require('parse-server');
  const parseServer = new ParseServer({
    serverURL: `http://127.0.0.1:${spec.port}/parse`,
    silent: true,
    logLevel: 'error',
    logsFolder: null,
    verbose: false,
    verifyServerUrl: false,
    ...spec.options,
  });
  await parseServer.start();
  const app = express();
  app.use('/parse', parseServer.app);
  const server = http.createServer(app);
  server.keepAliveTimeout = 120_000;
  server.listen(spec.port, '127.0.0.1', 1024);
  if (!cluster.isWorker) {
    await ParseServer.createLiveQueryServer(server, { appId: spec.options.appId });
  }
}

// Nobody is left who would end us.
const parent = process.ppid;
setInterval(() => process.ppid === parent || process.exit(1), 1000).unref();

if (spec.cluster && cluster.isPrimary) {
  for (let worker = 0; worker < spec.cluster; worker += 1) {
    cluster.fork();
  }
  // A single worker gone means that the run is void.
  cluster.on('exit', () => process.exit(1));
} else {
  serve().catch(error => {
    console.error(error);
    process.exit(1);
  });
}
