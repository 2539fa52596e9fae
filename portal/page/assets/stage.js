// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

// What the login page shows: one view at a time, in place of the one before.
const stage = (() => {
  'use strict';

  const {page, el, pause} = wire;

  const FRAME_LOAD = 8000; // ms until WeChat's frame counts as blocked on the way

  // Each view: what the stage shows, and below it, by the names of their labels, a link,
  // a button (quiet: not the first thing to do) and a hint for phones. While busy, the
  // visitor is in the middle of it on the phone and is offered no other method. Views that
  // are framed keep WeChat's frame.
  const VIEWS = {
    loading: {part: 'skeleton'},
    pending: {part: 'qr', hint: 'hintScan'},
    mini: {part: 'qr', hint: 'hintScan'},
    miniLink: {part: 'icon', icon: 'phone', link: 'openMini'},
    miniLinkNumber: {part: 'number', link: 'openMini'},
    chat: {part: 'icon', icon: 'chat'},
    chatQR: {part: 'qr', hint: 'hintChat'},
    frame: {part: 'frame', link: 'openWebsite', quiet: true, framed: true, hint: 'hintWebsite'},
    frameLate: {part: 'icon', icon: 'cloud', link: 'openWebsite', framed: true, hint: 'hintWebsite'},
    website: {part: 'icon', icon: 'leave', link: 'openWebsite', hint: 'hintWebsite'},
    authorizing: {part: 'skeleton'},
    inWechat: {part: 'icon', icon: 'leave', link: 'authorize'},
    openWechat: {part: 'icon', icon: 'chat'},
    number: {part: 'number', button: 'newCode', quiet: true, busy: true},
    tap: {part: 'icon', icon: 'phone', button: 'newCode', quiet: true, busy: true},
    miniNumber: {part: 'number', button: 'newCode', quiet: true, busy: true},
    miniTap: {part: 'icon', icon: 'phone', button: 'newCode', quiet: true, busy: true},
    chatNumber: {part: 'number', button: 'newDigits', quiet: true, busy: true},
    chatTap: {part: 'icon', icon: 'phone', button: 'newDigits', quiet: true, busy: true},
    claimed: {part: 'skeleton', busy: true},
    confirmed: {part: 'icon', icon: 'ok', busy: true},
    cancelled: {part: 'icon', icon: 'stop', button: 'newCode'},
    chatCancelled: {part: 'icon', icon: 'stop', button: 'newDigits'},
    refused: {part: 'icon', icon: 'stop', button: 'tryAgain'},
    expired: {part: 'icon', icon: 'clock', button: 'newCode'},
    chatExpired: {part: 'icon', icon: 'clock', button: 'newDigits'},
    lapsed: {part: 'icon', icon: 'clock', button: 'tryAgain'},
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

  let press = () => {}; // what the button does

  // Shows a view, with what goes into it: {message} in place of the view's own, {minutes}
  // and {number} for the text, {svg} or {image} of a code to scan, {link} and {frame} that
  // lead to WeChat, {code} or {address} to be copied, and onPress for the button.
  function show(name, content) {
    const view = VIEWS[name];
    const message = content.message || page.text.views[name];
    const focused = document.activeElement;
    el('card').dataset.view = name;
    showPart(view, content);
    el('head').textContent = message.head;
    el('body').textContent = message.body.replace('{minutes}', content.minutes).replace('{number}', content.number);
    note('');
    showCopyable(content);
    showControls(view, content);
    // Whoever works by keyboard is not thrown back to the top of the page.
    if (el('panel').contains(focused) || (view.busy && el('card').contains(focused))) refocus(view);
  }

  function showPart(view, {svg, image, number, frame}) {
    // The icon, an element of SVG, has no property `hidden`.
    for (const part of ['skeleton', 'qr', 'number', 'icon', 'frame']) el(part).toggleAttribute('hidden', part !== view.part);
    if (view.icon) el('icon').firstElementChild.setAttribute('href', `#i-${view.icon}`);
    if (svg) showSVG(svg);
    if (image) showImage(image);
    el('number').textContent = (view.part === 'number' && number) || '';
    if (!view.framed) el('frame').replaceChildren();
    if (frame) showFrame(frame);
  }

  function showControls(view, {link, onPress}) {
    press = onPress;
    el('action').hidden = !view.button;
    el('action').textContent = view.button ? page.text[view.button] : '';
    el('action').classList.toggle('primary', !view.quiet);
    el('go').hidden = !view.link;
    if (view.link) {
      el('go').textContent = page.text[view.link];
      if (link) el('go').href = link;
    }
    el('go').classList.toggle('primary', !view.quiet);
    el('hint').hidden = !view.hint || !isPhone();
    if (view.hint) el('hint').textContent = page.text[page.inWeChat && view.part === 'qr' ? 'hintInWeChat' : view.hint];
    if (el('tabs')) el('tabs').classList.toggle('away', Boolean(view.busy));
  }

  function refocus(view) {
    const target = view.button ? 'action' : view.link ? 'go' : 'head';
    el(target).focus({preventScroll: true});
  }

  function note(text) {
    el('note').textContent = text;
    el('note').hidden = !text;
  }

  // ---- Codes to scan

  const isPhone = () => page.onPhone || matchMedia('(pointer: coarse) and (max-width: 950px)').matches;

  async function showSVG(svg) {
    const img = el('qr');
    img.className = 'qr';
    img.alt = page.text.qrAlt;
    img.src = `data:image/svg+xml,${encodeURIComponent(svg)}`;
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

  function showImage(image) {
    el('qr').className = 'qr photo';
    el('qr').alt = page.text.imageAlt;
    el('qr').src = image;
  }

  // ---- WeChat's own page in a frame

  // The sandbox leaves the frame what WeChat's page cannot do without: its scripts, its
  // own origin, and to lead the top window back here. That happens when the phone has
  // confirmed, without a click in the frame, for which browsers ask allow-top-navigation
  // of the plain kind. It opens no windows and sends no forms. To sign in with one click
  // it asks the WeChat on this computer, for which Chrome wants local-network-access.
  function showFrame(url) {
    const frame = document.createElement('iframe');
    frame.sandbox = 'allow-scripts allow-same-origin allow-top-navigation';
    frame.allow = 'local-network-access';
    frame.referrerPolicy = 'no-referrer';
    frame.title = page.text.frameTitle;
    frame.src = url;
    const late = setTimeout(() => { if (frame.isConnected) show('frameLate', {}); }, FRAME_LOAD);
    frame.addEventListener('load', () => {
      clearTimeout(late);
      frame.classList.add('loaded');
      if (el('card').dataset.view === 'frameLate') show('frame', {});
    });
    el('skeleton').hidden = false; // until it has loaded
    el('frame').replaceChildren(frame);
  }

  // ---- Texts to copy

  function showCopyable({code, address}) {
    const given = el('given');
    el('copyable').hidden = !code && !address;
    el('copy').textContent = page.text.copy;
    el('copied').textContent = '';
    given.className = code ? 'digits' : 'address';
    if (code) {
      // Two groups for the eye; digit by digit for the ear; one piece for the clipboard.
      const groups = [code.slice(0, 3), code.slice(3)].map((digits) => {
        const group = document.createElement('span');
        group.textContent = digits;
        return group;
      });
      given.replaceChildren(...groups);
      given.setAttribute('role', 'img');
      given.setAttribute('aria-label', [...code].join(' '));
    } else {
      given.textContent = address || '';
      given.removeAttribute('role');
      given.removeAttribute('aria-label');
    }
  }

  async function copy() {
    const given = el('given');
    getSelection().selectAllChildren(given);
    try {
      await navigator.clipboard.writeText(given.textContent);
    } catch (_) {
      // Plain http has no clipboard. Where this fails too, the text stays selected.
      if (!document.execCommand('copy')) return;
    }
    el('copy').textContent = el('copied').textContent = page.text.copied;
  }

  el('copy').addEventListener('click', copy);
  el('action').addEventListener('click', () => press());

  // ---- Problems

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

  return {show, note, retryLater};
})();
