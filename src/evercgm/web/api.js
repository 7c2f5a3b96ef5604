// The REST API as functions. It knows addresses and answers; it shows nothing.

import * as clock from './clock.js';

const BASE = '/api/metabolic/cgm';
const PATIENCE_MS = 20_000;
const PATIENCE_OF_FILES_MS = 10 * 60_000;
const PAGE_OF_READINGS = 1000;
const PAGES_AT_MOST = 40;
const PAGE_OF_EVENTS = 20;

/** An answer that says no. `detail` is a sentence for people; `retryAfter` in seconds or null; `more`, all of it. */
export class Problem extends Error {
  constructor(status, body, retryAfter) {
    super(body.detail || body.title || `The service answered ${status}.`);
    this.name = 'Problem';
    this.status = status;
    this.code = body.code || '';
    this.detail = this.message;
    this.requestId = body.request_id || '';
    this.more = body;
    this.fields = Array.isArray(body.errors) ? body.errors : [];
    this.retryAfter = retryAfter;
  }
}

/** The service could not be reached, or did not answer in time. */
export class Unreachable extends Error {}

async function call(method, address, body) {
  const askedAt = Date.now();
  let answer;
  try {
    answer = await fetch(address, {
      method,
      credentials: 'same-origin',
      cache: 'no-cache',
      headers: body === undefined
        ? { Accept: 'application/json' }
        : { Accept: 'application/json', 'Content-Type': 'application/json' },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    learnTime(answer, askedAt);
    if (answer.status === 204) return null;
    if (answer.ok) return await answer.json();
  } catch (error) {
    throw new Unreachable(String(error));
  }
  const seconds = Number.parseInt(answer.headers.get('Retry-After') ?? '', 10);
  throw new Problem(
    answer.status,
    await answer.json().catch(() => ({})),
    Number.isFinite(seconds) ? seconds : null,
  );
}

/** Only from an answer that nobody may have kept: a kept one tells an old time. */
function learnTime(answer, askedAt) {
  if (answer.headers.get('Cache-Control') === 'no-store') clock.learn(answer.headers.get('Date'), askedAt);
}

const query = (fields) => new URLSearchParams(fields).toString();

export const session = () => call('GET', `${BASE}/session`);
export const signOut = () => call('POST', `${BASE}/session/sign-out`);
export const providers = async () => (await call('GET', `${BASE}/providers`)).providers.map(offer);
export const connections = async (personId) =>
  (await call('GET', `${BASE}/connections?${query({ person_id: personId })}`)).connections;
export const connection = (id) => call('GET', `${BASE}/connections/${encodeURIComponent(id)}`);
export const pause = (id) => call('POST', `${BASE}/connections/${encodeURIComponent(id)}/pause`);
export const resume = (id) => call('POST', `${BASE}/connections/${encodeURIComponent(id)}/resume`);
export const disconnect = (id) => call('DELETE', `${BASE}/connections/${encodeURIComponent(id)}`);
export const personData = (id) => call('GET', `${BASE}/persons/${encodeURIComponent(id)}/data`);
export const erasePerson = (id, allReadings) =>
  call('DELETE', `${BASE}/persons/${encodeURIComponent(id)}/data?${query({ all_readings: allReadings })}`);
export const startLogin = (provider, personId, region) =>
  call('POST', `${BASE}/${encodeURIComponent(provider)}/oauth`, { person_id: personId, region });
const LOGINS = { libre: '/libre/login', dexcom_share: '/dexcom/share/login' };
export const signInByPassword = (route, fields) => call('POST', BASE + LOGINS[route], fields);
export const signInByPaste = (route, fields) => call('POST', `${BASE}/${encodeURIComponent(route)}/callback`, fields);
export const confirmSignIn = (attempt, who) => call('POST', `${BASE}/connections/confirm`, who ? { attempt, who } : { attempt });
export const removeRoute = (id, route) =>
  call('DELETE', `${BASE}/connections/${encodeURIComponent(id)}/routes/${encodeURIComponent(route)}`);
export const confirmAccount = (attempt) => call('POST', `${BASE}/dexcom/confirm`, { attempt });
export const syncNow = async (connectionId) =>
  (await call('POST', `${BASE}/sync`, { connection_id: connectionId })).runs;
export const syncs = async (connectionId) =>
  (await call('GET', `${BASE}/syncs?${query({ connection_id: connectionId })}`)).syncs;

/**
 * Sends an exported file with what the person says beside it. `progress(share)` is told how much of it is sent, 0 to 1.
 * By XMLHttpRequest, since fetch does not tell; a large file may take minutes. An aborted `signal` rejects.
 */
export function importFile(personId, file, answers, progress, signal) {
  const body = new FormData();
  for (const [name, value] of Object.entries({ ...answers, person_id: personId })) body.set(name, value);
  body.set('file', file);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const gone = () => reject(new Unreachable('the import was not answered'));
    request.open('POST', `${BASE}/imports`);
    request.responseType = 'json';
    request.timeout = PATIENCE_OF_FILES_MS;
    request.upload.addEventListener('progress', (event) => { if (event.lengthComputable) progress(Math.min(event.loaded / event.total, 0.999)); });
    request.upload.addEventListener('load', () => progress(1));
    for (const end of ['error', 'timeout', 'abort']) request.addEventListener(end, gone);
    request.addEventListener('load', () => {
      if (request.status === 201 && request.response) resolve(request.response);
      else reject(new Problem(request.status, request.response ?? {}, Number.parseInt(request.getResponseHeader('Retry-After') ?? '', 10) || null));
    });
    signal.addEventListener('abort', () => request.abort());
    request.send(body);
  });
}

