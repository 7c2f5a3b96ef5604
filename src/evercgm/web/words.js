// What the page says: times, trends and states in words. Plain functions, no document.

import { AHEAD_MS } from './readings.js';
import { number } from './units.js';
import { bringsReadings } from './ways.js';

const TRENDS = {
  doubleUp: 'rising very fast',
  singleUp: 'rising fast',
  fortyFiveUp: 'rising',
  flat: 'steady',
  fortyFiveDown: 'falling',
  singleDown: 'falling fast',
  doubleDown: 'falling very fast',
};

const STATUSES = {
  connected: 'Connected',
  error: 'Having trouble',
  expired: 'Sign in again',
  disconnected: 'Paused',
};

const MESSAGES = {
  error: 'Something is in the way. We keep trying; you need not do anything.',
  expired: 'The vendor no longer lets us in. Reconnect to go on; no reading is lost.',
  disconnected: 'No readings are fetched while this is paused.',
};

const OUTCOMES = { nothing_new: 'nothing new', failed: 'did not work', cancelled: 'stopped' };

const TRIGGERS = { person: 'asked for here', connect: 'after connecting', command: 'asked for by a command', schedule: '', import: 'from a file' };

const FAILURES = {
  wrong_password: 'the vendor did not take the password, or the account was made elsewhere',
  sign_in_locked: 'the vendor takes no sign-in for a while',
  password_needed: 'a new sign-in is needed',
  accept_terms: 'the vendor has new terms',
  verify_email: 'the vendor wants the e-mail confirmed',
  two_factor: 'the vendor wants a second step',
  vendor_step: 'the vendor wants a step in its app',
  nobody_followed: 'the account follows nobody',
  unfollowed: 'the account may no longer follow',
  vendor_unavailable: 'the vendor did not answer',
  rate_limited: 'the vendor lets us ask only so often',
  vendor_denied: 'the vendor refused',
  vendor_changed: 'the vendor’s answer could not be read',
  operator_must_act: 'this service’s access needs attention',
  sign_in_refused: 'the vendor did not accept our access',
  reconnect_needed: 'a new sign-in is needed',
  no_tokens: 'a new sign-in is needed',
  seal_broken: 'the stored access cannot be opened',
  paused: 'it was paused',
};

const LATE_MS = 10 * 60_000;

const MISSING = {
  vendor_delay: 'not here yet',
  not_read_yet: 'still being fetched',
  sensor_changed: 'sensor changed',
  sensor_error: 'sensor error',
  unreadable: 'not readable',
  signal_lost: 'no sensor or signal',
  vendor_outage: 'vendor away',
  connection_expired: 'access ended',
  operator_must_act: 'service in trouble',
  paused: 'paused',
  worker_down: 'service not fetching',
  beyond_vendor_history: 'too old for the vendor',
  not_imported: 'no file imported',
  not_connected: 'not connected',
};

// By the code of an import's format.
const EXPORTS = { libreview: 'LibreView', carelink: 'CareLink', clarity: 'Clarity' };

const FILES = { abbott: 'LibreView file' };

const SOURCES = {
  cgm: 'of a sensor',
  fingerstick: 'of a finger prick',
  lab: 'of a laboratory',
  interpolated: 'that were calculated',
};

const RETURNS = {
  connected: ['good', 'Connected. Your readings are coming in.'],
  denied: ['plain', 'You did not give consent, nothing was connected.'],
  confirm: ['plain', 'This may be another account than the one that was connected before. Nothing has changed yet.'],
};

const RETURN_ERRORS = {
  bad_state: 'That sign-in link was old or already used. Start again.',
  code_refused: 'The vendor no longer accepts this sign-in. Start again.',
  operator_must_act: 'The vendor does not accept this service at the moment. Whoever runs it must look at its credentials.',
  vendor_unavailable: 'The vendor did not answer. Nothing has changed; try again in a few minutes.',
  rate_limited: 'The vendor lets us ask only so often. Nothing has changed; try again in a few minutes.',
};

// English words, with the reader's own choice between 24 and 12 hours.
const { hourCycle } = new Intl.DateTimeFormat(undefined, { hour: 'numeric' }).resolvedOptions();
const format = (fields) => new Intl.DateTimeFormat('en', { hourCycle, ...fields });
const CLOCK = format({ hour: hourCycle === 'h12' || hourCycle === 'h11' ? 'numeric' : '2-digit', minute: '2-digit' });
const HOUR = format({ hour: 'numeric' });
const MONTH = format({ month: 'short' });
const WEEKDAY = format({ weekday: 'short' });

export const clock = (date) => CLOCK.format(date);
/** As short as an axis wants it: "2 PM" where people read 12 hours, else "14:00". */
export const axisClock = (date) => (date.getMinutes() === 0 && hourCycle !== 'h23' && hourCycle !== 'h24' ? HOUR : CLOCK).format(date);
export const day = (date) => `${WEEKDAY.format(date)} ${date.getDate()}`;
export const dayAndClock = (date) => `${day(date)} ${MONTH.format(date)}, ${clock(date)}`;
/** With the year where it is not the present one: "Tue 24 Nov 2025, 14:00". */
export function dayYearAndClock(date, now) {
  const year = date.getFullYear() === now.getFullYear() ? '' : ` ${date.getFullYear()}`;
  return `${day(date)} ${MONTH.format(date)}${year}, ${clock(date)}`;
}

