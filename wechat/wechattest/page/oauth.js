// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

"use strict";

// The page with a website's QR code: it asks what became of the code, by
// scripts that set two global variables, and leads the browser to the site.
const page = document.body.dataset;

function show(step) {
  for (const status of document.querySelectorAll(".status")) status.hidden = status.dataset.step !== step;
}

function lead(target) {
  try {
    (page.self === "true" ? window : window.top).location.href = target;
  } catch {
    show("blocked"); // a frame with a sandbox that does not allow it
  }
}

function callback(code) {
  const [target, fragment] = page.callback.split(/(?=#)/);
  const query = "code=" + encodeURIComponent(code) + "&state=" + encodeURIComponent(page.state);
  return target + (target.includes("?") ? "&" : "?") + query + (fragment || "");
}

function answered() {
  switch (window.wx_errcode) {
    case 405: lead(callback(window.wx_code)); return;
    case 404: show("scanned"); poll("&last=404"); return;
    case 403: show("refused"); if (page.refused) lead(page.refused); return;
    case 408: setTimeout(poll, 100, ""); return;
    default: show("expired");
  }
}

function poll(last) {
  window.wx_errcode = 0;
  const script = document.createElement("script");
  script.src = "/connect/l/qrconnect?uuid=" + encodeURIComponent(page.uuid) + last + "&_=" + Date.now();
  script.onload = () => { script.remove(); answered(); };
  script.onerror = () => { script.remove(); setTimeout(poll, 2000, last); };
  document.head.append(script);
}

// Not before: a script that is waited for keeps the page, and the one around
// its frame, from being loaded.
window.addEventListener("load", () => setTimeout(poll, 0, ""));
