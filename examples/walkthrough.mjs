// Both pharmacies with the Parse JavaScript SDK, LiveQuery included, against the root app.
//   npm install parse && node examples/walkthrough.mjs
// PESTLE_URL, PESTLE_APP_ID, PESTLE_MASTER_KEY say where it is; the defaults are `make serve`'s.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const Parse = createRequire(import.meta.url)('parse/node');

const keys = new URL('../.pestle/keys.json', import.meta.url);
const masterKey = process.env.PESTLE_MASTER_KEY ?? JSON.parse(readFileSync(keys)).masterKey;
Parse.initialize(process.env.PESTLE_APP_ID ?? 'pestle', undefined, masterKey);
Parse.serverURL = process.env.PESTLE_URL ?? 'http://localhost:1337/parse';

const run = `${Date.now()}-${process.pid}`;
const master = { useMasterKey: true };
const PATIENCE_MS = 10_000;

function check(what, holds) {
  if (!holds) throw new Error(`FAILED: ${what}`);
  console.log(`ok: ${what}`);
}

async function refused(what, promise, ...codes) {
  const error = await promise.then(() => null, (reason) => reason);
  if (error === null) throw new Error(`FAILED: ${what}: it was allowed`);
  if (!codes.includes(error.code)) throw new Error(`FAILED: ${what}: ${error.code} ${error.message}`);
  console.log(`refused: ${what} (${error.code} ${error.message})`);
}

async function person(name) {
  const user = new Parse.User();
  await user.signUp({ username: `${name}-${run}`, password: `secret-${run}` });
  return { user, as: { sessionToken: user.getSessionToken() } };
}

const logIn = async (name) => {
  const user = await Parse.User.logIn(`${name}-${run}`, `secret-${run}`);
  return { user, as: { sessionToken: user.getSessionToken() } };
};

const make = (className, fields, options) => new Parse.Object(className).save(fields, options);

// Collects the events of a subscription; `next(op)` waits for one of them.
async function watch(query, who) {
  const subscription = await query.subscribe(who.as.sessionToken);
  const events = [];
  let wake = () => {};
  for (const op of ['create', 'update', 'enter', 'leave', 'delete']) {
    subscription.on(op, (object) => {
      events.push({ op, object });
      wake();
    });
  }
  const next = async (op) => {
    const limit = Date.now() + PATIENCE_MS;
    for (;;) {
      const at = events.findIndex((event) => event.op === op);
      if (at >= 0) return events.splice(at, 1)[0].object;
      if (Date.now() > limit) throw new Error(`FAILED: no LiveQuery event '${op}'`);
      await new Promise((resolve) => {
        wake = resolve;
        setTimeout(resolve, 100);
      });
    }
  };
  return { next, events };
}

console.log('People');
await person('alice');
const mallory = await person('mallory');
const peter = await person('peter');
const adam = await person('adam');
await refused(
  'a patient appoints herself',
  Parse.Cloud.run('assignRole', { userId: mallory.user.id, role: 'provider' }, mallory.as),
  119,
);
await Parse.Cloud.run('assignRole', { userId: adam.user.id, role: 'admin' }, master);
await Parse.Cloud.run('assignRole', { userId: peter.user.id, role: 'provider' }, adam.as);

console.log('Home delivery');
const alice = await logIn('alice');
const profile = await make(
  'PatientProfile',
  { user: alice.user, medicalRecordNumber: `MRN-${run}`, displayName: 'Alice' },
  alice.as,
);
const hers = await make(
  'PatientProfile',
  { medicalRecordNumber: `MRN-${run}-2`, displayName: 'Mallory' },
  mallory.as,
);
await refused(
  'a profile for somebody else',
  make('PatientProfile', { user: peter.user, medicalRecordNumber: 'X-1', displayName: 'P' }, mallory.as),
  119,
);
await refused('her profile read by another', new Parse.Query('PatientProfile').get(profile.id, mallory.as), 101);

const order = { medicationName: 'Ibuprofen', dosage: '400 mg' };
await refused('a prescription without a session', make('Prescription', order), 101, 119);
await refused('one for another patient', make('Prescription', { ...order, patient: profile }, mallory.as), 119);
await refused('one that is active at once', make('Prescription', { ...order, status: 'active' }, alice.as), 142);
const prescription = await make('Prescription', order, alice.as);
check('patient and status are filled in', prescription.get('patient').id === profile.id);
check('it is pending', prescription.get('status') === 'pending');
await refused('another patient reads it', new Parse.Query('Prescription').get(prescription.id, mallory.as), 101);

const address = { deliveryAddress: '1 Main Street' };
await refused(
  'a delivery of the prescription of another',
  make('Delivery', { ...address, prescription }, mallory.as),
  101,
);
const delivery = await make('Delivery', { ...address, prescription }, alice.as);
check('the delivery is pending', delivery.get('status') === 'pending');

const news = await watch(new Parse.Query('Notification').equalTo('patient', profile), alice);
const foreignNews = await watch(new Parse.Query('Notification'), mallory);
const moveTo = async (status, who) => {
  const moved = Parse.Object.fromJSON({ className: 'Delivery', objectId: delivery.id });
  await moved.save({ status }, who.as);
  return moved;
};
const signWith = (who, file) =>
  make('Signature', { delivery: Parse.Object.fromJSON({ className: 'Delivery', objectId: delivery.id }), signatureImage: file }, who.as);
const image = new Parse.File('signature.png', { base64: 'iVBORw0KGgo=' }, 'image/png');
await image.save(alice.as);

