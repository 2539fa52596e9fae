// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

// The login page: asks for an attempt, shows what its method needs, follows its state
// and, once the phone has confirmed, takes the session. Nothing here is trusted by the
// server; all that counts is decided there.
(() => {
  'use strict';

  const {page, el, pause, shown, backoff, request, attemptPath, leave, wechatURL, picture} = wire;
  const {RANK, Watcher} = follow;

  const EXPIRY_GRACE = 1000; // ms in which the server may tell of the expiry first
  const LEAVING = 5000; // ms until a page that did not open needs a click
  const ONCE = 300000; // ms within which the page goes to WeChat by itself but once

  // ---- Methods

  // Views that a method has of its own, by what the others call them.
  const MINI = {number: 'miniNumber', tap: 'miniTap'};
  const CHAT = {number: 'chatNumber', tap: 'chatTap', cancelled: 'chatCancelled', expired: 'chatExpired', consumed: 'chatExpired'};
  const WEB = {number: 'claimed', tap: 'claimed', cancelled: 'refused', expired: 'lapsed', consumed: 'lapsed'};
  const NO_CODE = {cancelled: 'refused', expired: 'lapsed', consumed: 'lapsed'};

  // What a new attempt shows, by its method: a view with its content, and the names of
  // the views that may follow. Null where the answer lacks what it takes.
  const OPENINGS = {
    official_qr({qr}) {
      return qr && qr.svg ? {view: 'pending', svg: qr.svg, views: {}} : null;
    },
    mini_qr({qr, link, number}) {
      const url = link && wechatURL(link);
      // The visitor leaves this page for the mini program, so the number comes first.
      if (url) return {view: number ? 'miniLinkNumber' : 'miniLink', link: url.href, views: {...MINI, ...NO_CODE}};
      const image = qr && picture(qr.image);
      return image ? {view: 'mini', image, views: MINI} : null;
    },
    website_qr({redirect, frame}) {
      const to = wechatURL(redirect);
      const within = wechatURL(frame);
      if (!to) return null;
      if (!within || within.origin !== page.frameOrigin) return {view: 'website', link: to.href, views: WEB};
      return {view: 'frame', link: to.href, frame: within.href, views: WEB};
    },
    in_wechat({redirect}) {
      const to = wechatURL(redirect);
      if (!to) return null;
      // WeChat answers a page that asks for the profile (snsapi_userinfo) at once, without
      // a tap, with a snapshot and a visitor who does not exist.
      return {view: 'inWechat', link: to.href, silent: to.searchParams.get('scope') === 'snsapi_base', views: WEB};
    },
    chat_code({code, qr}) {
      if (!/^\d{6}$/.test(code)) return null;
      const image = qr && picture(qr.image);
      return {view: image ? 'chatQR' : 'chat', code, image, views: CHAT};
    },
  };

  const methods = page.methods;
  const trouble = new Map(); // what is wrong with a method, as the name of a view
  let method = methods[0]; // the one on the screen
  let chosen = false; // whether by the visitor

  function select(name) {
    method = name;
    for (const tab of tabs()) {
      const on = tab.dataset.method === name;
      tab.setAttribute('aria-selected', on);
      tab.tabIndex = on ? 0 : -1;
      if (on) el('panel').setAttribute('aria-labelledby', tab.id);
    }
  }

  function mark(name, problem) {
    if (problem) trouble.set(name, problem);
    else trouble.delete(name);
    for (const tab of tabs()) tab.title = trouble.has(tab.dataset.method) ? page.text.trouble : '';
  }

  const tabs = () => [...document.querySelectorAll('[role=tab]')];

  function choose(name) {
    if (name === method && current) return; // it is there already
    chosen = true;
    select(name);
    start();
  }

  // The arrows move the focus alone: to open each method on the way would ask WeChat
  // for codes that nobody wants.
  function moveFocus(event) {
    const all = tabs();
    const at = all.indexOf(document.activeElement);
    const to = {ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1}[event.key];
    if (to === undefined || at < 0) return;
    event.preventDefault();
    all[(to + all.length) % all.length].focus();
  }

  // ---- One attempt

  const show = (view, content) => stage.show(view, {onPress: start, ...content});

  // Asks for an attempt until there is one, by whichever method works unless the visitor
  // has chosen. Resolves to null at a dead end, which is then on the screen.
  async function create(signal) {
    for (let failures = 0; !signal.aborted;) {
      const body = {method, return_to: page.returnTo};
      if (page.onPhone) body.phone = true;
      const answer = await request('POST', '/attempts', {signal, body});
      if (signal.aborted) return null;
      const attempt = answer.status === 201 && opened(answer);
      if (attempt) {
        mark(method, null);
        return attempt;
      }
      let problem = problemOf(answer);
      if (isOfMethod(answer)) {
        mark(method, problem);
        if (turnToNext()) continue;
        problem = trouble.get(method);
      }
      if (problem === 'failed') {
        show(problem);
        return null;
      }
      await stage.retryLater(problem, backoff(failures++, answer.retryAfter), signal);
    }
    return null;
  }

  // Turns to a method that has not failed yet and reports whether there is one; turns
  // back to the first where all have. What the visitor has chosen stays.
  function turnToNext() {
    if (chosen) return false;
    const next = methods.find((name) => !trouble.has(name));
    select(next || methods[0]);
    return Boolean(next);
  }

  function problemOf({status, data}) {
    if (status === 0) return navigator.onLine ? 'unreachable' : 'offline';
    if (status === 429) return 'tooMany';
    if (status < 500) return 'failed';
    return data.error === 'wechat_unavailable' ? 'wechat' : 'store';
  }

  // Whether another method may fare better.
  function isOfMethod({status, data}) {
    return status === 201 || data.error === 'wechat_unavailable' || data.error === 'unknown_method';
  }

  // Times are counted from the moment of creation, by the server's own clock: the
  // visitor's may be wrong by years.
  function opened({data, date}) {
    const opening = data.id && OPENINGS[method](data);
    if (!opening) return null;
    const expires = Date.parse(data.expires_at);
    const life = expires - (date || Date.now());
    const bounded = life >= 5000 && life <= 3600000 ? life : 300000; // a code lives 30 s to 30 min
    return {
      id: data.id,
      opening: {...opening, number: data.number, minutes: Math.round(bounded / 60000) || 1},
      state: 'pending',
      heard: false, // whether the server has told of it since
      deadline: Date.now() + bounded, // by the visitor's clock
      expires, // by the server's
    };
  }

  // Runs one attempt, from its creation to whatever ends it.
  async function run(signal) {
    show('loading');
    await shown(signal);
    if (signal.aborted) return;
    if (method === 'in_wechat' && !page.inWeChat) {
      show('openWechat', {address: location.href});
      return;
    }
    const attempt = await create(signal);
    if (!attempt || signal.aborted) return;
    current = attempt;
    const watcher = new Watcher(attempt, signal, (message) => take(attempt, message, watcher, signal), stage.note);
    watchClock(attempt, signal);
    if (attempt.opening.silent && mayLeave()) await leaveForWeChat(attempt, signal);
    if (signal.aborted) return;
    show(attempt.opening.view, attempt.opening);
    watcher.run();
  }

  // Resolves only where the visitor is still, or again, here: then it takes a click.
  async function leaveForWeChat(attempt, signal) {
    show('authorizing');
    location.replace(attempt.opening.link);
    await pause(LEAVING, signal);
  }

  // Whoever has refused and comes back, or whose browser keeps no session, must not go
  // round in circles. Without memory of having left, the page does not leave by itself.
  function mayLeave() {
    try {
      const last = Number(sessionStorage.getItem('wechat-login-left'));
      if (Math.abs(Date.now() - last) < ONCE) return false;
      sessionStorage.setItem('wechat-login-left', Date.now());
      return true;
    } catch (_) {
      return false;
    }
  }

  // Takes in what the server says of the attempt; reports whether that was news. Messages
  // come by several ways, so an older one may arrive late: states only go forward.
  function take(attempt, {state, reason, expires_at: expiresAt}, watcher, signal) {
    if (state === 'gone') return gone(attempt);
    attempt.heard = true;
    const expires = Date.parse(expiresAt);
    if (expires && attempt.expires) attempt.deadline += expires - attempt.expires;
    attempt.expires = expires || attempt.expires;
    if (RANK[state] <= RANK[attempt.state]) return false;
    attempt.state = state;
    if (state === 'scanned') showAs(attempt, attempt.opening.number ? 'number' : 'tap');
    else if (state === 'confirmed') consume(attempt, watcher, signal);
    else if (state === 'consumed') {
      // The answer to this page's own request brings the session; it may come later.
      if (!attempt.consuming) settle(attempt, 'consumed');
    } else if (state === 'denied') denied(reason);
    else end(attempt, state);
    return true;
  }

  // Shows a view, or the one that the attempt's method has in its place.
  function showAs({opening}, view) {
    show(opening.views[view] || view, {number: opening.number});
  }

  // The server does not know the attempt. If it never did, the browser has not sent the
  // cookie that binds the two, and a new attempt would fare no better.
  function gone(attempt) {
    current = null;
    if (attempt.heard) start();
    else end(attempt, 'cookies');
    return false;
  }

  function watchClock(attempt, signal) {
    const timer = setInterval(() => {
      if (signal.aborted || RANK[attempt.state] > RANK.scanned) clearInterval(timer);
      else if (Date.now() > attempt.deadline + EXPIRY_GRACE) end(attempt, 'expired');
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
      if (status === 410) return settle(attempt, 'expired');
      if (status === 409) {
        attempt.state = 'scanned';
        attempt.consuming = false;
        await pause(1000, signal);
        watcher.check();
        return;
      }
      stage.note(page.text.reconnecting);
      await pause(backoff(n, retryAfter), signal, {wakeable: !retryAfter});
    }
  }

  // The attempt is used up. Perhaps by this very browser, whose answer was lost on the
  // way or went to another tab: then it is signed in.
  async function settle(attempt, view) {
    running.abort();
    const me = await request('GET', '/me');
    if (me.status === 200) leave(page.returnTo);
    else end(attempt, view);
  }

  function denied(reason) {
    const reasons = page.text.reasons;
    const known = Object.prototype.hasOwnProperty.call(reasons, reason);
    stop();
    show('denied', {message: reasons[known ? reason : 'other']});
  }

  function end(attempt, view) {
    stop();
    showAs(attempt, view);
  }

  // ---- All attempts of this page

  let running = new AbortController();
  let current = null; // the attempt on the screen

  function stop() {
    running.abort();
    current = null;
  }

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

  // Several windows of one browser: when one is signed in, all are.
  const others = window.BroadcastChannel ? new BroadcastChannel('wechat-login') : null;

  function signedIn(redirect) {
    running.abort();
    if (others) others.postMessage('signed-in');
    leave(redirect);
  }

  if (others) {
    others.onmessage = async () => {
      const me = await request('GET', '/me');
      if (me.status !== 200) return;
      running.abort();
      giveUp();
      leave(page.returnTo);
    };
  }

  for (const tab of tabs()) tab.addEventListener('click', () => choose(tab.dataset.method));
  if (el('tabs')) el('tabs').addEventListener('keydown', moveFocus);
  start();
})();
