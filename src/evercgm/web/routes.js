// The other ways in on a connection's card: what each brings and what troubles it, and the one that could be added.

import * as api from './api.js';
import { isBusy, setBusy } from './focus.js';
import * as words from './words.js';

/** Fills the list of a card, again only where something has changed. */
export function fillRoutes(list, connection, now, host) {
  const offered = host.providers().filter((way) =>
    way.beside && way.provider === connection.provider && way.regions.length > 0 && isFree(way, connection));
  const shown = connection.routes.map((route) => [route, text(route, now)]);
  const print = JSON.stringify([shown, offered.map((way) => way.id)]);
  list.hidden = shown.length + offered.length === 0;
  if (list.dataset.print === print) return;
  list.dataset.print = print;
  const lines = shown.map(([route, said]) => line(`${route.title}${route.official ? '' : ' (unofficial)'}`, said, [
    ...(route.reason ? [signInAgain(route, connection, host)] : []), remove(route, connection, host),
  ]));
  lines.push(...offered.map((way) => line(`${way.name} (unofficial)`, 'Readings within minutes, beside the official way.', [
    button('Add', `add-${way.id}`, () => host.signIn.ask(way, connection.person_id)),
  ])));
  list.replaceChildren(...lines);
}

const isFree = (way, connection) => !connection.routes.some((route) => route.route === way.id);

function text(route, now) {
  if (route.message) return route.message;
  return route.newest_reading_at ? `Newest ${words.ago(new Date(route.newest_reading_at), now)}` : 'No reading yet';
}

function line(title, said, buttons) {
  const item = document.createElement('li');
  const what = document.createElement('p');
  const small = document.createElement('small');
  small.textContent = said;
  what.append(title, small);
  item.append(what, ...buttons);
  return item;
}

function button(label, test, press) {
  const element = document.createElement('button');
  Object.assign(element, { type: 'button', className: 'link', textContent: label });
  element.dataset.test = test;
  element.addEventListener('click', () => press(element));
  return element;
}

function signInAgain(route, connection, host) {
  const way = host.providers().find((one) => one.id === route.route);
  return button('Sign in again', `again-${route.route}`, () => way && host.signIn.ask(way, connection.person_id, route.region));
}

/** Nothing is lost by it but a sign-in: the readings stay. */
function remove(route, connection, host) {
  return button('Remove', `remove-${route.route}`, async (pressed) => {
    if (isBusy(pressed)) return;
    setBusy(pressed, true);
    try {
      await api.removeRoute(connection.id, route.route);
      host.notice('good', `${route.title} is removed and its sign-in deleted. The readings stay.`);
    } catch (error) {
      host.notice('bad', host.failed(error));
      setBusy(pressed, false);
    }
    await host.refresh();
  });
}