await refused('a patient moves her delivery', moveTo('out_for_delivery', alice), 119);
await refused('another patient moves it', moveTo('out_for_delivery', mallory), 101);
await refused('a jump over a step', moveTo('delivered', peter), 142);
await refused('a signature before it is on its way', signWith(alice, image), 142);
await moveTo('out_for_delivery', peter);
check('LiveQuery shows the notification', /on its way/.test((await news.next('create')).get('message')));
await refused('a step back', moveTo('pending', peter), 142);
const delivered = await moveTo('delivered', peter);
check('the server sets deliveredAt', delivered.get('deliveredAt') instanceof Date);
const arrived = await news.next('create');
check('and the next notification', /arrived/.test(arrived.get('message')));
await refused('failed after delivered', moveTo('failed', peter), 142);

await refused('a signature by another patient', signWith(mallory, image), 101);
await refused('a signature by the provider', signWith(peter, image), 119);
await refused('a signature without a file', signWith(alice, undefined), 142);
await signWith(alice, image);
await refused('a second signature', signWith(alice, image), 137);

await arrived.save({ isRead: true }, alice.as);
check('LiveQuery shows it as read', (await news.next('update')).get('isRead') === true);
await refused('a notification by a patient', make('Notification', { patient: profile, message: 'Hi', isRead: false }, alice.as), 119);
check('another patient got no event', foreignNews.events.length === 0);

console.log('Benefits');
await refused('a medication by a patient', make('Medication', { medicationName: 'X' }, alice.as), 119);
const medication = await make('Medication', { medicationName: `Ibuprofen ${run}` }, peter.as);
const cheap = await make('CopayDetails', { medication, amount: 4.1 }, peter.as);
const dear = await make('CopayDetails', { medication, amount: 19.99 }, peter.as);
await refused('a fraction of a cent', make('CopayDetails', { medication, amount: 0.005 }, peter.as), 142);
const gold = await make('InsurancePlan', { provider: 'Acme', planName: 'Gold', copayAmounts: [cheap.toPointer()] }, peter.as);
const basic = await make('InsurancePlan', { provider: 'Acme', planName: 'Basic', copayAmounts: [dear.toPointer()] }, peter.as);

const copay = (params, who) => Parse.Cloud.run('calculateCopay', params, who?.as);
const medicationId = medication.id;
await refused('a co-pay without a session', copay({ medicationId }), 142);
await refused('an unknown medication', copay({ medicationId: 'nosuchone1' }, alice), 101);
await refused('a medication no plan covers', copay({ medicationId }, alice), 142);
await profile.save({ insurancePlans: [gold.toPointer(), basic.toPointer()] }, alice.as);
const own = await new Parse.Query('PatientProfile').equalTo('user', alice.user).first(alice.as);
check('the dashboard finds the profile', own.id === profile.id);
const plans = await new Parse.Query('InsurancePlan').equalTo('patients', profile).find(alice.as);
check('and its plans', plans.length === 2);
check('the lowest amount counts', (await copay({ medicationId }, alice)).id === cheap.id);
const named = await copay({ medicationId, planId: basic.id }, alice);
check('or that of the plan named', named.get('amount') === 19.99);
await refused('a plan of somebody else', copay({ medicationId, planId: gold.id }, mallory), 142);
const stored = await new Parse.Query('CoPayCalculation').ascending('coPayAmount').find(alice.as);
check('the calculations are stored', stored.length === 2 && stored[0].get('coPayAmount') === 4.1);
check('for her alone', (await new Parse.Query('CoPayCalculation').find(mallory.as)).length === 0);

const rule = await make('Formulary', { drug: medication.get('medicationName'), covered: true, tier: '2' }, peter.as);
const formulary = await Parse.Cloud.run('checkFormulary', { medicationId }, alice.as);
check('the formulary covers it', formulary.covered === true && formulary.tier === '2');
await rule.save({ covered: false }, peter.as);
await refused('a medication that the formulary excludes', copay({ medicationId }, alice), 142);

const inbox = await watch(new Parse.Query('Message').equalTo('to', peter.user), peter);
const foreignInbox = await watch(new Parse.Query('Message'), mallory);
const letter = { conversationId: `c-${run}`, body: 'With food?', to: peter.user };
await refused('a message about another patient', make('Message', { ...letter, patient: profile }, mallory.as), 119);
const sent = await make('Message', { ...letter, from: mallory.user, isRead: true }, alice.as);
const received = await inbox.next('create');
check('LiveQuery shows the message', received.id === sent.id && received.get('body') === 'With food?');
check('from is the sender, whatever was claimed', received.get('from').id === alice.user.id);
check('and it is unread', received.get('isRead') === false && received.get('sentAt') instanceof Date);
await refused('the sender marks it as read', sent.save({ isRead: true }, alice.as), 101, 119);
await refused('another reads it', new Parse.Query('Message').get(sent.id, mallory.as), 101);
await received.save({ isRead: true }, peter.as);
check('another patient got no event of it', foreignInbox.events.length === 0);

const shelf = await watch(new Parse.Query('Medication'), alice);
await medication.save({ description: 'Take with food.' }, peter.as);
check('LiveQuery alerts of the medication', (await shelf.next('update')).get('description') === 'Take with food.');

console.log('Audit');
const trail = new Parse.Query('AuditLog');
await refused('a patient reads the trail', trail.find(alice.as), 119);
await refused('a provider reads the trail', trail.find(peter.as), 119);
const entries = await new Parse.Query('AuditLog').equalTo('entityId', delivery.id).find(adam.as);
check('each write of the delivery is there', entries.length === 3);
await refused('an entry is changed with the master key', entries[0].save({ summary: '-' }, master), 119);
await refused('or deleted', entries[0].destroy(master), 119);
check('the other profile stayed apart', hers.id !== profile.id);

await Parse.LiveQuery.close();
console.log('Done');
process.exit(0);
