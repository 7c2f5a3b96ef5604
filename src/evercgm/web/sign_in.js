// Signing in at a vendor without its consent page: a name and password, or what the vendor's page leads to; then,
// where it must be asked, whom the account follows, or whether another account is meant. Nothing is kept here.

import * as api from './api.js';
import { isBusy, setBusy } from './focus.js';

const byId = (id) => document.getElementById(id);
const STEPS = ['password', 'paste', 'choose', 'other'];
const DONE = { password: 'Sign in', paste: 'Connect', choose: 'Connect this person', other: 'Use this account' };
const ASKS = {
  choose: 'This account follows several people. Who is it about?',
  other: 'This is another account than the one before. Older readings stay; new ones come from this account.',
};
const HINTS = {
  libre: 'Use a LibreLinkUp account that follows the sensor: invite it in the sensor’s app. It can be your own second address.',
  dexcom_share: 'Use the Dexcom account of the person who wears the sensor. Sharing must be on, with one follower at least.',
  medtronic: 'Use a care partner account that only evercgm signs in with: signing in elsewhere ends the access here.',
};

/** Makes the dialog. `host` gives `refresh()`, `notice(kind, text)` and `failed(error)`. */
export function makeSignIn(host) {
  const dialog = byId('sign-in-dialog');
  const form = byId('sign-in-form');
  const yes = byId('sign-in-yes');
  let asked = null;

  /** For a way in (of `api.providers`), a person, and the region of before if there is one. */
  function ask(way, personId, region) {
    asked = { way, personId, attempt: null, step: '' };
    byId('sign-in-dialog-title').textContent = `Connect ${way.name}`;
    byId('sign-in-terms').textContent = way.terms ?? '';
    byId('sign-in-terms').hidden = !way.terms;
    byId('sign-in-account').textContent = HINTS[way.id] ?? '';
    byId('sign-in-stored').textContent = `What is stored: ${way.stored}`;
    form.reset();
    fillRegions(way.regions, region);
    forgetPage();
    goTo(way.connect);
    dialog.showModal();
    (way.regions.length > 1 ? byId('sign-in-region') : byId(way.connect === 'password' ? 'sign-in-name' : 'sign-in-open')).focus();
  }

  function goTo(step) {
    asked.step = step;
    say('');
    setBusy(yes, false);
    for (const name of STEPS) byId(`sign-in-${name}`).hidden = name !== step;
    const first = step === 'password' || step === 'paste';
    byId('sign-in-about').hidden = !first;
    byId('sign-in-region-row').hidden = !first || byId('sign-in-region').options.length < 2;
    byId('sign-in-question').textContent = ASKS[step] ?? '';
    byId('sign-in-question').hidden = !ASKS[step];
    yes.textContent = DONE[step];
  }

  async function submit() {
    const doing = asked;
    const missing = lacks();
    if (isBusy(yes)) return;
    if (missing) {
      say(missing.text);
      missing.field.focus();
      return;
    }
    setBusy(yes, true);
    say('');
    try {
      await send(doing);
      if (asked !== doing) return;
      dialog.close();
      host.notice('good', `${doing.way.name} is connected. The first readings are on their way.`);
    } catch (error) {
      if (asked !== doing) return;
      refused(error);
    }
    await host.refresh();
  }

  function send({ way, personId, attempt, step }) {
    const region = byId('sign-in-region').value;
    if (step === 'password') {
      return api.signInByPassword(way.id, {
        person_id: personId, region, username: byId('sign-in-name').value, password: byId('sign-in-word').value,
        keep_password: byId('sign-in-keep').checked,
      });
    }
    if (step === 'paste') return api.signInByPaste(way.id, { person_id: personId, region, ...pasted() });
    if (step === 'choose') return api.confirmSignIn(attempt, chosen().value);
    return api.confirmSignIn(attempt);
  }

  function refused(error) {
    setBusy(yes, false);
    const { attempt, choices } = error.more ?? {};
    if (attempt && choices) {
      asked.attempt = attempt;
      showChoices(choices);
      goTo('choose');
      byId('sign-in-choices').querySelector('input').focus();
    } else if (attempt) {
      asked.attempt = attempt;
      goTo('other');
      yes.focus();
    } else {
      say(host.failed(error));
      if (asked.step === 'password') {
        byId('sign-in-word').value = '';
        byId('sign-in-word').focus();
      }
    }
  }

  async function openPage(event) {
    const button = event.currentTarget;
    if (isBusy(button)) return;
    const doing = asked;
    setBusy(button, true);
    say('');
    try {
      const page = await api.startLogin(doing.way.id, doing.personId, byId('sign-in-region').value);
      if (asked !== doing) return;
      // A link and no window of ours: a browser lets only a click open one.
      byId('sign-in-link').href = page.authorization_url;
      byId('sign-in-link-row').hidden = false;
      byId('sign-in-link').focus();
    } catch (error) {
      if (asked === doing) say(host.failed(error));
    } finally {
      setBusy(button, false);
    }
  }

  function lacks() {
    if (asked.step === 'password') {
      if (!byId('sign-in-name').value.trim()) return { field: byId('sign-in-name'), text: 'Type the user name first.' };
      if (!byId('sign-in-word').value) return { field: byId('sign-in-word'), text: 'Type the password first.' };
    }
    if (asked.step === 'paste' && !byId('sign-in-pasted').value.trim()) {
      return { field: byId('sign-in-pasted'), text: 'Paste the address that the vendor’s page ended at.' };
    }
    if (asked.step === 'choose' && !chosen()) {
      return { field: byId('sign-in-choices').querySelector('input'), text: 'Choose one of them.' };
    }
    return null;
  }

  const say = (text) => { byId('sign-in-hint').textContent = text; };

  function forget() {
    form.reset();
    forgetPage();
    byId('sign-in-choices').replaceChildren();
    asked = null;
  }

  form.addEventListener('submit', (event) => {
    event.preventDefault();
    submit();
  });
  byId('sign-in-open').addEventListener('click', openPage);
  byId('sign-in-region').addEventListener('change', forgetPage);
  byId('sign-in-no').addEventListener('click', () => dialog.close());
  dialog.addEventListener('close', () => {
    // Told late, when the dialog may already be open for the next question.
    if (!dialog.open) forget();
  });
  return { ask, close: () => dialog.close() };
}

function forgetPage() {
  byId('sign-in-link-row').hidden = true;
  byId('sign-in-link').removeAttribute('href');
}

function fillRegions(regions, chosenRegion) {
  const options = regions.map((region) => new Option(region.name, region.id, false, region.id === chosenRegion));
  byId('sign-in-region').replaceChildren(...options);
}

/** An address, or the bundle of tokens of another tool. */
function pasted() {
  const text = byId('sign-in-pasted').value.trim();
  return text.startsWith('{') ? { token_bundle: text } : { redirect_url: text };
}

const chosen = () => byId('sign-in-choices').querySelector('input:checked');

function showChoices(choices) {
  byId('sign-in-choices').replaceChildren(...choices.map(({ id, label }) => {
    const row = document.createElement('label');
    const radio = document.createElement('input');
    row.className = 'check';
    Object.assign(radio, { type: 'radio', name: 'who', value: id });
    row.append(radio, label);
    return row;
  }));
}
