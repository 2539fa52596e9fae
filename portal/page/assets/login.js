// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

// The login page: asks for an attempt, shows its QR code, follows its state and,
// once the phone has confirmed, takes the session. Nothing here is trusted by the
// server; all that counts is decided there.
(() => {
  'use strict';

  const FIRST_EVENT = 4000; // ms until a silent event stream counts as buffered by a proxy
  const LONG_POLL = 35000; // ms until a long poll, which the server ends after 25 s, counts as lost
  const POLL = 2000; // ms between plain polls
  const EXPIRY_GRACE = 1000; // ms in which the server may tell of the expiry first

  const page = JSON.parse(document.getElementById('page-data').textContent);
  const el = (id) => document.getElementById(id);

  // ---- Waiting

  const sleepers = new Set();
  const wake = () => { if (!document.hidden) sleepers.forEach((rouse) => rouse()); };
  addEventListener('online', wake);
  addEventListener('pageshow', wake);
  document.addEventListener('visibilitychange', wake);

  // Calls back when the laptop wakes, the tab is shown or the network is back.
  function onWake(rouse) {
    sleepers.add(rouse);
    return () => sleepers.delete(rouse);
  }

  // Resolves after ms, or early when aborted or, where asked for, on waking.
  function pause(ms, signal, {wakeable = true} = {}) {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        forget();
        signal.removeEventListener('abort', done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      const forget = wakeable ? onWake(done) : () => {};
      signal.addEventListener('abort', done);
      if (signal.aborted) done();
    });
  }

  // A tab opened in the background asks for no code that nobody would see.
  async function shown(signal) {
    while (document.hidden && !signal.aborted) await pause(3600000, signal);
  }

  // Milliseconds before try number n (from 0): doubling to 30 s, never less than the
  // server asks for, spread so that many browsers do not come back at once.
  function backoff(n, retryAfter = 0) {
    const base = Math.max(Math.min(30, 2 ** n), retryAfter) * 1000;
    return base + Math.random() * Math.min(base / 4, 5000);
  }

  // ---- Talking to the server

  // Resolves to the answer; with status 0 where there is none in time.
  // The mode stays the default `cors`: with another, the Fetch standard asks for
  // `Origin: null` under this page's referrer policy, which the server refuses.
  async function request(method, path, {signal, body, timeout = 15000} = {}) {
    const ctl = new AbortController();
    const abort = () => ctl.abort();
    const timer = setTimeout(abort, timeout);
    if (signal) signal.addEventListener('abort', abort);
    try {
      const headers = {Accept: 'application/json'};
      if (body) headers['Content-Type'] = 'application/json';
      const res = await fetch(page.prefix + path, {
        method, headers, body: body && JSON.stringify(body), cache: 'no-store', signal: ctl.signal,
      });
      const isJSON = (res.headers.get('Content-Type') || '').includes('json');
      return {
        status: res.status,
        data: (isJSON && await res.json()) || {},
        retryAfter: Math.min(3600, Math.max(0, Number(res.headers.get('Retry-After')) || 0)),
        date: Date.parse(res.headers.get('Date')),
      };
    } catch (_) {
      return {status: 0, data: {}, retryAfter: 0, date: NaN};
    } finally {
      clearTimeout(timer);
      if (signal) signal.removeEventListener('abort', abort);
    }
  }

  const attemptPath = (id) => `/attempts/${encodeURIComponent(id)}`;

  // Leaves for a path of this site, and never for another site.
  function leave(path) {
    let to = new URL('/', location.origin);
    if (typeof path === 'string' && /^\/(?![/\\])/.test(path)) {
      const url = new URL(path, location.origin);
      if (url.origin === location.origin) to = url;
    }
    // Shown in place of the page itself, a reload keeps the #fragment.
    if (to.pathname + to.search === location.pathname + location.search) location.reload();
    else location.replace(to.href);
  }

  // ---- What the page shows

  // Each view: what the stage shows and, if any, the label of its button.
  const VIEWS = {
    loading: {part: 'skeleton'},
    pending: {part: 'qr'},
    number: {part: 'number', button: 'newCode', quiet: true},
    tap: {part: 'icon', icon: 'phone', button: 'newCode', quiet: true},
    confirmed: {part: 'icon', icon: 'ok'},
    cancelled: {part: 'icon', icon: 'stop', button: 'newCode'},
    expired: {part: 'icon', icon: 'clock', button: 'newCode'},
    consumed: {part: 'icon', icon: 'info', button: 'newCode'},
    denied: {part: 'icon', icon: 'stop', button: 'tryAgain'},
    wechat: {part: 'icon', icon: 'cloud', button: 'tryNow'},
    store: {part: 'icon', icon: 'cloud', button: 'tryNow'},
    unreachable: {part: 'icon', icon: 'cloud', button: 'tryNow'},
    offline: {part: 'icon', icon: 'cloud', button: 'tryNow'},
    tooMany: {part: 'icon', icon: 'clock'},
    cookies: {part: 'icon', icon: 'stop', button: 'tryAgain'},
    failed: {part: 'icon', icon: 'stop', button: 'tryAgain'},
  };

  let press = start; // what the button does

  function show(name, {message = page.text.views[name], onPress = start, minutes, number} = {}) {
    const view = VIEWS[name];
    const hadFocus = el('card').contains(document.activeElement);
    el('card').dataset.view = name;
    for (const part of ['skeleton', 'qr', 'number', 'icon']) el(part).toggleAttribute('hidden', part !== view.part);
    if (view.icon) el('icon').firstElementChild.setAttribute('href', `#i-${view.icon}`);
    el('head').textContent = message.head;
    el('body').textContent = message.body.replace('{minutes}', minutes).replace('{number}', number);
    el('hint').hidden = name !== 'pending' || !isPhone();
    note('');
    press = onPress;
    el('action').hidden = !view.button;
    el('action').textContent = view.button ? page.text[view.button] : '';
    el('action').classList.toggle('primary', !view.quiet);
    // Whoever works by keyboard is not thrown back to the top of the page.
    if (hadFocus) (view.button ? el('action') : el('head')).focus({preventScroll: true});
  }

  function note(text) {
    el('note').textContent = text;
    el('note').hidden = !text;
  }

  const isPhone = () => matchMedia('(pointer: coarse) and (max-width: 950px)').matches;

  async function showCode(qr) {
    const img = el('qr');
    img.classList.remove('framed');
    img.src = `data:image/svg+xml,${encodeURIComponent(qr.svg)}`;
    if (!isPhone()) return;
    // Phones save no SVG to their album, so that one to be saved is a PNG.
    try {
      await img.decode();
      const canvas = document.createElement('canvas');
      const size = canvas.width = canvas.height = 720;
      const quiet = 60; // the white frame, now inside the picture
      const paint = canvas.getContext('2d');
      paint.fillStyle = '#fff';
      paint.fillRect(0, 0, size, size);
      paint.imageSmoothingEnabled = false;
      paint.drawImage(img, quiet, quiet, size - 2 * quiet, size - 2 * quiet);
      img.src = canvas.toDataURL('image/png');
      img.classList.add('framed');
    } catch (_) {
      // The SVG stays: it can still be scanned.
    }
  }

  // Shows a problem with a countdown; resolves when it is time for the next try.
  async function retryLater(name, ms, signal) {
    const until = Date.now() + ms;
    const now = new AbortController();
    const stop = () => now.abort();
    signal.addEventListener('abort', stop);
    show(name, {onPress: stop});
    const tick = () => {
      const s = Math.max(1, Math.ceil((until - Date.now()) / 1000));
      const time = `${Math.floor(s / 60)}:${String(s % 60).padStart(2, '0')}`;
      el('countdown').textContent = page.text.retryIn.replace('{time}', time);
    };
    tick();
    el('countdown').hidden = false;
    const timer = setInterval(tick, 1000);
    await pause(ms, now.signal, {wakeable: name !== 'tooMany'});
    clearInterval(timer);
    el('countdown').hidden = true;
    signal.removeEventListener('abort', stop);
  }

  // ---- One attempt

  // Asks for an attempt until there is one. Resolves to null at a dead end, which is
  // then on the screen with its button.
  async function create(signal) {
    for (let n = 0; !signal.aborted; n++) {
      const body = {method: page.method, return_to: page.returnTo};
      const answer = await request('POST', '/attempts', {signal, body});
      if (signal.aborted) return null;
      if (answer.status === 201 && answer.data.id && answer.data.qr) return opened(answer);
      const problem = problemOf(answer);
      if (problem === 'failed') {
        show(problem);
        return null;
      }
      await retryLater(problem, backoff(n, answer.retryAfter), signal);
    }
    return null;
  }

  function problemOf({status, data}) {
    if (status === 0) return navigator.onLine ? 'unreachable' : 'offline';
    if (status === 429) return 'tooMany';
    if (status < 500) return 'failed';
    return data.error === 'wechat_unavailable' ? 'wechat' : 'store';
  }

  // Times are counted from the moment of creation, by the server's own clock: the
  // visitor's may be wrong by years.
  function opened({data, date}) {
    const expires = Date.parse(data.expires_at);
    const life = expires - (date || Date.now());
    const bounded = life >= 5000 && life <= 3600000 ? life : 300000; // a code lives 30 s to 30 min
    return {
      id: data.id,
      qr: data.qr,
      number: data.number,
      state: 'pending',
      heard: false, // whether the server has told of it since
      life: bounded, // ms
      deadline: Date.now() + bounded, // by the visitor's clock
      expires, // by the server's
    };
  }

  const RANK = {pending: 0, scanned: 1, confirmed: 2, consumed: 3, cancelled: 3, expired: 3, denied: 3};

  // Follows one attempt by the best way that works: an event stream, a long poll or a
  // plain poll. It moves on to the next way only while the server itself can be reached,
  // so that a restart or a lost network does not count against a way.
  class Watcher {
    constructor(attempt, signal, deliver) {
      this.attempt = attempt;
      this.path = attemptPath(attempt.id);
      this.signal = signal;
      this.deliver = deliver;
      this.changes = 0;
    }

    async run() {
      const ways = [this.stream, this.longPoll, this.poll];
      let failures = 0;
      while (!this.signal.aborted) {
        const outcome = await ways[0].call(this);
        if (outcome === 'answered') {
          failures = 0;
          continue;
        }
        const reached = await this.check();
        if (this.signal.aborted) return;
        if (!reached) {
          note(page.text.reconnecting);
          await pause(backoff(failures++), this.signal);
          continue;
        }
        failures = 0;
        if (outcome === 'failed' && ways.length > 1) ways.shift();
        else await pause(300 + Math.random() * 700, this.signal);
      }
    }

    // Asks once. Resolves to whether the server knew the attempt.
    async check() {
      return this.take(await request('GET', this.path, {signal: this.signal}));
    }

    take({status, data}) {
      if (this.signal.aborted) return false;
      if (status === 404) this.deliver({state: 'gone'});
      if (status !== 200 || !(data.state in RANK)) return false;
      note('');
      if (this.deliver(data)) this.changes++;
      return true;
    }

    // 'failed' where no event came at all, 'dropped' where the stream ended later on.
    stream() {
      if (!window.EventSource) return 'failed';
      return new Promise((resolve) => {
        const source = new EventSource(`${page.prefix}${this.path}/events`);
        let heard = false;
        const end = (outcome) => {
          clearTimeout(timer);
          forget();
          this.signal.removeEventListener('abort', drop);
          source.close();
          resolve(outcome);
        };
        const drop = () => end('dropped');
        const timer = setTimeout(() => end('failed'), FIRST_EVENT);
        const forget = onWake(drop); // asleep, a connection may have died unnoticed
        this.signal.addEventListener('abort', drop);
        source.onerror = () => end(heard ? 'dropped' : 'failed');
        source.addEventListener('state', (event) => {
          heard = true;
          clearTimeout(timer);
          this.take({status: 200, data: JSON.parse(event.data)});
        });
      });
    }

    async longPoll() {
      const inner = new AbortController();
      const drop = () => inner.abort();
      const forget = onWake(drop);
      this.signal.addEventListener('abort', drop);
      const began = Date.now();
      const changes = this.changes;
      // The known state lets the server answer at once what changed between two polls.
      const path = `${this.path}?wait=25&state=${this.attempt.state}`;
      const answer = await request('GET', path, {signal: inner.signal, timeout: LONG_POLL});
      forget();
      this.signal.removeEventListener('abort', drop);
      if (inner.signal.aborted) return 'dropped';
      if (!this.take(answer)) return 'failed';
      // An answer at once without news: something on the way does not wait.
      return Date.now() - began > 1000 || this.changes > changes ? 'answered' : 'failed';
    }

    async poll() {
      await pause(POLL, this.signal);
      return (await this.check()) ? 'answered' : 'failed';
    }
  }

  // Runs one attempt, from its creation to whatever ends it.
  async function run(signal) {
    show('loading');
    await shown(signal);
    const attempt = await create(signal);
    if (!attempt || signal.aborted) return;
    current = attempt;
    showCode(attempt.qr);
    show('pending', {minutes: Math.round(attempt.life / 60000) || 1});
    const watcher = new Watcher(attempt, signal, (message) => follow(attempt, message, watcher, signal));
    watchClock(attempt, signal);
    watcher.run();
  }

  // Takes in what the server says of the attempt; reports whether that was news. Messages
  // come by several ways, so an older one may arrive late: states only go forward.
  function follow(attempt, {state, reason, expires_at: expiresAt}, watcher, signal) {
    if (state === 'gone') return gone(attempt);
    attempt.heard = true;
    const expires = Date.parse(expiresAt);
    if (expires && attempt.expires) attempt.deadline += expires - attempt.expires;
    attempt.expires = expires || attempt.expires;
    if (RANK[state] <= RANK[attempt.state]) return false;
    attempt.state = state;
    if (state === 'scanned') showScanned(attempt);
    else if (state === 'confirmed') consume(attempt, watcher, signal);
    else if (state === 'consumed') {
      // The answer to this page's own request brings the session; it may come later.
      if (!attempt.consuming) settle('consumed');
    } else if (state === 'denied') denied(reason);
    else end(state);
    return true;
  }

  function showScanned({number}) {
    el('number').textContent = number || '';
    show(number ? 'number' : 'tap', {number});
  }

  // The server does not know the attempt. If it never did, the browser has not sent the
  // cookie that binds the two, and a new attempt would fare no better.
  function gone(attempt) {
    current = null;
    if (attempt.heard) start();
    else end('cookies');
    return false;
  }

  function watchClock(attempt, signal) {
    const timer = setInterval(() => {
      if (signal.aborted || RANK[attempt.state] > RANK.scanned) clearInterval(timer);
      else if (Date.now() > attempt.deadline + EXPIRY_GRACE) end('expired');
    }, 1000);
  }

  // Takes the session of a confirmed attempt.
  async function consume(attempt, watcher, signal) {
    show('confirmed');
    attempt.consuming = true;
    for (let n = 0; !signal.aborted; n++) {
      const {status, data, retryAfter} = await request('POST', `${attemptPath(attempt.id)}/session`, {signal});
      if (signal.aborted) return;
      if (status === 200) return signedIn(data.redirect);
      if (status === 403) return denied(data.reason);
      if (status === 404) return gone(attempt);
      if (status === 410) return settle('expired');
      if (status === 409) {
        attempt.state = 'scanned';
        attempt.consuming = false;
        await pause(1000, signal);
        watcher.check();
        return;
      }
      note(page.text.reconnecting);
      await pause(backoff(n, retryAfter), signal, {wakeable: !retryAfter});
    }
  }

  // The attempt is used up. Perhaps by this very browser, whose answer was lost on the
  // way or went to another tab: then it is signed in.
  async function settle(view) {
    running.abort();
    const me = await request('GET', '/me');
    if (me.status === 200) leave(page.returnTo);
    else end(view);
  }

  function denied(reason) {
    const reasons = page.text.reasons;
    const known = Object.prototype.hasOwnProperty.call(reasons, reason);
    end('denied', {message: reasons[known ? reason : 'other']});
  }

  function end(view, options) {
    running.abort();
    current = null;
    show(view, options);
  }

  // ---- All attempts of this page

  let running = new AbortController();
  let current = null; // the attempt on the screen

  function start() {
    running.abort();
    giveUp();
    running = new AbortController();
    run(running.signal);
  }

  function giveUp() {
    if (current) request('DELETE', attemptPath(current.id));
    current = null;
  }

  // Several tabs of one browser: when one is signed in, all are.
  const tabs = window.BroadcastChannel ? new BroadcastChannel('wechat-login') : null;

  function signedIn(redirect) {
    running.abort();
    if (tabs) tabs.postMessage('signed-in');
    leave(redirect);
  }

  if (tabs) {
    tabs.onmessage = async () => {
      const me = await request('GET', '/me');
      if (me.status !== 200) return;
      running.abort();
      giveUp();
      leave(page.returnTo);
    };
  }

  el('action').addEventListener('click', () => press());
  start();
})();
