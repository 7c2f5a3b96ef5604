// What the state of a connection, and of the ways in beside its own, lets happen. Pure.

const NEEDS_SIGN_IN = [
  'not_adopted', 'reconnect_needed', 'no_tokens', 'wrong_password', 'password_needed', 'accept_terms', 'verify_email',
  'two_factor', 'vendor_step', 'nobody_followed',
];
// It works, or is looked for again, without one.
const SIGN_IN_HELPS = ['consent_ends_soon', 'unfollowed'];
const BRINGS_READINGS = ['connected', 'error'];

/** Whether only a new consent mends it, also where the vendor's no came during a pause. */
export function needsSignIn(connection) {
  return connection.status === 'expired' || NEEDS_SIGN_IN.includes(connection.reason);
}

/** Whether a new consent is offered. */
export function offersSignIn(connection) {
  return needsSignIn(connection) || SIGN_IN_HELPS.includes(connection.reason);
}

/** Whether readings still come: by its own way, or by another one while its access has ended. */
export function bringsReadings(connection) {
  return BRINGS_READINGS.includes(connection.status) || (connection.status === 'expired' && goesOn(connection));
}

/** Whether it can be paused, or resumed: also where the access has ended while another way in goes on. */
export function canRest(connection) {
  return !needsSignIn(connection) || (connection.status === 'expired' && goesOn(connection));
}

/** Whether a sync can be asked for. */
export function canSync(connection) {
  return connection.status !== 'disconnected' && canRest(connection);
}

const goesOn = (connection) => connection.routes.some((route) => !NEEDS_SIGN_IN.includes(route.reason));