/** The arrow's words, or '' where the vendor gave none. */
export const trend = (name) => TRENDS[name] ?? '';
/** Who did something, as the start of a line. */
export const by = (name) => name.charAt(0).toUpperCase() + name.slice(1);
export const status = (name) => STATUSES[name] ?? name;
export const statusMessage = (connection) => connection.message || MESSAGES[connection.status] || '';

/** A length of time in ms, rounded down to what people say: "4 min", "3 h", "2 days". */
export function span(milliseconds) {
  const minutes = Math.floor(Math.max(0, milliseconds) / 60_000);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h`;
  return `${Math.floor(hours / 24)} days`;
}

export function ago(date, now) {
  const age = now - date;
  if (age < -AHEAD_MS) return `dated ${span(-age)} ahead`;
  return age < 60_000 ? 'just now' : `${span(age)} ago`;
}

export function ahead(date, now) {
  const wait = date - now;
  return wait < 30_000 ? 'any moment' : `in ${span(wait + 30_000)}`;
}

/** From when to when, in seconds: "Tue 24 Nov, 14:00 to 15:05", or with the second day where that is another one. */
export function stretch(from, to) {
  const [start, end] = [new Date(from * 1000), new Date(to * 1000)];
  const sameDay = start.toDateString() === end.toDateString();
  return `${dayAndClock(start)} to ${sameDay ? clock(end) : dayAndClock(end)}`;
}

/** A stretch without readings, why, and the file that would fill it, on one line. */
export function gapWords(gap) {
  const filled = EXPORTS[gap.importFormat] ? `, a ${EXPORTS[gap.importFormat]} file can fill it` : '';
  return `${stretch(gap.from, gap.to)} · ${MISSING[gap.reason] ?? 'no readings'}${filled}`;
}

/** A vendor's usual delay, or '' where there is none worth a word. */
export function delay(minutes) {
  if (minutes < 10) return '';
  if (minutes < 55) return `about ${Math.round(minutes)} minutes`;
  const hours = Math.round(minutes / 60);
  return hours === 1 ? 'about 1 hour' : `about ${hours} hours`;
}

/**
 * Why a value is not the one of this moment. `state` is its freshness, `connection` its own or null, `name` the
 * vendor's, `delayMinutes` its usual delay.
 */
export function notNow(state, ahead, connection, name, delayMinutes) {
  if (ahead) return 'Its time lies ahead of the clock, so nobody can tell how old it is.';
  if (!connection) return 'Its connection is gone. Nothing newer comes from there.';
  if (isByFile(connection)) return 'It came in a file. Import the next one for newer readings.';
  if (connection.status === 'disconnected') return `${name} is paused. Nothing newer is fetched.`;
  if (!bringsReadings(connection)) return `${name} needs a new sign-in. Nothing newer comes until then.`;
  if (connection.status === 'error') return `${name} gives nothing newer at the moment. We keep trying.`;
  if (state === 'stale') return 'No newer reading has arrived. Check the sensor and its app.';
  const usual = delay(delayMinutes);
  return usual ? `${name} hands readings over with a delay of ${usual}.` : 'This is not the value of this moment.';
}

/** Whether no cloud is asked: the person imports files. */
export const isByFile = (connection) => connection.region === 'file';

/** What a connection is called that no way in of ours has made, by its provider. */
export const fileName = (provider) => FILES[provider] ?? provider;

/** A reading's figure; what lies beyond the sensor has no number. */
export function figure(reading) {
  if (reading.flag === 'low') return 'Low';
  if (reading.flag === 'high') return 'High';
  return number(reading.value);
}

/** One sync as one line without its time. */
export function sync(run) {
  if (run.state === 'queued') return 'waiting for its turn';
  if (run.state === 'running') return run.fetched ? `running, ${counted(run.fetched)} so far` : 'running now';
  if (run.outcome === 'failed') return FAILURES[run.reason] ?? OUTCOMES.failed;
  if (run.outcome !== 'succeeded') return OUTCOMES[run.outcome] ?? run.outcome ?? 'done';
  const parts = [`${run.inserted.toLocaleString('en')} new`];
  if (run.updated) parts.push(`${run.updated} corrected`);
  if (run.rejected) parts.push(`${run.rejected} not readable`);
  return parts.join(', ');
}

const counted = (readings) => (readings === 1 ? '1 reading' : `${readings.toLocaleString('en')} readings`);

/** What is going on at this moment: the words of a queued or running sync, or ''. */
export function progress(run) {
  if (run?.state === 'queued') return 'Waiting for its turn…';
  if (run?.state !== 'running') return '';
  return run.fetched ? `Fetching: ${counted(run.fetched)} so far…` : 'Asking the vendor for readings…';
}

/** Why a sync was done, how late it began and how long it took: "after connecting, 1.4 s". */
export function syncAside(run) {
  const took = run.took_ms === null || run.outcome === 'cancelled' ? '' : `${(Math.max(run.took_ms, 50) / 1000).toFixed(1)} s`;
  return [TRIGGERS[run.trigger] ?? '', late(run), took].filter(Boolean).join(', ');
}

/** Said where nobody was there to begin it: what was due in between is in this sync. */
function late(run) {
  const wait = run.due_at && run.started_at ? Date.parse(run.started_at) - Date.parse(run.due_at) : 0;
  return wait > LATE_MS ? `${span(wait)} late: this service was not fetching` : '';
}

/** The browser's time zone as "Europe/Berlin (GMT+1)". */
export function timeZone(now) {
  const name = Intl.DateTimeFormat().resolvedOptions().timeZone ?? '';
  const parts = new Intl.DateTimeFormat('en', { timeZoneName: 'shortOffset' }).formatToParts(now);
  const offset = parts.find((part) => part.type === 'timeZoneName')?.value ?? '';
  if (name === 'UTC') return name;
  if (!name || name === offset) return offset || 'this browser’s zone';
  return offset ? `${name.replaceAll('_', ' ')} (${offset})` : name.replaceAll('_', ' ');
}

/** The kind (good, plain, bad) and sentence for what a consent page sent back. */
export function returned(result, code) {
  if (result === 'error') return ['bad', RETURN_ERRORS[code] ?? 'Connecting did not work, nothing was changed. Start again.'];
  return RETURNS[result] ?? null;
}

/** What the disconnect dialog promises. `total` is the number of readings, or null if not known. */
export function kept(total) {
  if (total === null) return 'Your readings stay.';
  if (total === 0) return 'There are no readings from this connection yet.';
  return total === 1 ? 'Your 1 reading stays.' : `Your ${total.toLocaleString('en')} readings stay.`;
}

export const paused = (name) => `${name} is paused. Nothing new is fetched; readings and access are kept.`;
export const resumed = (name) => `${name} goes on. What was missed is being fetched.`;

/** `listed`: whether the vendor's account names evercgm as something that was let in. */
export function disconnected(name, answer, listed) {
  const ended = answer.vendor_revoked ? ' The vendor has ended it, too.' : '';
  const thorough = listed && !answer.vendor_revoked ? ` To be thorough, you can also remove evercgm in your ${name} account.` : '';
  return `${name} is disconnected. ${kept(answer.readings_kept)} The stored access is deleted.${ended}${thorough}`;
}

/** How an import ended. */
export function imported(answer) {
  if (!answer.first) return `This ${answer.title} file has no readings of a sensor. Nothing was changed.`;
  const from = dayYearAndClock(new Date(answer.first), new Date());
  const to = dayYearAndClock(new Date(answer.last), new Date());
  const known = answer.known ? ` ${counted(answer.known)} ${answer.known === 1 ? 'was' : 'were'} here already.` : '';
  const moved = answer.corrected ? ` ${counted(answer.corrected)} of these now ${answer.corrected === 1 ? 'has' : 'have'} another time or value.` : '';
  return `${answer.title}, ${from} to ${to}: ${answer.imported ? `${counted(answer.imported)} added.` : 'nothing to add.'}${known}${moved}`;
}

/** What is wrong with a file or an answer, as one sentence. */
export const importRefusal = ({ message }) => `${message.charAt(0).toUpperCase()}${message.slice(1)}${/[.?!]$/.test(message) ? '' : '.'} Nothing was imported.`;

/** How many readings of each source, the most first: "1,775 readings of a sensor". */
export function readingsBySource(counts) {
  const sorted = Object.entries(counts).sort(([, one], [, other]) => other - one);
  return sorted.map(([source, number]) => `${counted(number)} ${SOURCES[source] ?? `(${source})`}`);
}

const numbered = (number, one, many) => (number === 1 ? `1 ${one}` : `${number.toLocaleString('en')} ${many}`);

/** What is deleted, a line each. */
export function rowsGone(rows) {
  const lines = readingsBySource(rows.readings);
  if (rows.connections) lines.push(`${numbered(rows.connections, 'connection', 'connections')}, with the stored access`);
  if (rows.syncs) lines.push(`${numbered(rows.syncs, 'entry', 'entries')} of the sync history`);
  if (rows.settings) lines.push('The name and settings');
  const rest = rows.routes + rows.unreadable_records + rows.set_aside + rows.sign_ins + rows.jobs;
  if (rest) lines.push(numbered(rest, 'other entry', 'other entries'));
  return lines.length ? lines : ['Nothing: no data are held.'];
}

/** What was deleted and what stays, after it happened. */
export function erased(answer) {
  const total = (counts) => Object.values(counts).reduce((sum, number) => sum + number, 0);
  const { readings, connections } = answer.erased;
  const kept = total(answer.kept.readings);
  const ended = connections ? ` and ${numbered(connections, 'connection', 'connections')}` : '';
  return `Deleted: ${counted(total(readings))}${ended}, with history and settings.`
    + (kept ? ` ${kept === 1 ? '1 reading of your app stays' : `${counted(kept)} of your app stay`}.` : '');
}