/** Who did what with a person's data, newest first: `{events, next}`; `next` leads on to older ones, or is null. */
export const audit = (personId) => call('GET', `${BASE}/audit?${query({ person_id: personId, limit: PAGE_OF_EVENTS })}`);
export const auditAfter = (next) => call('GET', ownAddress(next));

/** Where what happens to a person is told as it happens. */
export const eventsAddress = (personId) => `${BASE}/events?${query({ person_id: personId })}`;

/**
 * A way in as the page needs it: `{id, provider, name, regions: [{id, name, delayMinutes}], delays, connect, beside,
 * terms, official, stored}`. `regions` are only those that are set up; `delays` has the usual delay in minutes of every
 * region, since an old connection may be in another. The rest is as the service tells it.
 */
function offer(way) {
  const regions = way.regions
    .filter((region) => region.configured)
    .map((region) => ({ id: region.region, name: region.title, delayMinutes: region.delay_s / 60 }));
  const delays = Object.fromEntries(way.regions.map((region) => [region.region, region.delay_s / 60]));
  const { connect, beside, terms, official, stored } = way;
  return { id: way.route, provider: way.provider, name: way.title, regions, delays, connect, beside, terms, official, stored };
}

/** The newest reading of a person before an instant (Date), or null. */
export async function newestReading(personId, before) {
  const fields = { person_id: personId, to: before.toISOString(), limit: 1 };
  const answer = await call('GET', `${BASE}/readings?${query(fields)}`);
  return answer.readings[0] ?? null;
}

/** All readings of a person from an instant (Date) to before another, newest first; follows the pages. */
export async function readingsBetween(personId, from, before) {
  const all = [];
  let address = `${BASE}/readings?${query({
    person_id: personId,
    from: from.toISOString(),
    to: before.toISOString(),
    limit: PAGE_OF_READINGS,
  })}`;
  for (let page = 0; address && page < PAGES_AT_MOST; page += 1) {
    const answer = await call('GET', address);
    all.push(...answer.readings);
    address = answer.next ? ownAddress(answer.next) : null;
  }
  return all;
}

/**
 * Stretches without readings between two instants (Date), the oldest first: `{from, to}` in seconds, `reason` as a code
 * and `message` as a sentence; `importFormat` is the file that would fill it, or null.
 */
export async function gapsBetween(personId, from, before) {
  const fields = { person_id: personId, from: from.toISOString(), to: before.toISOString() };
  const { gaps } = await call('GET', `${BASE}/gaps?${query(fields)}`);
  return gaps.map(({ start, end, reason, message, import_format: importFormat }) => ({
    from: Date.parse(start) / 1000, to: Date.parse(end) / 1000, reason, message, importFormat,
  }));
}

/** A link of the service, as a path on the origin that this page came from. */
function ownAddress(link) {
  const url = new URL(link, new URL(`${BASE}/readings`, location.href));
  return url.pathname + url.search;
}
